"""``sipcap search`` over all capture modes of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sipcap.ndjson import encode_records
from sipcap.record import SipRecord, date_text
from tests.conftest import RunSipcap
from tests.support.messages import BASE_TS_US
from tests.support.records import report_record, sip_record


def at(offset_us: int, number: int = 0, **changes: Any) -> SipRecord:
    """A record of a time, with the date that belongs to it."""
    ts_us = BASE_TS_US + offset_us
    return sip_record(number, micro_ts=ts_us, date=date_text(ts_us // 1_000_000), **changes)


def store(sipcap: RunSipcap, lines: bytes, mode: str) -> None:
    """Store lines as a capture mode of modes.ini says."""
    done = sipcap("store", "-q", "--config", "modes.ini", "--capture-mode", mode, stdin=lines)
    assert done.returncode == 0, done.stderr


SEVERAL = """
[sipcap]
db_url = sqlite:///own.db
[capture_mode:one]
db_url = sqlite:///one.db
table_name = calls_%Y%m%d
[capture_mode:two]
db_url = sqlite:///own.db
table_name = two
"""


def test_search_by_configuration_alone_looks_into_all_its_modes(sipcap: RunSipcap, tmp_path: Path) -> None:
    """One stream in the order of time, whatever database holds what; each database is read once."""
    (tmp_path / "modes.ini").write_text(SEVERAL)
    lines = [encode_records([at(number, number)]) for number in range(6)]
    for number, mode in enumerate(("default", "one", "two")):
        store(sipcap, lines[number] + lines[number + 3], mode)
    done = sipcap("search", "--config", "modes.ini")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"".join(lines), b"")
    done = sipcap("search", "--config", "modes.ini", "--limit", "4")
    assert done.stdout == b"".join(lines[:4])
    assert sipcap("search", "--config", "modes.ini", "--capture-mode", "one").stdout == lines[1] + lines[4]


def test_search_by_configuration_finds_a_call_and_its_reports_in_two_databases(
    sipcap: RunSipcap, tmp_path: Path
) -> None:
    """RTCP may go elsewhere than SIP; a table that one of the databases has is not missed in the others."""
    (tmp_path / "modes.ini").write_text(SEVERAL)
    call = encode_records([at(1, callid="c")])
    report = encode_records([report_record(2, payload_type=5, correlation_id="c", micro_ts=BASE_TS_US + 2)])
    store(sipcap, call, "default")
    store(sipcap, report, "one")
    tables = ("--table", "sip_capture|rtcp_capture")
    done = sipcap("search", "--config", "modes.ini", *tables, "--callid", "c")
    assert (done.returncode, done.stdout, done.stderr) == (0, call + report, b"")


def test_search_by_configuration_that_finds_nothing_names_the_modes(sipcap: RunSipcap, tmp_path: Path) -> None:
    """And how one of them is meant."""
    (tmp_path / "modes.ini").write_text(SEVERAL)
    for mode in ("default", "one", "two"):
        store(sipcap, encode_records([at(0)]), mode)
    done = sipcap("search", "--config", "modes.ini", "--callid", "nobody")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"nothing found in 3 table(s) of capture modes default, one, two (--capture-mode)" in done.stderr


def test_search_by_configuration_goes_on_without_a_database_that_cannot_be_read(
    sipcap: RunSipcap, tmp_path: Path
) -> None:
    """It is said, with exit code 1; where none can be read, that is 3."""
    (tmp_path / "modes.ini").write_text(SEVERAL)
    assert sipcap("search", "--config", "modes.ini").returncode == 3
    lines = encode_records([at(0)])
    store(sipcap, lines, "one")
    done = sipcap("search", "--config", "modes.ini")
    assert (done.returncode, done.stdout) == (1, lines)
    assert b"not searched: " in done.stderr
    assert b"own.db" in done.stderr
    (tmp_path / "modes.ini").write_text(
        SEVERAL.replace("db_url = sqlite:///own.db\n[capture_mode:one]", "[capture_mode:one]").partition(
            "[capture_mode:two]"
        )[0]
    )
    done = sipcap("search", "--config", "modes.ini")
    assert (done.returncode, done.stdout, done.stderr) == (0, lines, b"")
