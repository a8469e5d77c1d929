"""``sipcap store`` at its bounds: options, disks, memory, and counters that add up whatever happened."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sipcap.counters import Counters
from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support.messages import BASE_TS_US
from tests.support.records import line_of, numbers_of, sip_lines, sip_record


@pytest.mark.parametrize(
    ("option", "bad", "good"),
    [
        ("--insert-retries", ["-1", "501", "x"], ["0", "500"]),
        ("--insert-retry-timeout", ["-1", "301", "1.5"], ["0", "300"]),
        ("--batch-size", ["0", "-1", "100001"], ["1", "100000"]),
        ("--batch-interval", ["0", "-1", "3601", "nan", "x"], ["0.01", "3600"]),
        ("--drain-timeout", ["-1", "x", "nan"], ["0", "1e9"]),
        ("--mt-mode", ["", "RANDOM"], ["hash"]),
        ("--hash-source", ["callid"], ["to_user"]),
    ],
)
def test_store_options_have_bounds(sipcap: RunSipcap, option: str, bad: list[str], good: list[str]) -> None:
    """What is outside the bounds is a usage error, and the bounds themselves work."""
    for value in bad:
        assert sipcap("store", f"{option}={value}", stdin=sip_lines(1)).returncode == 2, value
    for value in good:
        assert sipcap("store", f"{option}={value}", stdin=sip_lines(1)).returncode == 0, value


def _limited(folder: Path, limit: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    """``sipcap store`` under a limit of the shell's ``ulimit``."""
    return subprocess.run(
        ["bash", "-c", f'ulimit {limit}; exec "$@"', "bash", *SIPCAP, "store", *args],
        stdin=subprocess.DEVNULL, capture_output=True, cwd=folder, env=environment(), timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--dead-letter", "dead.ndjson")])
def test_store_full_disk_is_5_with_everything_before_stored(
    tmp_path: Path, db_path: Path, options: tuple[str, ...]
) -> None:
    """When the disk is full, whole batches are stored, the rest of what was read is counted, and the code says so."""
    (tmp_path / "input").write_bytes(sip_lines(10_000))
    done = _limited(tmp_path, "-f 4000", "--batch-size", "100", "--log-format", "json", *options, "input")
    assert done.returncode == 5, done.stderr
    counted, last = done.stderr.splitlines()[-2:]
    values = json.loads(counted)
    assert 0 < values["stored"] < 10_000
    assert values["stored"] % 100 == 0
    assert numbers_of(db_path)[: values["stored"]] == list(range(values["stored"]))
    assert len(numbers_of(db_path)) == values["stored"]
    assert _imbalance(values) == 0
    assert "could not be stored" in json.loads(last)["message"] or "dead letters" in json.loads(last)["message"]


def test_store_line_without_end_needs_no_memory(tmp_path: Path, db_path: Path) -> None:
    """300 MB without a line feed are one bad line, and the records around them are stored."""
    script = (
        f'ulimit -v {512 << 10}; (cat first; head -c 300000000 /dev/zero; echo; cat second) | "$@"'
        "; exit ${PIPESTATUS[1]}"
    )
    (tmp_path / "first").write_bytes(sip_lines(3))
    (tmp_path / "second").write_bytes(sip_lines(3, 3))
    done = subprocess.run(
        ["bash", "-c", script, "bash", *SIPCAP, "store"],
        stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert b"warning: stdin:4: line too long\n" in done.stderr
    assert numbers_of(db_path) == list(range(6))


def _imbalance(values: dict[str, Any]) -> int:
    counters = Counters()
    counters.add(values)
    return counters.imbalance()


@pytest.mark.parametrize("options", [(), ("--strict",), ("--dead-letter", "dead"), ("--dead-letter", "/dev/full")])
@pytest.mark.parametrize("end", [b"", b"bad\n", b"half a line", line_of(sip_record(), v=2)])
def test_store_counters_add_up_whatever_happened(
    sipcap: RunSipcap, db_path: Path, options: tuple[str, ...], end: bytes
) -> None:
    """Bad lines, refused rows, full disks, newer lines: each message that came in is accounted for once."""
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute(f"CREATE TABLE sip_capture (micro_ts CHECK (micro_ts % 7 <> {BASE_TS_US % 7}))")
    data = sip_lines(20) + b"bad\n" * ("--strict" not in options) + sip_lines(20, 20) + end
    done = sipcap("store", "--log-format", "json", "--batch-size", "8", *options, stdin=data)
    values = next(line for line in map(json.loads, done.stderr.splitlines()) if "received" in line)
    assert _imbalance(values) == 0
    assert values["stored"] == len(numbers_of(db_path)) == 40 - 6
    expected = 1 if options == ("--dead-letter", "dead") else 5
    assert done.returncode == (4 if expected == 1 and b'"v":2' in end else expected)


def test_store_large_input_needs_the_memory_of_some_batches(tmp_path: Path) -> None:
    """An input larger than the bound is stored within it."""
    with (tmp_path / "input").open("wb") as file:
        for first in range(0, 100_000, 10_000):
            file.write(sip_lines(10_000, first))
    script = "import sys\nfrom sipcap.cli.main import run\nassert run(['-q', 'store', 'input']) == 0\n"
    script += "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    done = subprocess.run(
        [*SIPCAP[:2], "-c", script],
        capture_output=True, cwd=tmp_path, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert int(done.stdout) << 10 < 110_000_000 < (tmp_path / "input").stat().st_size
