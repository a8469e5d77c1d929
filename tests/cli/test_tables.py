"""``sipcap tables`` from its command line."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from sipcap.ndjson import encode_records
from sipcap.record import ReportRecord, SipRecord, date_text
from sipcap.schemas import HOMER5, HOMER7, REPORT_PATTERN, SIP_PATTERN
from sipcap.tables import SCHEMA_PATTERNS
from tests.conftest import ROOT, SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support.records import report_record, sip_record, tables_of

DAYS = "s_%Y%m%d"
SUBCOMMANDS = ("list", "plan", "create", "rotate", "drop")
NEEDED = {"rotate": ["--keep", "1d"], "drop": ["--before", "-1d"]}


def record(days_ago: float, number: int = 0, **changes: Any) -> SipRecord:
    """A message of some time before now."""
    ts_us = time.time_ns() // 1_000 - int(days_ago * 86_400_000_000)
    return sip_record(number, **({"micro_ts": ts_us, "date": date_text(ts_us // 1_000_000)} | changes))


def name_of(days_ago: float) -> str:
    """The table of the messages of a day."""
    return time.strftime(DAYS, time.gmtime(time.time() - days_ago * 86_400))


def fill(sipcap: RunSipcap, *days_ago: float, table: str = DAYS, **changes: Any) -> None:
    """Store a message of each day, the oldest first."""
    lines = encode_records([record(day, **changes) for day in sorted(days_ago, reverse=True)])
    assert sipcap("store", "-q", "--table", table, stdin=lines).returncode == 0


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    """What was written as NDJSON."""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("subcommand", "args"), [
    *((name, []) for name in SUBCOMMANDS),
    ("list", ["--table", ""]), ("list", ["--table", "s_%Q"]), ("list", ["--schema", "sipcapture"]),
    ("rotate", ["--table", "sipcap_batches"]),
])  # fmt: skip
def test_tables_without_a_pattern_is_a_usage_error(
    sipcap: RunSipcap, tmp_path: Path, subcommand: str, args: list[str]
) -> None:
    """--table is the only source of what may be touched; a database is not even opened."""
    done = sipcap("tables", subcommand, *NEEDED.get(subcommand, []), *args)
    assert (done.returncode, done.stdout) == (2, b"")
    assert list(tmp_path.iterdir()) == []


def test_tables_without_a_database_cannot_start(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Exit code 3, and no file is made; neither is one by ``create --dry-run``."""
    for subcommand in SUBCOMMANDS:
        args = ["--dry-run"] if subcommand == "create" else NEEDED.get(subcommand, [])
        done = sipcap("tables", subcommand, "--table", DAYS, *args)
        assert (done.returncode, done.stdout) == (3, b"")
        assert b"no such database" in done.stderr
    assert list(tmp_path.iterdir()) == []


NONSENSE = (
    ["rotate"], ["rotate", "--keep", "3m"], ["rotate", "--max-size", "big"], ["create", "--ahead", "soon"], ["drop"],
    ["drop", "--before", "x"], ["drop", "s_20200101", "--before", "2020-01-01"], ["drop", "users"],
    ["drop", "s_20260230"],
)  # fmt: skip


def test_tables_that_cannot_be_meant_is_a_usage_error(sipcap: RunSipcap, db_path: Path) -> None:
    """Nothing to keep, odd amounts, and names that --table does not make: nothing is touched."""
    fill(sipcap, 0, 9)
    before = tables_of(db_path)
    for args in NONSENSE:
        done = sipcap("tables", *args, "--table", DAYS)
        assert (done.returncode, done.stdout) == (2, b""), args
    assert tables_of(db_path) == before


def test_list_shows_tables_of_the_pattern(sipcap: RunSipcap) -> None:
    """One object a table, the oldest first; none is exit code 1."""
    fill(sipcap, 0, 0, 1)
    fill(sipcap, 3, table="other")
    found = objects(sipcap("tables", "list", "--table", DAYS))
    assert [one["table"] for one in found] == [name_of(1), name_of(0)]
    assert [one["rows"] for one in found] == [1, 2]
    assert set(found[0]) == {"table", "start", "end", "size_bytes", "rows", "exact", "oldest", "newest"}
    done = sipcap("tables", "list", "--table", "nosuch_%Y")
    assert (done.returncode, done.stdout) == (1, b"")


def test_rotate_does_what_its_dry_run_says(sipcap: RunSipcap, db_path: Path) -> None:
    """Old days are dropped, old rows of a table without a date are deleted; a dry run changes nothing."""
    fill(sipcap, 0, 1, 5, 12, 13)
    fill(sipcap, 0, 12, 13, 14, table="plain")
    args = ["tables", "rotate", "--table", f"{DAYS}|plain", "--keep", "10d"]
    planned = objects(sipcap(*args, "--dry-run"))
    assert tables_of(db_path) == {name_of(day) for day in (0, 1, 5, 12, 13)} | {"plain"}
    assert [(one["action"], one["table"]) for one in planned] == [
        ("drop", name_of(13)), ("drop", name_of(12)), ("delete", "plain"),
    ]  # fmt: skip
    done = objects(sipcap(*args))
    assert [(one["action"], one["table"], one["done"]) for one in done] == [
        (one["action"], one["table"], True) for one in planned
    ]
    assert done[2]["rows"] == 3
    assert tables_of(db_path) == {name_of(day) for day in (0, 1, 5)} | {"plain"}
    again = sipcap(*args)
    assert (again.returncode, again.stdout) == (0, b"")


def test_rotate_by_size_keeps_the_newest(sipcap: RunSipcap, db_path: Path) -> None:
    """The oldest go first; if the present alone is too large, that is said, with exit code 1."""
    fill(sipcap, 0, 1, 2, 3, msg="x" * 500_000)
    done = sipcap("tables", "rotate", "--table", DAYS, "--max-size", "1.3MB")
    assert done.returncode == 0
    assert tables_of(db_path) == {name_of(0), name_of(1)}
    done = sipcap("tables", "rotate", "--table", DAYS, "--max-size", "1kB")
    assert done.returncode == 1
    assert b"too large: what is left is of the present" in done.stderr
    assert tables_of(db_path) == {name_of(0)}


def test_rotate_that_is_stopped_leaves_the_rest_for_the_next_time(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A signal ends it behind the batch that is being deleted, with 128 and its number."""
    lines = encode_records([record(9, number) for number in range(20_000)])
    assert sipcap("store", "-q", "--table", "plain", stdin=lines).returncode == 0
    process = subprocess.Popen(
        [*SIPCAP, "tables", "rotate", "--table", "plain", "--keep", "1d", "-v"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    assert process.stderr is not None
    assert b"rows deleted" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    (left,) = objects(sipcap("tables", "list", "--table", "plain"))
    assert 0 < left["rows"] < 20_000
    assert sipcap("tables", "rotate", "--table", "plain", "--keep", "1d").returncode == 0
    assert objects(sipcap("tables", "list", "--table", "plain"))[0]["rows"] == 0


def test_rotate_gives_the_space_back(sipcap: RunSipcap, db_path: Path) -> None:
    """The file is small again, and how much that is is said."""
    fill(sipcap, 0, 20, 21, 22, msg="x" * 900_000)
    before = db_path.stat().st_size
    done = sipcap("tables", "rotate", "--table", DAYS, "--keep", "10d")
    assert db_path.stat().st_size < before / 3
    assert b" MB given back" in done.stderr


def test_drop_by_name_and_by_time(sipcap: RunSipcap, db_path: Path) -> None:
    """Named tables, also that of today; one that is not there is exit code 1. Or all of the past."""
    fill(sipcap, 0, 1, 2, 3)
    done = sipcap("tables", "drop", name_of(0), name_of(9), "--table", DAYS)
    assert done.returncode == 1
    assert f"no table {name_of(9)}".encode() in done.stderr
    assert tables_of(db_path) == {name_of(1), name_of(2), name_of(3)}
    before = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86_400))
    assert len(objects(sipcap("tables", "drop", "--before", before, "--table", DAYS, "--dry-run"))) == 2
    assert sipcap("tables", "drop", "--before", before, "--table", DAYS).returncode == 0
    assert tables_of(db_path) == {name_of(1)}


def test_create_makes_tables_and_a_database(sipcap: RunSipcap, db_path: Path) -> None:
    """Today and the days ahead; once more makes nothing."""
    args = ["tables", "create", "--table", f"{DAYS}|rtcp_capture", "--ahead", "2d"]
    done = objects(sipcap(*args))
    assert {one["table"] for one in done if one["done"]} == {name_of(0), name_of(-1), name_of(-2), "rtcp_capture"}
    assert tables_of(db_path) == {one["table"] for one in done}
    again = sipcap(*args)
    assert (again.returncode, again.stdout) == (0, b"")
    line = encode_records([report_record(payload_type=5)])
    assert sipcap("store", "-q", "--no-create", stdin=line).returncode == 0


def test_plan_tells_when_what_would_go(sipcap: RunSipcap) -> None:
    """Each table once, then the sums; without a limit nothing ever goes."""
    fill(sipcap, 0, 1, 12, msg="x" * 10_000)
    *steps, total = objects(sipcap("tables", "plan", "--table", DAYS, "--keep", "10d"))
    assert [(one["action"], one["table"]) for one in steps] == [
        ("drop", name_of(12)), ("keep", name_of(1)), ("keep", name_of(0)),
    ]  # fmt: skip
    assert steps[1]["go"] == time.strftime("%Y-%m-%d 00:00:00", time.gmtime(time.time() + 10 * 86_400))
    assert total["action"] == "sum"
    assert total["tables"] == 3
    assert total["bytes_kept"] == 10 * total["bytes_per_day"] > 0
    assert total["free_bytes"] > 0
    steps = objects(sipcap("tables", "plan", "--table", DAYS))[:-1]
    assert [one["go"] for one in steps] == [None] * 3


def test_tables_by_capture_mode(sipcap: RunSipcap, db_path: Path, tmp_path: Path) -> None:
    """A configuration names database and tables; a pattern on the command line wins."""
    fill(sipcap, 0, table="mine")
    fill(sipcap, 0, table="yours")
    (tmp_path / "m.ini").write_text("[sipcap]\ndb_url = sqlite:///sipcap.db\ntable_name = mine\n"
                                    "[capture_mode:two]\ndb_url=sqlite:///sipcap.db\ntable_name=yours\n")  # fmt: skip
    tables = [
        [one["table"] for one in objects(sipcap("tables", "list", "--config", "m.ini", *args))]
        for args in ([], ["--capture-mode", "two"], ["--table", "mine|yours"])
    ]
    assert tables == [["mine"], ["yours"], ["mine", "yours"]]


def test_tables_by_configuration_has_those_of_its_routes(sipcap: RunSipcap, db_path: Path, tmp_path: Path) -> None:
    """What store fills with a configuration, list, create and rotate find with it: of the mode that is meant, only."""
    (tmp_path / "m.ini").write_text(
        "[sipcap]\ndb_url = sqlite:///sipcap.db\ntable_name = s_%Y%m%d\n"
        "[capture_mode:two]\ndb_url = sqlite:///two.db\ntable_name = s_%Y%m%d\n"
        "[route:r]\nmethods = REGISTER\ntable = reg_%Y%m%d\n"
        "[route:rtcp]\nhep_type = 5\ntable = quality_%Y%m%d\n"
        "[route:t]\nmethods = BYE\ncapture_mode = two\ntable = bye_%Y%m%d\n"
    )
    days = [name_of(day).removeprefix("s_") for day in (20, 0)]
    lines = encode_records([record(day, method=method) for day in (20, 0) for method in ("INVITE", "REGISTER", "BYE")])
    assert sipcap("store", "-q", "--config", "m.ini", stdin=lines).returncode == 0
    found = objects(sipcap("tables", "list", "--config", "m.ini"))
    assert {one["table"] for one in found} == {f"{kind}_{day}" for kind in ("s", "reg") for day in days}
    found = objects(sipcap("tables", "list", "--config", "m.ini", "--capture-mode", "two"))
    assert {one["table"] for one in found} == {f"bye_{day}" for day in days}
    assert sipcap("tables", "rotate", "--keep", "10d", "--config", "m.ini").returncode == 0
    assert tables_of(db_path) == {f"s_{days[1]}", f"reg_{days[1]}"}
    assert sipcap("tables", "create", "--ahead", "1d", "--config", "m.ini").returncode == 0
    tomorrow = name_of(-1).removeprefix("s_")
    assert tables_of(db_path) == {f"{kind}_{day}" for kind in ("s", "reg") for day in (days[1], tomorrow)}
    found = objects(sipcap("tables", "list", "--config", "m.ini", "--table", "s_%Y%m%d"))
    assert {one["table"] for one in found} == {f"s_{days[1]}", f"s_{tomorrow}"}


def test_tables_of_a_schema_are_all_that_it_has() -> None:
    """Whatever is stored with a schema goes to a table of its list."""
    sip = [sip_record(method=method) for method in ("INVITE", "REGISTER", "OPTIONS", "NOTIFY", "BYE", "SUBSCRIBE")]
    reports: list[ReportRecord] = [report_record(payload_type=number) for number in range(120)]
    for schema in (HOMER5, HOMER7):
        names = {SIP_PATTERN[schema](one) for one in sip} | {REPORT_PATTERN[schema](one) for one in reports}
        assert names == set(SCHEMA_PATTERNS[schema])


def test_tables_of_homer5_are_found(sipcap: RunSipcap) -> None:
    """--schema in place of --table."""
    lines = encode_records([record(0, method="INVITE"), record(9, method="REGISTER")])
    assert sipcap("store", "-q", "--schema", "homer5", stdin=lines).returncode == 0
    found = [one["table"].rpartition("_")[0] for one in objects(sipcap("tables", "list", "--schema", "homer5"))]
    assert found == ["sip_capture_registration", "sip_capture_call"]


def test_tables_on_a_terminal_are_lines(sipcap: RunSipcap, tmp_path: Path) -> None:
    """For people: sizes with units, and a name that cannot move the cursor."""
    fill(sipcap, 1, table="\x1b[2Jx")
    main, other = pty.openpty()
    subprocess.run([*SIPCAP, "tables", "list", "--table", "\x1b[2Jx"], stdout=other, cwd=tmp_path, env=environment(),
                   check=True, timeout=TIMEOUT_S)  # fmt: skip
    os.close(other)
    shown = os.read(main, 4_096)
    os.close(main)
    assert b"\x1b" not in shown
    assert re.search(rb"x  [0-9.]+ kB  1 rows  ", shown)
    for name, args in (("plan", ["--keep", "1d"]), ("rotate", ["--keep", "0d"])):
        done = sipcap("tables", name, "--table", "\x1b[2Jx", "--format", "line", *args)
        assert b"\x1b" not in done.stdout
        assert done.stdout


def test_tables_man_page_has_lines_for_cron(sipcap: RunSipcap, db_path: Path, tmp_path: Path) -> None:
    """What cron makes of them is a command that works."""
    page = (ROOT / "man" / "sipcap-tables.1").read_text().replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")
    lines = [line for line in map(str.strip, page.splitlines()) if " sipcap sipcap " in line]
    assert len(lines) == 2
    fill(sipcap, 0)
    for line in lines:
        minute, _, _, _, _, user, _, command = line.split(" ", 7)
        assert (minute.isdecimal(), user) == (True, "sipcap")
        assert re.search(r"(?<!\\)%", command) is None
        words = command.replace("\\%", "%").replace("'", "").split()
        done = sipcap(*words, env={"SIPCAP_DB_URL": "sqlite:///sipcap.db"})
        assert done.returncode == 0
    assert name_of(-2).replace("s_", "sip_capture_") in tables_of(db_path)
