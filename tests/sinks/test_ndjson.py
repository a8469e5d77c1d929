"""Records in a folder with one NDJSON file a table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipcap.errors import SinkError
from sipcap.ndjson import decode_record
from sipcap.record import Record
from sipcap.sinks.base import Row
from sipcap.sinks.ndjson import NdjsonSink
from tests.conftest import RunSipcap
from tests.support.folders import contents, rows
from tests.support.records import line_of, records, report_record, sip_lines, sip_record, text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files are."""
    return tmp_path / "files"


@pytest.fixture
def sink(folder: Path) -> NdjsonSink:
    """A sink over a new folder."""
    opened = NdjsonSink(folder)
    opened.open()
    return opened


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(record=records, unknown=st.dictionaries(text.filter(bool).map("x".__add__), text | st.none(), max_size=2))
def test_line_of_any_record_is_that_record(sink: NdjsonSink, folder: Path, record: Record, unknown: object) -> None:
    """Whatever a record holds, and whatever keys of others it came with, is read again from its line."""
    assert isinstance(unknown, dict)
    sink.write(os.urandom(8).hex(), {"t": [Row(record, unknown)]})
    (line,) = contents(folder)["t.ndjson"].splitlines()
    assert decode_record(line, lambda _: {}) == (record, unknown)
    (folder / "t.ndjson").unlink()


def test_files_have_the_lines_that_came_in(sipcap: RunSipcap, folder: Path) -> None:
    """Each table is a file of the very lines, in their order, which can be stored again."""
    sip, report = sip_lines(30), line_of(report_record(1), their_key=1)
    done = sipcap("store", "--db-url", f"ndjson://{folder}", "--table", "a b", "--batch-size", "7", stdin=sip + report)
    assert (done.returncode, done.stderr) == (0, b"sipcap: received 31, stored 30, reported 1\n")
    assert contents(folder) == {"a b.ndjson": sip, "report_capture.ndjson": report}
    done = sipcap("store", "--db-url", f"ndjson://{folder}", str(folder / "report_capture.ndjson"))
    assert done.returncode == 0
    assert contents(folder) == {"a b.ndjson": sip, "report_capture.ndjson": report * 2}


def test_table_may_hold_messages_and_reports(sink: NdjsonSink, folder: Path) -> None:
    """A file has no columns: one table takes both kinds."""
    sink.write("b", {"t": rows(sip_record(1), report_record(2), sip_record(3))})
    lines = b"".join(line_of(record) for record in (sip_record(1), report_record(2), sip_record(3)))
    assert contents(folder) == {"t.ndjson": lines}


def test_batch_written_twice_is_stored_once(sink: NdjsonSink, folder: Path) -> None:
    """A batch whose fate was in doubt can be written again, also by a sink that was opened anew."""
    other = NdjsonSink(folder)
    other.open()
    for each in (sink, sink, other):
        each.write("a-1", {"t": rows(sip_record(1))})
    other.write("a-2", {"t": rows(sip_record(1))})
    assert contents(folder) == {"t.ndjson": line_of(sip_record(1)) * 2}


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "../a", "/a", "a\0b", "a\nb", "\x1b[31m", "x" * 249, "\u00fc" * 125, "\udcff"],
)
def test_name_that_is_no_safe_file_name_is_refused_for_good(sink: NdjsonSink, folder: Path, name: str) -> None:
    """A table's name never leads out of the folder, is never hidden in it, and never more than a file can be called."""
    with pytest.raises(SinkError, match="no table in a folder can be called") as caught:
        sink.write("b", {"x": rows(sip_record()), name: rows(sip_record())})
    assert not caught.value.transient
    assert len(str(caught.value)) < 200
    assert contents(folder) == {}


@pytest.mark.parametrize(
    "name", ["sip_capture_20231114", "with space", "a;b", "*", "-rf", "\u00fcber\U0001f600", "x" * 248]
)
def test_name_of_any_other_kind_is_a_file(sink: NdjsonSink, folder: Path, name: str) -> None:
    """All other names are names."""
    sink.write("b", {name: rows(sip_record(1))})
    assert contents(folder) == {f"{name}.ndjson": line_of(sip_record(1))}


def test_record_that_cannot_be_written_is_refused_for_good(sink: NdjsonSink, folder: Path) -> None:
    """Text that is no Unicode has no line; the batch leaves nothing."""
    with pytest.raises(SinkError, match="surrogates") as caught:
        sink.write("b", {"t": rows(sip_record(1)), "u": rows(sip_record(2, msg="\udcff"))})
    assert not caught.value.transient
    assert contents(folder) == {}


def test_line_that_somebody_else_left_torn_is_completed_and_said(
    sink: NdjsonSink, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that is in a file is cut off that sipcap has not begun; its own lines stand alone."""
    (folder / "t.ndjson").write_bytes(b'{"micro_ts":1,"ms')
    sink.write("b", {"t": rows(sip_record(1))})
    assert contents(folder) == {"t.ndjson": b'{"micro_ts":1,"ms\n' + line_of(sip_record(1))}
    assert "t.ndjson ended in the middle of a line" in caplog.text


def test_store_without_create_refuses_tables_that_are_missing(sipcap: RunSipcap, folder: Path) -> None:
    """Records for a file that may not be made are refused one by one, and those for others stored."""
    folder.mkdir()
    (folder / "sip_capture.ndjson").touch()
    lines = sip_lines(2) + line_of(report_record())
    done = sipcap("store", "--db-url", f"ndjson://{folder}", "--no-create", stdin=lines)
    assert done.returncode == 5
    assert b"report_capture.ndjson does not exist, and --no-create is set" in done.stderr
    assert contents(folder) == {"sip_capture.ndjson": sip_lines(2)}


@pytest.mark.parametrize(
    "url", ["ndjson://", "ndjson:///", "ndjson://host/x", "ndjson:x", "ndjson:///x?y=1", "ndjson:///x#y"]
)
def test_url_that_names_no_folder_says_how_to_write_it(sipcap: RunSipcap, tmp_path: Path, url: str) -> None:
    """Nothing is guessed, and no option is silently without effect."""
    done = sipcap("store", "--db-url", url)
    assert done.returncode == 3
    assert b"--db-url: write ndjson:///FOLDER with an absolute path" in done.stderr
    assert list(tmp_path.iterdir()) == []
