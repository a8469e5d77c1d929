"""The file of records that the database refuses."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from sipcap.deadletter import DeadLetterFile
from sipcap.errors import CannotStart
from sipcap.ndjson import decode_record
from sipcap.record import Record
from sipcap.sinks.base import Row
from tests.support.records import records, report_record, sip_record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where dead letters go."""
    return tmp_path / "dead.ndjson"


def _read(path: Path) -> list[tuple[Record, dict[str, object]]]:
    return [decode_record(line, lambda _: {}) for line in path.read_bytes().splitlines()]


def test_write_lines_carry_reason_and_table_and_come_back(path: Path) -> None:
    """Each line is its record, with the keys that were unknown, the reason, the capture mode and the table."""
    rows = [Row(sip_record(1, msg_b64=b"\xff\0"), {"x": None}), Row(report_record(2), {"_table": "old", "big": 2**70})]
    file = DeadLetterFile(path)
    file.write('t"; --', rows, "too long\n")
    file.of_mode("m").write("u", rows[:1], "gone")
    file.close()
    assert _read(path) == [
        (sip_record(1, msg_b64=b"\xff\0"), {"x": None, "_error": "too long\n", "_mode": "default", "_table": 't"; --'}),
        (report_record(2), {"big": 2**70, "_error": "too long\n", "_mode": "default", "_table": 't"; --'}),
        (sip_record(1, msg_b64=b"\xff\0"), {"x": None, "_error": "gone", "_mode": "m", "_table": "u"}),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=records)
def test_write_any_record_comes_back(path: Path, record: Record) -> None:
    """Whatever a record holds, its dead letter is the same record."""
    path.unlink(missing_ok=True)
    file = DeadLetterFile(path)
    file.write("t", [Row(record, {})], "why")
    file.close()
    assert _read(path) == [(record, {"_error": "why", "_mode": "default", "_table": "t"})]


def test_open_creates_it_for_the_owner_alone(path: Path) -> None:
    """Captured data are nobody else's business, whatever the umask."""
    before = os.umask(0)
    try:
        DeadLetterFile(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_open_existing_file_is_kept(path: Path) -> None:
    """Dead letters of before are not lost."""
    path.write_bytes(b"before\n")
    file = DeadLetterFile(path)
    file.write("t", [Row(sip_record(), {})], "why")
    file.close()
    first, second = path.read_bytes().splitlines()
    assert first == b"before"
    assert decode_record(second, lambda _: {})[0] == sip_record()


def test_write_behind_half_a_line_begins_a_new_one(path: Path) -> None:
    """A line that a crash cut off does not swallow the next one."""
    path.write_bytes(b'{"v":1,"ki')
    file = DeadLetterFile(path)
    file.write("t", [Row(sip_record(), {})], "why")
    file.close()
    first, second = path.read_bytes().splitlines()
    assert first == b'{"v":1,"ki'
    assert decode_record(second, lambda _: {})[0] == sip_record()


@pytest.mark.parametrize("name", ["", "no/such/folder/file", "folder/file"])
def test_open_where_nothing_can_be_written_cannot_start(tmp_path: Path, name: str) -> None:
    """A folder, or a place that is not there, shows at the start."""
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(CannotStart, match="cannot write dead letters to"):
        DeadLetterFile(tmp_path / name)


@pytest.mark.parametrize("name", ["/dev/null", "pipe"])
def test_write_to_what_is_no_file_works(tmp_path: Path, name: str) -> None:
    """A device or a named pipe that takes the lines is no failure: there is nothing to make durable."""
    os.mkfifo(tmp_path / "pipe")
    file = DeadLetterFile(tmp_path / name)
    file.write("t", [Row(sip_record(), {})], "why")
    assert not file.is_same_file((tmp_path / name).stat())
    file.close()


def test_write_on_a_full_device_tells_that(path: Path) -> None:
    """The reason is the disk's, not that of the attempt to clean up."""
    file = DeadLetterFile(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left") as caught:
        file.write("t", [Row(sip_record(), {})], "why")
    assert caught.value.errno == errno.ENOSPC
    file.close()


@pytest.fixture
def small_files() -> Iterator[int]:
    """Files cannot grow beyond some bytes, as on a full disk."""
    limit = 10_000
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_write_that_does_not_fit_leaves_nothing_of_itself(path: Path, small_files: int) -> None:
    """What is counted as dropped is not in the file as well, and no line is cut."""
    file = DeadLetterFile(path)
    written = 0
    with pytest.raises(OSError, match="File too large"):
        for number in range(100):
            file.write("t", [Row(sip_record(number), {})] * 2, "why")
            written += 2
    file.close()
    assert 0 < written == len(_read(path))


def test_is_same_file_knows_every_way_to_it(path: Path, tmp_path: Path) -> None:
    """Another name of the file is the file; another file is not."""
    file = DeadLetterFile(path)
    os.link(path, tmp_path / "link")
    (tmp_path / "other").write_bytes(b"")
    for name, same in (("dead.ndjson", True), ("link", True), ("other", False)):
        assert file.is_same_file((tmp_path / name).stat()) is same
    file.close()


def _write_many(path: Path, name: str, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    file = DeadLetterFile(path)
    written = 0
    for number in range(100):
        try:
            file.write(name, [Row(sip_record(number, msg=name * 5_000), {})] * 3, "why")
            written += 3
        except OSError:
            pass
    file.close()
    os._exit(written)


def test_write_of_two_processes_is_whole_lines_of_both(path: Path) -> None:
    """Two programs share the file, also where one of them fails and takes back what it began."""
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(path, name, 700_000)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    written = {name: sum(line["_table"] == name for _, line in _read(path)) for name in ("a", "b")}
    assert [written["a"], written["b"]] == [writer.exitcode for writer in writers]
    assert sum(written.values()) > 30
