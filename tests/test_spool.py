"""Files of batches on disk: whole or not there, for one destination, with a bound."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from sipcap.errors import CannotStart
from sipcap.record import Record
from sipcap.sinks.base import Row
from sipcap.spool import BadSegment, Segment, Spool, SpoolPlace, segment_of
from tests.conftest import ROOT, TIMEOUT_S
from tests.support.records import records, report_record, sip_record

Open = Callable[..., SpoolPlace]


@pytest.fixture
def open_place(tmp_path: Path) -> Iterator[Open]:
    """Opens a spool as another process would; all are closed behind the test."""
    spools: list[Spool] = []

    def open_one(destination: str = "here", max_bytes: int = 1 << 30, mode: str = "m") -> SpoolPlace:
        spools.append(Spool(tmp_path / "spool", max_bytes))
        return spools[-1].place(mode, destination)

    yield open_one
    for spool in spools:
        spool.close()


def _files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "spool").glob("*/*"))


def _rows(count: int = 3) -> dict[str, list[Row]]:
    return {"t": [Row(sip_record(number), {"x": number}) for number in range(count)]}


def test_keep_comes_back_as_it_was(open_place: Open, tmp_path: Path) -> None:
    """Mode, tables, rows and the keys that are unknown come back under the same id, and nobody else may read them."""
    rows = {"t": [Row(sip_record(1, msg_b64=b"\xff\0"), {"x": None})], 'u"/..': [Row(report_record(2), {"y": [1]})]}
    place = open_place()
    assert place.keep("id-1", rows, "away\n") == 2
    place.close()
    (segment,) = open_place().segments
    assert (segment.batch_id, segment.records, segment.is_own) == ("id-1", 2, False)
    assert segment.load() == ("m", rows)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (segment.path, segment.path.parent)] == [0o600, 0o700]


@given(record=records)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_keep_any_record_comes_back(open_place: Open, record: Record) -> None:
    """Any record that can exist survives."""
    place = open_place()
    place.keep("id", {"t": [Row(record, {})]}, "away")
    assert place.segments[-1].load() == ("m", {"t": [Row(record, {})]})


def test_segments_are_in_order_and_own_ones_known(open_place: Open) -> None:
    """The oldest is the first, also of those that an earlier process left."""
    place = open_place()
    for number in range(5):
        place.keep(f"id-{number}", _rows(), "away")
    place.close()
    place = open_place()
    place.keep("new", _rows(), "away")
    assert [segment.batch_id for segment in place.segments] == [*(f"id-{number}" for number in range(5)), "new"]
    assert [segment.is_own for segment in place.segments] == [False] * 5 + [True]


def test_oldest_is_told_for_those_who_remember_batches(tmp_path: Path) -> None:
    """The time when the oldest batch was put there, also by an earlier process; none = never."""
    before_s = time.time()
    place = Spool(tmp_path / "spool", 1 << 20).place("default", "here")
    assert place.oldest_s() == float("inf")
    place.keep("1", _rows(), "away")
    between_s = time.time()
    place.keep("2", _rows(), "away")
    assert before_s <= place.oldest_s() <= between_s
    place.close()
    later = Spool(tmp_path / "spool", 1 << 20).place("default", "here")
    assert before_s <= later.oldest_s() <= between_s
    later.close()


def test_bound_refuses_and_gives_room_again(open_place: Open, tmp_path: Path) -> None:
    """What does not fit leaves nothing behind; what is removed makes room; what was there counts."""
    place = open_place(max_bytes=8_192)
    place.keep("a", _rows(1), "away")
    place.keep("b", _rows(1), "away")
    with pytest.raises(OSError, match="bound"):
        place.keep("c", _rows(1), "away")
    assert len(_files(tmp_path)) == len(place.segments) == 2
    place.close()
    place = open_place(max_bytes=8_192)
    with pytest.raises(OSError, match="bound"):
        place.keep("c", _rows(1), "away")
    place.remove(place.segments.popleft())
    place.keep("c", _rows(1), "away")


def test_failed_write_leaves_nothing(open_place: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch whose file did not become durable is not there: it is counted elsewhere."""
    place = open_place()

    def fail(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        place.keep("a", _rows(), "away")
    assert (_files(tmp_path), list(place.segments)) == ([], [])


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-30], lambda data: data[:0], lambda data: data.replace(b"1", b"2", 1)]
)
def test_torn_file_is_known(open_place: Open, spoil: Callable[[bytes], bytes]) -> None:
    """A file that is not what was written is not stored."""
    place = open_place()
    place.keep("a", _rows(), "away")
    path = place.segments[0].path
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(BadSegment, match="not whole"):
        place.segments[0].load()


def test_lines_that_are_no_records_are_known(tmp_path: Path) -> None:
    """A checksum alone does not make a batch of a file."""
    path = tmp_path / "x"
    for data in (b"{}\n", b"no\n", b'{"micro_ts":1,"msg":"","_mode":"m","_error":"e","_table":1}\n', b"1\n2\n"):
        path.write_bytes(data)
        with pytest.raises(BadSegment):
            Segment(path, "id", 1, zlib.crc32(data), is_own=False).load()


def test_foreign_files_are_left_alone_and_said(
    open_place: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no file of a spool, as what a process left that died in the middle of one, stays where it is."""
    place = open_place()
    place.keep("a", _rows(), "away")
    folder = place.segments[0].path.parent
    for name in ("notes.txt", ".00000000000000000001-1-00000000-a.tmp"):
        (folder / name).write_text("x")
    place.close()
    assert len(open_place().segments) == 1
    assert len(_files(tmp_path)) == 3
    assert caplog.text.count("left alone") == 2


def test_two_processes_have_places_of_their_own(open_place: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one has is not taken by the other, until the one has ended."""
    first = open_place()
    first.keep("a", _rows(), "away")
    second = open_place()
    assert not second.segments
    second.keep("b", _rows(), "away")
    assert first.segments[0].path.parent != second.segments[0].path.parent
    second.look()
    assert len(second.segments) == 1
    first.close()
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    second.look()
    assert [(segment.batch_id, segment.is_own) for segment in second.segments] == [("a", False), ("b", True)]


def test_folder_that_another_process_removes_is_not_used(open_place: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking and taking it over, its owner may have come to its end; then there is a new one."""
    first = open_place()
    opened = os.open

    def open_late(path: Path, flags: int, *args: int) -> int:
        fd = opened(path, flags, *args)
        first.close()  # removes the folder, which is empty
        return fd

    monkeypatch.setattr(os, "open", open_late)
    second = open_place()
    monkeypatch.undo()
    second.keep("a", _rows(), "away")
    assert second.segments[0].load()[0] == "m"


def test_folder_that_another_process_removes_while_it_is_made_is_not_used(
    open_place: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there, so that it cannot be made, and a moment later it is not: its owner has come to its end."""
    first = open_place()
    make = os.mkdir

    def make_late(path: Path, mode: int = 0o777) -> None:
        try:
            make(path, mode)
        except FileExistsError:
            if path.parent.name == "spool":
                first.close()  # removes the folder, which is empty
            raise

    monkeypatch.setattr(os, "mkdir", make_late)
    second = open_place()
    monkeypatch.undo()
    second.keep("a", _rows(), "away")
    assert second.segments[0].load()[0] == "m"


@pytest.mark.parametrize("other", [{"destination": "there"}, {"mode": "n"}])
def test_another_destination_is_left_alone_and_said(
    open_place: Open, other: dict[str, str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Records that wait for one database never go into another."""
    place = open_place()
    place.keep("a", _rows(), "away")
    place.close()
    assert not open_place(**other).segments
    spool = Spool(tmp_path / "spool", 1 << 30)
    spool.report_strangers()
    assert "3 record(s) wait for another database" in caplog.text


def test_spool_that_cannot_be_written_does_not_start(tmp_path: Path) -> None:
    """It shows at the start, not when the database is away."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match="cannot write the spool"):
        Spool(tmp_path / "file", 1)
    with pytest.raises(CannotStart, match="cannot write the spool"):
        Spool(Path("/proc"), 1).place("m", "here")


@pytest.mark.parametrize(
    "name", ["a", "1-1-0-a.ndjson", f"{1:020d}-1-0000000g-a.ndjson", f"{1:020d}-1-00000000-../a.ndjson"]
)
def test_names_of_other_files_are_no_segments(name: str) -> None:
    """Only the exact form is one."""
    assert segment_of(Path(name)) is None


_WRITER = """
import sys
from pathlib import Path
from sipcap.sinks.base import Row
from sipcap.spool import Spool
from tests.support.records import sip_record
place = Spool(Path(sys.argv[1]), 1 << 30).place("m", "here")
for number in range(1_000_000):
    place.keep(f"id-{number}", {"t": [Row(sip_record(number), {})] * 50}, "away")
    print(number, flush=True)
"""


@pytest.mark.parametrize("pause_s", [0.01, 0.05, 0.1])
def test_killed_process_leaves_whole_files_only(open_place: Open, tmp_path: Path, pause_s: float) -> None:
    """Everything that was said to be kept is there after kill -9, and nothing is there in part."""
    program = subprocess.Popen(
        [sys.executable, "-c", _WRITER, tmp_path / "spool"], stdout=subprocess.PIPE, cwd=ROOT, bufsize=0
    )  # fmt: skip
    assert program.stdout is not None
    program.stdout.readline()
    time.sleep(pause_s)
    program.send_signal(signal.SIGKILL)
    said, _ = program.communicate(timeout=TIMEOUT_S)
    place = open_place()
    ids = [segment.batch_id for segment in place.segments]
    assert ids == [f"id-{number}" for number in range(len(ids))]
    assert len(ids) - (1 + len(said.splitlines())) in {0, 1}
    assert all(sum(map(len, segment.load()[1].values())) == 50 for segment in place.segments)
