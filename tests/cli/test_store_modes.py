"""``sipcap store`` with capture modes and schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sipcap.ndjson import encode_records
from tests.conftest import RunSipcap
from tests.support.records import line_of, numbers_of, report_record, sip_lines, sip_record, tables_of

MODES = """\
[sipcap]
capture_on = 1
db_url = sqlite:///default.db
table_name = d_%Y
capture_mode = m2=>db_url=sqlite:///two.db; table_name=a|b; mt_mode=round_robin;

[capture_mode:m1]
db_url = sqlite:///one.db
table_name = t0|t1|t2|t3|t4
mt_mode = hash
hash_source = call_id
"""
IDS = ("abc123@host", "a", "xyz", "1-2345@127.0.0.1", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6")
INDEXES = (1, 2, 1, 3, 2)
"""Which of five tables the module chooses by these Call-IDs (spec 4.3)."""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A file with three modes."""
    (tmp_path / "modes.ini").write_text(MODES)
    return "modes.ini"


def _stored(tmp_path: Path) -> dict[str, set[str]]:
    """The tables of each database that there is."""
    return {path.stem: tables_of(path) for path in tmp_path.glob("*.db")}


def test_config_without_a_mode_is_the_default_one(sipcap: RunSipcap, tmp_path: Path, config: str) -> None:
    """The keys of [sipcap] say where records go; no other database is touched."""
    assert sipcap("store", "--config", config, stdin=sip_lines(3)).returncode == 0
    assert _stored(tmp_path) == {"default": {"d_2023"}}


def test_mode_hash_spreads_as_the_module_does(sipcap: RunSipcap, tmp_path: Path, config: str) -> None:
    """A database that Kamailio has filled goes on with the same tables."""
    lines = encode_records(sip_record(number, callid=callid) for number, callid in enumerate(IDS))
    assert sipcap("store", "--config", config, "--capture-mode", "m1", stdin=lines).returncode == 0
    for number, index in enumerate(INDEXES):
        assert number in numbers_of(tmp_path / "one.db", f"t{index}")
    assert _stored(tmp_path) == {"one": {"t1", "t2", "t3"}}


def test_mode_in_the_modules_notation_is_read_from_the_file_and_the_command_line(
    sipcap: RunSipcap, tmp_path: Path, config: str
) -> None:
    """Both are the same mode; a definition needs no file, and may stand in one of its own."""
    definition = "m2 => mt_mode=round_robin ; table_name='a|b'; db_url=sqlite:///two.db;"
    (tmp_path / "secret").write_text(definition + "\n")
    for args in (
        ("--config", config, "--capture-mode", "m2"),
        ("--capture-mode", definition),
        ("--capture-mode", "@secret"),
    ):
        assert sipcap("store", *args, stdin=sip_lines(4)).returncode == 0
        assert [len(numbers_of(tmp_path / "two.db", table)) for table in "ab"] == [2, 2]
        (tmp_path / "two.db").unlink()


def test_options_win_over_the_file(sipcap: RunSipcap, tmp_path: Path, config: str) -> None:
    """--table, --db-url, --mt-mode and --hash-source take the place of the mode's values, each for itself."""
    mode = ("--config", config, "--capture-mode", "m1")
    assert sipcap("store", *mode, "--table", "mine", stdin=sip_lines(2)).returncode == 0
    assert (
        sipcap(
            "store", *mode, "--db-url", "sqlite:///mine.db", "--mt-mode", "round_robin", stdin=sip_lines(3)
        ).returncode
        == 0
    )
    assert sipcap("store", *mode, "--db-url", "sqlite:///users.db", "--hash-source", "FROM_USER",
                  stdin=encode_records(sip_record(n, from_user="xyz") for n in range(9))).returncode == 0  # fmt: skip
    assert _stored(tmp_path) == {"one": {"mine"}, "mine": {"t0", "t1", "t2"}, "users": {"t1"}}


def test_variables_win_over_the_file_and_lose_to_a_mode_that_is_named(
    sipcap: RunSipcap, tmp_path: Path, config: str
) -> None:
    """An option wins over a variable, that over the file; a mode named on the command line is an option."""
    env = {"SIPCAP_DB_URL": "sqlite:///variable.db"}
    assert sipcap("store", "--config", config, stdin=sip_lines(1), env=env).returncode == 0
    assert sipcap("store", "--config", config, "--capture-mode", "m2", stdin=sip_lines(1), env=env).returncode == 0
    variables = env | {
        "SIPCAP_STORE_CAPTURE_MODE": "m2",
        "SIPCAP_STORE_CONFIG": config,
        "SIPCAP_STORE_SCHEMA": "homer5",
    }
    assert sipcap("store", stdin=sip_lines(1, 5), env=variables).returncode == 0
    assert _stored(tmp_path) == {"variable": {"d_2023", "a"}, "two": {"a"}}


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--config", "modes.ini", "--capture-mode", "M1"), 3, "did you mean m1? (known: default, m2, m1)"),
        (("--config", "none.ini"), 3, "none.ini: cannot be read: No such file"),
        (("--config", "bad.ini"), 3, "bad.ini:2: [sipcap] mt_mode is 'hsah', must be one of rand, round_robin, hash"),
        (("--config", "other.ini", "--capture-mode", "u"), 3, "capture mode u: db_url: unknown database foo"),
        (("--capture-mode", "m1"), 2, "--capture-mode NAME needs --config FILE"),
        (("--capture-mode", "m=>db_url=x;mt_mode=z"), 2, "must be one of rand, round_robin, hash"),
        (("--capture-mode", "m=>db_url=mysql://u:secret@h/d;x=1"), 2, "column 32: expected a key"),
        (("--schema", "homer7", "--table", "t"), 2, "do not go with --schema homer7"),
        (("--schema", "homer7", "--report-table", "t"), 2, "do not go with --schema homer7"),
        (("--schema", "homer7", "--config", "modes.ini"), 3, "table_name does not go with schema homer7"),
        (("--schema", "homer6"), 2, "'sipcapture', 'homer5', 'homer7'"),
        (("--report-table", "a|b"), 2, "one pattern only"),
    ],
)
def test_wrong_modes_and_schemas_cannot_start(
    sipcap: RunSipcap, tmp_path: Path, config: str, args: tuple[str, ...], code: int, said: str
) -> None:
    """One line says what is wrong and what is allowed, no password, and nothing was read or created."""
    (tmp_path / "bad.ini").write_text("[sipcap]\nmt_mode = hsah\n")
    (tmp_path / "other.ini").write_text("[capture_mode:u]\ndb_url = foo://u:secret@h/d\n")
    done = sipcap("store", *args, "--dead-letter", "dead", stdin=sip_lines(1))
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert b"secret" not in done.stderr
    assert _stored(tmp_path) == {}


def test_dead_letters_carry_their_mode_and_go_back_to_it(sipcap: RunSipcap, tmp_path: Path, config: str) -> None:
    """A file of dead letters of several modes is repaired with one command; marks are not kept."""
    (tmp_path / "one.db").mkdir()  # the mode's database cannot be opened
    lines = line_of(sip_record(1), _mode="m1") + line_of(sip_record(2), _mode="m2") + sip_lines(1, 3)
    done = sipcap("store", "--config", config, "--dead-letter", "dead", stdin=lines)
    assert done.returncode == 5
    (letter,) = [json.loads(line) for line in (tmp_path / "dead").read_text().splitlines()]
    assert (letter["_mode"], letter["callid"], "one.db" in letter["_error"]) == ("m1", "call-1@host", True)
    assert numbers_of(tmp_path / "two.db", "a") == [2]
    assert numbers_of(tmp_path / "default.db", "d_2023") == [3]
    (tmp_path / "one.db").rmdir()
    assert sipcap("store", "--config", config, "dead").returncode == 0
    assert numbers_of(tmp_path / "one.db", letter["_table"]) == [1]


@pytest.mark.parametrize(
    "args",
    [("--config", "modes.ini", "--capture-mode", "m2", "--table", "t"),
     ("--db-url", "sqlite:///two.db", "--table", "t"),
     ("--config", "modes.ini", "--db-url", "sqlite:///two.db", "--table", "t")],
)  # fmt: skip
def test_mode_or_database_on_the_command_line_takes_all_records(
    sipcap: RunSipcap, tmp_path: Path, config: str, args: tuple[str, ...]
) -> None:
    """Whoever names one place means it, whatever mode a record was meant for."""
    lines = line_of(sip_record(1), _mode="m1") + line_of(sip_record(2), _mode="gone")
    done = sipcap("store", *args, stdin=lines)
    assert (done.returncode, b"warning" in done.stderr) == (0, False)
    assert numbers_of(tmp_path / "two.db", "t") == [1, 2]
    assert set(_stored(tmp_path)) == {"two"}


ROUTES = (
    MODES
    + """\
[route:registrations]
methods = REGISTER
capture_mode = m1
table = reg_%Y%m%d

[route:rtcp]
hep_type = 5
capture_mode = m1
table = rtcp

[route:other node]
capture_id = 77
table = node77
"""
)


def _places(tmp_path: Path) -> dict[tuple[str, str], list[int]]:
    """Which records are in which table of which database."""
    found = {(path.stem, table): numbers_of(path, table) for path in tmp_path.glob("*.db") for table in tables_of(path)}
    return {place: numbers for place, numbers in found.items() if numbers}


def test_config_alone_follows_the_routes_of_the_file(sipcap: RunSipcap, tmp_path: Path) -> None:
    """As sipcap run does; what a hook or a dead letter says goes before them, what meets none is the default mode's."""
    (tmp_path / "modes.ini").write_text(ROUTES)
    lines = encode_records([
        sip_record(0, method="INVITE"), sip_record(1, method="REGISTER"),
        sip_record(2, method="200", cseq="1 REGISTER"), report_record(3, payload_type=5),
        sip_record(4, method="BYE", capture_id=77),
    ])  # fmt: skip
    lines += line_of(sip_record(5, method="REGISTER"), _mode="default") + line_of(sip_record(6), _table="meant")
    done = sipcap("store", "--config", "modes.ini", "--log-format", "json", stdin=lines)
    assert done.returncode == 0, done.stderr
    counted = next(line for line in map(json.loads, done.stderr.splitlines()) if "received" in line)
    assert (counted["received"], counted["stored"], counted["reported"]) == (7, 6, 1)
    assert _places(tmp_path) == {
        ("default", "d_2023"): [0, 5], ("one", "reg_20231114"): [1, 2], ("one", "rtcp"): [3],
        ("default", "node77"): [4], ("default", "meant"): [6],
    }  # fmt: skip


def test_search_by_configuration_finds_what_routes_have_put_elsewhere(sipcap: RunSipcap, tmp_path: Path) -> None:
    """In the databases of all modes, or of the one that is named; reports stay out, as without a configuration."""
    (tmp_path / "modes.ini").write_text(ROUTES)
    lines = [
        encode_records([each])
        for each in (
            sip_record(0), sip_record(1, method="REGISTER"), sip_record(2, capture_id=77),
            report_record(3, payload_type=5), sip_record(4, callid=IDS[0]),
        )
    ]  # fmt: skip
    assert sipcap("store", "--config", "modes.ini", stdin=b"".join(lines)).returncode == 0
    assert sipcap("store", "--config", "modes.ini", stdin=line_of(sip_record(5), _mode="m1")).returncode == 0
    found = sipcap("search", "--config", "modes.ini", "--capture-mode", "m1").stdout
    assert found == lines[1] + encode_records([sip_record(5)])
    everywhere = lines[0] + lines[1] + lines[2] + lines[4] + encode_records([sip_record(5)])
    assert sipcap("search", "--config", "modes.ini").stdout == everywhere
    found = sipcap("search", "--config", "modes.ini", "--capture-mode", "default").stdout
    assert found == lines[0] + lines[2] + lines[4]


@pytest.mark.parametrize(
    ("args", "places"),
    [
        (("--capture-mode", "m2"), {("two", "a"): [0], ("two", "b"): [1]}),
        (("--db-url", "sqlite:///mine.db"), {("mine", "d_2023"): [0, 1]}),
        (("--table", "mine"), {("default", "mine"): [0, 1]}),
    ],
)
def test_a_place_on_the_command_line_is_before_all_routes(
    sipcap: RunSipcap, tmp_path: Path, args: tuple[str, ...], places: dict[tuple[str, str], list[int]]
) -> None:
    """Whoever names a mode, a database or a table means it."""
    (tmp_path / "modes.ini").write_text(ROUTES)
    lines = encode_records([sip_record(0), sip_record(1, method="REGISTER")])
    assert sipcap("store", "--config", "modes.ini", *args, stdin=lines).returncode == 0
    assert _places(tmp_path) == places


def test_report_by_configuration_stores_where_it_says(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A row of sipcap report has its own table, whatever the routes do with reports."""
    (tmp_path / "modes.ini").write_text(ROUTES)
    lines = encode_records([report_record(3, payload_type=5)])
    assert sipcap("report", "--config", "modes.ini", "--cid", "x", stdin=lines).returncode == 0
    assert _stored(tmp_path) == {"default": {"report_capture"}}


def test_schema_homer5_names_tables_by_method_and_day(sipcap: RunSipcap, db_path: Path) -> None:
    """Calls, registrations, the rest and reports have HOMER 5's names; columns are the module's."""
    lines = encode_records(
        [
            sip_record(0, method="INVITE"),
            sip_record(1, method="200", cseq="1 REGISTER"),
            sip_record(2, method="OPTIONS"),
            report_record(3, payload_type=5),
            report_record(4, payload_type=100),
            report_record(5, payload_type=34),
        ]
    )
    assert sipcap("store", "--schema", "homer5", stdin=lines).returncode == 0
    names = ("sip_capture_call", "sip_capture_registration", "sip_capture_rest", "rtcp_capture_all", "logs_capture_all",
             "report_capture_all")  # fmt: skip
    assert tables_of(db_path) == {f"{name}_20231114" for name in names}
    assert [numbers_of(db_path, f"{name}_20231114") for name in names] == [[0], [1], [2], [3], [4], [5]]


def test_schema_of_the_file_holds_unless_an_option_says_otherwise(
    sipcap: RunSipcap, tmp_path: Path, db_path: Path
) -> None:
    """A schema in [sipcap] is that of all its modes."""
    (tmp_path / "h.ini").write_text("[sipcap]\nschema = homer7\n")
    assert sipcap("store", "--config", "h.ini", stdin=sip_lines(1)).returncode == 0
    assert tables_of(db_path) == {"hep_proto_1_default"}
    assert sipcap("store", "--config", "h.ini", "--schema", "sipcapture", stdin=sip_lines(1)).returncode == 0
    assert tables_of(db_path) == {"hep_proto_1_default", "sip_capture"}


def test_schema_homer7_counts_what_a_row_cannot_hold(sipcap: RunSipcap, db_path: Path) -> None:
    """What is not exactly in its row counts as sanitised; dead letters of other schemas find their table."""
    lines = line_of(sip_record(0, msg="a\0"), _table="sip_capture") + sip_lines(1)
    done = sipcap("store", "--schema", "homer7", "--log-format", "json", stdin=lines)
    summary = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, summary["stored"], summary["sanitised"]) == (0, 2, 1)
    assert tables_of(db_path) == {"hep_proto_1_default"}
