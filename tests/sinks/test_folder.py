"""Batches into files: whole or not at all, whoever is killed, whatever fails, however many write."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from sipcap.errors import CannotStart, SinkError
from sipcap.sinks import journal as journal_module
from sipcap.sinks.folder import Folder
from sipcap.sinks.journal import NAME, Begun, Ending
from tests.conftest import SIPCAP, TIMEOUT_S, environment
from tests.support.folders import contents, largest_file, locked
from tests.support.records import line_of, report_record, sip_lines, sip_record


def folder_at(path: Path, *, create: bool = True) -> Folder:
    """An open folder."""
    folder = Folder(path, create=create)
    folder.open()
    return folder


def put(folder: Folder, batch_id: str, **files: bytes) -> None:
    """Store a batch, if it is not stored; each file by its name."""
    with folder.batch(batch_id) as batch:
        if not batch.is_stored:
            for name, data in files.items():
                batch.file(name).data += data
            batch.store()


def die_in_the_middle(path: Path, batch_id: str, **written: bytes) -> None:
    """Leave a folder as a process does that is killed while it appends b'abcdef' to each of these files."""
    endings = []
    for name, data in written.items():
        file = path / name
        is_new = not file.exists()
        with file.open("ab") as stream:
            end = stream.tell()
            stream.write(data)
        endings.append(Ending(name, file.stat().st_ino, end, 6, is_new))
    with (path / NAME).open("ab") as stream:
        stream.write(msgspec.json.Encoder().encode_lines([Begun(batch_id, endings)]))


@pytest.mark.parametrize("umask", [0, 0o077])
def test_folder_and_files_created_are_the_owners_alone(tmp_path: Path, umask: int) -> None:
    """What was captured is nobody else's to read, whatever the umask allows."""
    before = os.umask(umask)
    try:
        put(folder_at(tmp_path / "new"), "b", t=b"x\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()} == {0o600}


def test_folder_that_is_not_there_is_not_created_against_the_users_wish(tmp_path: Path) -> None:
    """Without leave to create anything, a folder and a file must exist; one that does is used."""
    with pytest.raises(CannotStart, match="No such file"):
        folder_at(tmp_path / "new", create=False)
    (tmp_path / "there").write_bytes(b"1\n")
    folder = folder_at(tmp_path, create=False)
    put(folder, "a", there=b"2\n")
    with pytest.raises(SinkError, match="does not exist, and --no-create is set") as caught:
        put(folder, "b", there=b"3\n", missing=b"3\n")
    assert not caught.value.transient
    assert contents(tmp_path) == {"there": b"1\n2\n"}


@pytest.mark.parametrize("name", ["file", "file/inside", "\0", "missing/inside"])
def test_folder_that_cannot_be_ends_the_start(tmp_path: Path, name: str) -> None:
    """What is no folder and cannot become one shows at once."""
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="cannot use the folder"):
        folder_at(tmp_path / name)


def test_batch_stored_twice_is_there_once(tmp_path: Path) -> None:
    """A batch that is there already is not added again, by whomever."""
    put(folder_at(tmp_path), "a", t=b"1\n", u=b"1\n")
    with folder_at(tmp_path).batch("a") as batch:
        assert batch.is_stored
    with folder_at(tmp_path).batch("b") as batch:
        assert not batch.is_stored
    assert contents(tmp_path) == {"t": b"1\n", "u": b"1\n"}


def test_journal_keeps_the_last_batches_and_does_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old batch ids are forgotten, the newest ones never."""
    monkeypatch.setattr(journal_module, "FILE_BATCHES_KEPT", 5)
    folder = folder_at(tmp_path)
    for number in range(40):
        put(folder, str(number), t=b"%d\n" % number)
        for recent in range(max(0, number - 4), number + 1):
            with folder.batch(str(recent)) as batch:
                assert batch.is_stored
    assert len((tmp_path / NAME).read_bytes().splitlines()) <= 20
    assert contents(tmp_path) == {"t": b"".join(b"%d\n" % number for number in range(40))}


def test_batch_that_finds_the_disk_full_leaves_nothing(tmp_path: Path) -> None:
    """What a batch has written before it fails is taken back in all files; the next attempt succeeds."""
    folder = folder_at(tmp_path)
    put(folder, "a", t=b"1\n", u=b"1\n" * 500)
    before = contents(tmp_path)
    with largest_file(1_500), pytest.raises(SinkError, match="File too large") as caught:
        put(folder, "b", new=b"2\n", t=b"2\n", u=b"2\n" * 500)
    assert caught.value.transient
    assert contents(tmp_path) == before
    put(folder, "b", new=b"2\n", t=b"2\n", u=b"2\n" * 500)
    assert contents(tmp_path) == {"new": b"2\n", "t": b"1\n2\n", "u": b"1\n" * 500 + b"2\n" * 500}


def test_batch_whose_journal_finds_the_disk_full_leaves_nothing(tmp_path: Path) -> None:
    """A batch that cannot be noted is not written."""
    folder = folder_at(tmp_path)
    put(folder, "a", t=b"1\n")
    with largest_file((tmp_path / NAME).stat().st_size + 20), pytest.raises(SinkError):
        put(folder, "b", t=b"2\n")
    assert contents(tmp_path) == {"t": b"1\n"}
    put(folder, "b", t=b"2\n")
    assert contents(tmp_path) == {"t": b"1\n2\n"}


@pytest.mark.parametrize("failing", range(1, 6))
def test_batch_at_whatever_step_it_fails_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Whichever write to the disk fails, what remains is nothing, and the same batch can be stored afterwards."""
    folder = folder_at(tmp_path)
    put(folder, "a", t=b"1\n", u=b"1\n")
    calls = 0

    def fdatasync(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fdatasync)
        try:
            put(folder, "b", t=b"2\n", u=b"2\n")
        except SinkError as error:
            assert error.transient
    put(folder, "b", t=b"2\n", u=b"2\n")
    assert contents(tmp_path) == {"t": b"1\n2\n", "u": b"1\n2\n"}


def test_batch_that_cannot_be_taken_back_now_is_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails for a while, also while things are put right, costs nothing."""
    folder = folder_at(tmp_path)
    put(folder, "a", t=b"1\n")

    real_truncate, calls = os.ftruncate, 0

    def fail_at_the_second(_fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= 2:
            raise OSError(5, "Input/output error")

    def fail_from_then_on(fd: int, size: int) -> None:
        if calls >= 2:
            raise OSError(5, "Input/output error")
        real_truncate(fd, size)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail_at_the_second)
        patch.setattr(os, "ftruncate", fail_from_then_on)
        with pytest.raises(SinkError):
            put(folder, "b", t=b"2\n")
        with pytest.raises(SinkError):
            put(folder, "b", t=b"2\n")
    put(folder, "b", t=b"2\n")
    assert contents(tmp_path) == {"t": b"1\n2\n"}


@pytest.mark.parametrize("written", [b"", b"a", b"abcdef"])
def test_batch_of_somebody_who_was_killed_is_cut_off_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, written: bytes
) -> None:
    """What a killed process has written of a batch is taken out of all files at the next start."""
    put(folder_at(tmp_path), "a", t=b"1\n")
    die_in_the_middle(tmp_path, "b", t=written, new=written)
    folder = folder_at(tmp_path)
    assert contents(tmp_path) == {"t": b"1\n"}
    said = f"{len(written)} bytes of t, {len(written)} bytes of new"
    assert (said in caplog.text) == bool(written)
    put(folder, "b", t=b"2\n")
    assert contents(tmp_path) == {"t": b"1\n2\n"}


def test_batch_of_somebody_who_was_killed_is_cut_off_while_others_write(tmp_path: Path) -> None:
    """A process that goes on does not append to the torn line of one that was killed."""
    folder = folder_at(tmp_path)
    put(folder, "a", t=b"1\n")
    die_in_the_middle(tmp_path, "b", t=b"abc")
    put(folder, "c", t=b"3\n")
    assert contents(tmp_path) == {"t": b"1\n3\n"}


def test_files_that_somebody_else_changed_meanwhile_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that has grown, has been replaced or removed since a process was killed is not cut."""
    put(folder_at(tmp_path), "a", grown=b"1\n", replaced=b"1\n", removed=b"1\n")
    die_in_the_middle(tmp_path, "b", grown=b"abc", replaced=b"abc", removed=b"abc")
    with (tmp_path / "grown").open("ab") as stream:
        stream.write(b"theirs\n")
    (tmp_path / "new").write_bytes(b"1\n+")
    (tmp_path / "new").replace(tmp_path / "replaced")
    (tmp_path / "removed").unlink()
    folder_at(tmp_path)
    assert contents(tmp_path) == {"grown": b"1\nabctheirs\n", "replaced": b"1\n+"}
    assert caplog.text.count("was changed by somebody else") == 2


@pytest.mark.parametrize("torn", [b'{"is":"begu', b"\0\0\0"])
def test_journal_entry_that_was_not_finished_counts_for_nothing(tmp_path: Path, torn: bytes) -> None:
    """Whoever is killed while he notes a batch has not begun to write it."""
    put(folder_at(tmp_path), "a", t=b"1\n")
    with (tmp_path / NAME).open("ab") as stream:
        stream.write(torn)
    put(folder_at(tmp_path), "b", t=b"2\n")
    with folder_at(tmp_path).batch("a") as batch:
        assert batch.is_stored
    assert contents(tmp_path) == {"t": b"1\n2\n"}


def test_journal_that_is_damaged_is_not_guessed_at(tmp_path: Path) -> None:
    """A journal that nobody can read ends the start, and keeps a running process from writing."""
    folder = folder_at(tmp_path)
    (tmp_path / NAME).write_bytes(b"x\n")
    with pytest.raises(CannotStart, match="is damaged"):
        folder_at(tmp_path)
    with pytest.raises(SinkError, match="is damaged") as caught:
        put(folder, "a", t=b"1\n")
    assert caught.value.transient


def test_folder_that_is_in_use_for_too_long_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that holds the folder keeps the others waiting for a bounded time."""
    monkeypatch.setattr(journal_module, "FILE_LOCK_S", 0.1)
    folder = folder_at(tmp_path)
    with locked(tmp_path):
        with pytest.raises(SinkError, match="another process has been writing") as caught:
            put(folder, "a", t=b"1\n")
        with pytest.raises(CannotStart, match="another process has been writing"):
            folder_at(tmp_path)
    assert caught.value.transient
    put(folder, "a", t=b"1\n")
    assert contents(tmp_path) == {"t": b"1\n"}


def test_folder_that_went_away_is_an_outage(tmp_path: Path) -> None:
    """A folder that is unmounted or moved is not made anew; batches are stored again when it is back."""
    folder = folder_at(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(SinkError, match="No such file") as caught:
        put(folder, "a", t=b"1\n")
    assert caught.value.transient
    (tmp_path / "there").rename(tmp_path / "here")
    put(folder, "a", t=b"1\n")
    assert contents(tmp_path / "here") == {"t": b"1\n"}


def test_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """Whoever rotates files renames them; nobody has to be told."""
    folder = folder_at(tmp_path)
    put(folder, "a", t=b"1\n")
    (tmp_path / "t").rename(tmp_path / "t.1")
    put(folder, "b", t=b"2\n")
    assert contents(tmp_path) == {"t.1": b"1\n", "t": b"2\n"}


def test_file_that_is_none_is_refused_for_good(tmp_path: Path) -> None:
    """A folder or a pipe of a table's name takes no rows, keeps nobody waiting, and leaves the batch nowhere."""
    folder = folder_at(tmp_path)
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("directory", "pipe"):
        with pytest.raises(SinkError, match="is no file") as caught:
            put(folder, "a", **{"t": b"1\n", name: b"1\n"})
        assert not caught.value.transient
    assert not (tmp_path / "t").exists()


def test_file_behind_a_link_is_written(tmp_path: Path) -> None:
    """A link leads to where the table shall be, be it there or not yet."""
    folder = folder_at(tmp_path / "folder")
    (tmp_path / "folder" / "t").symlink_to(tmp_path / "elsewhere")
    put(folder, "a", t=b"1\n")
    put(folder, "b", t=b"2\n")
    assert (tmp_path / "elsewhere").read_bytes() == b"1\n2\n"


def start_store(folder: Path, cwd: Path, *options: str) -> subprocess.Popen[bytes]:
    """``sipcap store`` into the files of a folder; its stdin is a pipe."""
    return subprocess.Popen(
        [*SIPCAP, "store", "--db-url", f"ndjson://{folder}", *options],
        env=environment(), cwd=cwd, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("after", [3, 12])
def test_store_that_is_killed_leaves_whole_batches_in_all_files(tmp_path: Path, after: int) -> None:
    """Whenever a process is killed, its files hold the same batches, and whole lines only."""
    folder = tmp_path / "files"
    pair = b"".join(line_of(record) for number in range(50) for record in (sip_record(number), report_record(number)))
    process = start_store(folder, tmp_path, "--batch-size", "100")
    assert process.stdin is not None
    process.stdin.write(pair * after)
    process.stdin.flush()
    deadline = 100
    while not (folder / "sip_capture.ndjson").exists() and deadline:
        signal.sigtimedwait([], 0.05)
        deadline -= 1
    process.send_signal(signal.SIGKILL)
    process.stdin.close()
    assert process.wait(TIMEOUT_S) == -signal.SIGKILL
    folder_at(folder)
    counts = {name: data.count(b"\n") for name, data in contents(folder).items()}
    assert set(counts.values()) <= {50 * batches for batches in range(after + 1)}
    assert len(set(counts.values())) <= 1
    assert all(data == b"" or data.endswith(b"\n") for data in contents(folder).values())


def test_store_by_several_at_once_loses_and_mixes_nothing(tmp_path: Path) -> None:
    """Several processes may write the same file: each line is there, whole and once."""
    folder = tmp_path / "files"
    writers = [start_store(folder, tmp_path, "--batch-size", "50") for _ in range(3)]
    for number, writer in enumerate(writers):
        assert writer.stdin is not None
        writer.stdin.write(sip_lines(500, number * 500))
        writer.stdin.close()
    assert [writer.wait(TIMEOUT_S) for writer in writers] == [0, 0, 0]
    lines = (folder / "sip_capture.ndjson").read_bytes().splitlines(keepends=True)
    assert sorted(lines) == sorted(sip_lines(1_500).splitlines(keepends=True))
