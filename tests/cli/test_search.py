"""``sipcap search`` from its command line."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sipcap.ndjson import encode_records
from sipcap.record import SipRecord, date_text
from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support.messages import BASE_TS_US
from tests.support.records import line_of, report_record, sip_record

DAY_US = 86_400_000_000


def at(offset_us: int, number: int = 0, **changes: Any) -> SipRecord:
    """A record of a time, with the date that belongs to it."""
    ts_us = BASE_TS_US + offset_us
    return sip_record(number, **({"micro_ts": ts_us, "date": date_text(ts_us // 1_000_000)} | changes))


def store(sipcap: RunSipcap, lines: bytes, *args: str) -> None:
    """Store lines in the default database."""
    assert sipcap("store", "-q", *args, stdin=lines).returncode == 0


MESSAGES = (b"plain", "grüße 😀".encode(), b"\xff\xfe\0bad", b"nul\0", b"", b"\xef\xbf\xbd", b'<tag>\\"\x1b[31m\r\n\t')


def test_search_gives_back_what_was_stored_to_the_byte(sipcap: RunSipcap) -> None:
    """``sipcap search | cmp`` with what went into ``sipcap store``: any bytes, envelopes, unknown keys, big numbers."""
    lines = b""
    for number, payload in enumerate(MESSAGES):
        text = payload.decode("utf-8", "replace")
        more: dict[str, Any] = {} if text.encode() == payload else {"msg_b64": payload}
        lines += encode_records([at(number * DAY_US, number, msg=text, **more, vlan=2**63 - 1, tags="ä")])
    lines += line_of(at(9 * DAY_US, hep_version=3), tenant={"id": 1.5, "x": [None, True]}, zzz="\x00")
    store(sipcap, lines, "--table", "s_%Y%m%d")
    done = sipcap("search", "--table", "s_%Y%m%d")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == lines


def test_search_gives_reports_back_if_their_table_is_named(sipcap: RunSipcap) -> None:
    """Reports stay out of a search for messages, and come as they went in."""
    reports = encode_records([report_record(1, payload_type=5, capture_id=7), report_record(2, payload_type=5)])
    messages = encode_records([at(5)])
    store(sipcap, reports + messages)
    assert sipcap("search").stdout == messages
    assert sipcap("search", "--table", "rtcp_capture").stdout == reports
    assert sipcap("search", "--table", "rtcp_capture|sip_capture").stdout == reports + messages


def test_search_of_what_was_searched_is_the_same(sipcap: RunSipcap) -> None:
    """A search can be stored again elsewhere."""
    lines = encode_records([at(number, number) for number in range(100)])
    store(sipcap, lines)
    store(sipcap, sipcap("search").stdout, "--db-url", "sqlite:///other.db")
    assert sipcap("search", "--db-url", "sqlite:///other.db").stdout == lines


def test_search_by_every_option_at_once(sipcap: RunSipcap) -> None:
    """All of them together find one message; each of them wrong finds none, with exit code 1."""
    store(sipcap, encode_records([at(number, number, source_ip=f"192.0.2.{number}") for number in range(5)]))
    options = {
        "--since": date_text(BASE_TS_US // 1_000_000), "--until": "now", "--callid": "call-3@host",
        "--from-user": "from_user 3", "--to-user": "to_user 3", "--ruri-user": "ruri_user 3", "--method": "method 3",
        "--ip": "192.0.2.3", "--node": "node 3", "--limit": "1", "--format": "json",
    }  # fmt: skip
    found = sipcap("search", *(word for pair in options.items() for word in pair))
    assert found.stdout == encode_records([at(3, 3, source_ip="192.0.2.3")])
    wrong = {"--since": "-1h", "--until": "2001-01-01", "--ip": "192.0.2.9"}
    for name in options:
        if name in {"--limit", "--format"}:
            continue
        changed = {**options, name: wrong.get(name, "wrong")}
        if name == "--until":
            del changed["--since"]
        done = sipcap("search", *(word for pair in changed.items() for word in pair))
        assert (done.returncode, done.stdout) == (1, b""), name
        assert b"nothing found in 1 table(s)" in done.stderr


def test_search_limit_that_cut_says_so(sipcap: RunSipcap) -> None:
    """On stderr, and only if there is more."""
    store(sipcap, encode_records([at(number) for number in range(3)]))
    cut = sipcap("search", "--limit", "2")
    assert (cut.returncode, cut.stdout.count(b"\n")) == (0, 2)
    assert b"there is more: --limit let 2 message(s) through" in cut.stderr
    assert sipcap("search", "--limit", "3").stderr == b""


@pytest.mark.parametrize("args", [
    ["--since", "yesterday"], ["--until", "1"], ["--ip", "300.1.1.1"], ["--limit", "0"], ["--format", "xml"],
    ["--since", "-1h", "--until", "-2h"], ["--table", "sip_%q"], ["--table", "|"], ["--nosuch"],
])  # fmt: skip
def test_search_that_cannot_be_meant_is_a_usage_error(sipcap: RunSipcap, args: list[str]) -> None:
    """Exit code 2, nothing on stdout."""
    done = sipcap("search", *args)
    assert (done.returncode, done.stdout) == (2, b"")


def test_search_without_a_database_cannot_start(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Exit code 3, and no file is made; passwords are not shown."""
    done = sipcap("search")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"no such database" in done.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "sipcap.db").write_text("no database")
    assert sipcap("search").returncode == 3
    done = sipcap("search", "--db-url", "nosuch://user:hunter2@host/db")
    assert done.returncode == 3
    assert b"hunter2" not in done.stderr


def test_search_in_a_missing_table_is_not_found(sipcap: RunSipcap) -> None:
    """Exit code 1, and which table it is that is not there."""
    store(sipcap, encode_records([at(0)]))
    done = sipcap("search", "--table", "sip_capture_%Y")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"no table is called sip_capture_%Y" in done.stderr


def test_search_in_a_missing_table_names_those_most_like_it(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A few, the tables of days as one; those of others, and sipcap's own, are not told beside them."""
    store(sipcap, b"".join(encode_records([at(day * DAY_US)]) for day in range(30)), "--table", "sip_capture_%Y%m%d")
    said = sipcap("search").stderr
    assert b"no table is called sip_capture; there is sip_capture_20" in said
    assert b" (and 29 more of its kind)\n" in said
    with sqlite3.connect(tmp_path / "sipcap.db") as database:
        for number in range(26):
            database.execute(f"CREATE TABLE {chr(ord('a') + number) * 3} (x)")
    database.close()
    assert b"sip_captrue_%Y%m; there is sip_capture_20" in sipcap("search", "--table", "sip_captrue_%Y%m").stderr
    far = sipcap("tables", "list", "--table", "0815").stderr
    assert far.count(b"\n") == 1
    assert far.endswith(b"no table matches 0815; there is none like it: aaa, bbb, ccc, ddd, eee and 22 more\n")
    assert sipcap("search", "--db-url", "sqlite:///new.db").returncode == 3
    sqlite3.connect(tmp_path / "empty.db").close()
    assert (
        b"no table is called sip_capture; there is no table at all"
        in sipcap("search", "--db-url", "sqlite:///empty.db").stderr
    )


TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'calls_%'"
RENAMED = """\
[sipcap]
callid_column = call_identity
micro_ts_column = time_us
date_column = day
[capture_mode:other]
db_url = sqlite:///other.db
table_name = calls_%Y%m%d
"""


def test_search_by_configuration_takes_database_tables_and_names_of_columns(sipcap: RunSipcap, tmp_path: Path) -> None:
    """What store has put into tables whose columns have other names, search finds; so does the upkeep of the tables."""
    (tmp_path / "modes.ini").write_text(RENAMED)
    mode = ("--config", "modes.ini", "--capture-mode", "other")
    lines = b"".join(encode_records([at(day * DAY_US, callid=f"call-{day}")]) for day in range(3))
    store(sipcap, lines, *mode)
    with sqlite3.connect(tmp_path / "other.db") as database:
        tables = [name for (name,) in database.execute(TABLES)]
        columns = {name for _, name, *_ in database.execute(f"PRAGMA table_info({min(tables)})")}
    database.close()
    assert {"call_identity", "time_us", "day"} <= columns
    assert not columns & {"callid", "micro_ts", "date"}
    done = sipcap("search", *mode)
    assert (done.returncode, done.stdout, done.stderr) == (0, lines, b"")
    found = sipcap("search", *mode, "--callid", "call-1", "--since", "2000-01-01").stdout
    assert found == lines.splitlines(keepends=True)[1]
    (tmp_path / "default.ini").write_text(RENAMED.replace("[sipcap]", "[sipcap]\ndb_url = sqlite:///other.db"))
    assert b"no table is called sip_capture; there is" in sipcap("search", "--config", "default.ini").stderr
    assert sipcap("search", "--capture-mode", "other").returncode == 2
    created = sipcap("tables", "create", *mode, "--ahead", "0d", "--format", "json")
    assert created.returncode == 0, created.stderr
    with sqlite3.connect(tmp_path / "other.db") as database:
        newest = max(name for (name,) in database.execute(TABLES))
        assert {"call_identity"} <= {name for _, name, *_ in database.execute(f"PRAGMA table_info({newest})")}
    database.close()
    assert newest not in tables
    listed = sipcap("tables", "list", *mode, "--format", "json")
    assert [line["rows"] for line in map(json.loads, listed.stdout.splitlines())] == [1, 1, 1, 0]
    deleted = sipcap("tables", "drop", *mode, "--before", "2100-01-01", "--format", "json")
    assert deleted.returncode == 0, deleted.stderr


def test_search_database_by_variable_and_file(sipcap: RunSipcap, tmp_path: Path) -> None:
    """SIPCAP_DB_URL for all commands, SIPCAP_SEARCH_DB_URL for this one, @FILE for a secret."""
    store(sipcap, encode_records([at(0)]), "--db-url", "sqlite:///a.db")
    assert sipcap("search", env={"SIPCAP_DB_URL": "sqlite:///a.db"}).returncode == 0
    env = {"SIPCAP_DB_URL": "sqlite:///none.db", "SIPCAP_SEARCH_DB_URL": "sqlite:///a.db"}
    assert sipcap("search", env=env).returncode == 0
    (tmp_path / "url").write_text("sqlite:///a.db\n")
    assert sipcap("search", "--db-url", "@url").returncode == 0


def test_search_on_a_terminal_is_one_safe_line_a_message(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Coloured, and captured text cannot move the cursor."""
    store(sipcap, encode_records([at(0, type=2, method="200", from_user="\x1b[2Jx", cseq="1 INVITE")]))
    main, other = pty.openpty()
    with subprocess.Popen(
        [*SIPCAP, "search"], stdout=other, stderr=subprocess.PIPE, cwd=tmp_path, env=environment()
    ) as process:
        os.close(other)
        shown = b""
        while True:
            try:
                data = os.read(main, 4_096)
            except OSError:  # the other end is closed
                break
            shown += data
        assert process.wait(TIMEOUT_S) == 0
    os.close(main)
    assert shown.count(b"\n") == 1
    assert b"\x1b[32m200" in shown
    assert b"\x1b[2J" not in shown


def test_search_whose_reader_goes_away_is_quiet(sipcap: RunSipcap, tmp_path: Path) -> None:
    """``sipcap search | head -1`` is no failure."""
    store(sipcap, encode_records([at(number, msg="x" * 2_000) for number in range(2_000)]))
    with subprocess.Popen(
        [*SIPCAP, "search"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"v":1')
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr.read() == b""


def test_search_of_a_read_only_file_works(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Reading changes nothing, not even the file's time."""
    store(sipcap, encode_records([at(0)]))
    path = tmp_path / "sipcap.db"
    path.chmod(0o400)
    before = path.read_bytes()
    assert sipcap("search").returncode == 0
    assert path.read_bytes() == before


def test_search_in_a_damaged_file_says_so(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Not a traceback, and not silence."""
    store(sipcap, encode_records([at(number, number, msg="x" * 4_000) for number in range(200)]))
    path = tmp_path / "sipcap.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 80_000] = b"\xa5" * 80_000
    path.write_bytes(data)
    done = sipcap("search")
    assert done.returncode == 3
    assert b"malformed" in done.stderr
