"""Records in a folder with one table of Kamailio's db_text a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipcap.errors import SinkError
from sipcap.ndjson import decode_record
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, Record, SipRecord, message_bytes
from sipcap.sinks import text as text_module
from sipcap.sinks.base import Adjusted, Row
from sipcap.sinks.dbtext import parse_header
from sipcap.sinks.text import TextSink
from tests.conftest import RunSipcap
from tests.support.dbtext import Cell, read_table
from tests.support.folders import contents, rows
from tests.support.records import INTEGERS, line_of, records, report_record, sip_lines, sip_record

UTC = "2023-11-14 22:13:20"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the tables are."""
    return tmp_path / "db"


def sink_at(folder: Path, **options: Any) -> TextSink:
    """An open sink."""
    sink = TextSink(folder, **options)
    sink.open()
    return sink


@pytest.fixture
def sink(folder: Path) -> TextSink:
    """A sink over a new folder."""
    return sink_at(folder)


def made_again(row: dict[str, Cell], columns: tuple[str, ...], kind: str) -> tuple[Record, dict[str, Any]]:
    """The record of a row."""
    keys: dict[str, Any] = {"v": 1, "kind": kind}
    for name in columns:
        cell = row[name]
        if name in INTEGERS:
            keys[name] = int(cell or 0)
        else:
            keys[name] = cell.decode() if isinstance(cell, bytes) else ""
    keys["date"] = UTC if row["date"] == 1_700_000_000 else None
    assert isinstance(row["envelope"], bytes | None)
    keys |= json.loads(row["envelope"] or b"{}")
    record, unknown = decode_record(json.dumps(keys).encode(), lambda _: {})
    if row["msg_raw"] is not None:
        assert isinstance(row["msg_raw"], bytes)
        record.msg_b64 = row["msg_raw"]
    return record, unknown


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(record=records, raw=st.none() | st.binary(max_size=40))
def test_row_of_any_record_is_that_record(sink: TextSink, folder: Path, record: Record, raw: bytes | None) -> None:
    """Whatever a record holds is read again from its row, its message byte by byte."""
    record.date = UTC  # in seconds, so that it has a form to keep
    if raw is not None:
        record.msg_b64 = raw
    assert sink.write(os.urandom(8).hex(), {"t": [Row(record, {"x": [1]})]}) == Adjusted()
    columns = SIP_COLUMNS if isinstance(record, SipRecord) else REPORT_COLUMNS
    (row,) = read_table(folder / "t")
    found, unknown = made_again(row, columns, record.kind)
    assert message_bytes(found) == message_bytes(record)
    found.msg, found.msg_b64 = record.msg, record.msg_b64
    assert (found, unknown) == (record, {"x": [1]})
    (folder / "t").unlink()


def test_tables_created_are_kamailios(sink: TextSink, folder: Path) -> None:
    """A new table numbers its rows, has all columns in types that Kamailio knows, and is listed with its version."""
    sink.write("a", {"sip_capture": rows(sip_record()), "report_capture": rows(report_record())})
    sink.write("b", {"a:b": rows(sip_record())})
    heads = {name: data.partition(b"\n")[0].decode() for name, data in contents(folder).items()}
    assert heads["report_capture"] == (
        "id(int,auto) date(int,null) micro_ts(str,null) correlation_id(str,null) source_ip(str,null)"
        " source_port(int,null) destination_ip(str,null) destination_port(int,null) proto(int,null) family(int,null)"
        " type(int,null) node(str,null) msg(str,null) msg_raw(blob,null) envelope(str,null)"
    )
    assert [column.name for column in parse_header(heads["sip_capture"].encode())][1:45] == list(SIP_COLUMNS)
    assert read_table(folder / "version") == [
        {"table_name": name, "table_version": 1} for name in (b"sip_capture", b"report_capture", b"a:b")
    ]


def test_version_that_is_there_already_is_gone_on_with(sink: TextSink, folder: Path) -> None:
    """Kamailio's own list keeps its lines and its columns; a table that is begun again is not listed again."""
    (folder / "version").write_text("table_version(int) x(str,null) table_name(string)\n4::sip_trace\n1::t\n1::u")
    sink.write("a", {"t": rows(sip_record()), "s": rows(sip_record())})
    (folder / "s").unlink()
    sink.write("b", {"s": rows(sip_record())})
    names = [row["table_name"] for row in read_table(folder / "version")]
    assert names == [b"sip_trace", b"t", b"u", b"s"]


def numbers(folder: Path, table: str = "t") -> list[Cell]:
    """The numbers of the rows."""
    return [row["id"] for row in read_table(folder / table)]


def test_rows_are_numbered_on_whoever_writes(sink: TextSink, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are unique in a table: over batches, processes, and what others have added or taken away."""
    monkeypatch.setattr(text_module, "_PIECE_BYTES", 700)
    other = sink_at(folder)
    sink.write("a", {"t": rows(sip_record(), report_record()), "u": rows(sip_record())})
    other.write("b", {"t": rows(sip_record(), sip_record())})
    sink.write("c", {"t": rows(sip_record())})
    assert (numbers(folder), numbers(folder, "u")) == ([1, 2, 3, 4, 5], [1])
    head, *lines = (folder / "t").read_bytes().splitlines(keepends=True)
    (folder / "t").write_bytes(head + lines[3].replace(b"4", b"77", 1) + b"".join(lines))
    sink.write("d", {"t": rows(sip_record())})
    assert numbers(folder) == [77, 1, 2, 3, 4, 5, 78]
    (folder / "t").rename(folder / "old")
    sink.write("e", {"t": rows(sip_record())})
    assert numbers(folder) == [1]


def test_table_with_other_columns_is_used_as_it_is(
    sink: TextSink, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Columns are found by their names in any order, others get no value, and what has no column is said once."""
    definition = (
        " method(string)  theirs( str , null ) n(int) d(double,null) msg(blob) micro_ts(int,null) serial(INT,AUTO)"
    )
    (folder / "t").write_text(definition + "\nX::7:1.50::5:9\n")
    record = sip_record(1, msg="\ufffd", msg_b64=b"\xff:\n")
    for batch in "ab":
        assert sink.write(batch, {"t": rows(record, report_record(2))}) == Adjusted()
    _, sip, report, *_ = read_table(folder / "t")
    assert sip == {
        "method": b"method 1", "theirs": None, "n": 0, "d": None, "msg": b"\xff:\n",
        "micro_ts": record.micro_ts, "serial": 10,
    }  # fmt: skip
    assert (report["method"], report["serial"], report["msg"]) == (None, 11, b"msg 2")
    assert [row["serial"] for row in read_table(folder / "t")] == [9, 10, 11, 12, 13]
    assert caplog.text.count("has no column date, reply_reason, ruri,") == 1
    assert caplog.text.count("does not declare method, msg as null") == 1


def test_text_in_a_column_of_numbers_is_counted(sink: TextSink, folder: Path) -> None:
    """What is no number does not get into a column of numbers, where it would keep Kamailio from reading the table."""
    (folder / "t").write_text("method(int) ruri_user(int,null) date(time,null) to_user(double)\n")
    good = sip_record(method="200", ruri_user="0049123", to_user="7")
    bad = sip_record(method="INVITE", ruri_user="-", date="soon", to_user="1:2")
    assert sink.write("a", {"t": rows(good, bad, good)}) == Adjusted(sanitised=1)
    lines = (folder / "t").read_bytes().splitlines()[1:]
    assert lines == [b"200:49123:1700000000:7", b"0:::0", b"200:49123:1700000000:7"]


@pytest.mark.parametrize(
    "head",
    [
        "x",
        "x()",
        "x(str) y",
        "x(number)",
        "x(str,auto)",
        "x(str",
        "(str)",
        "x(str,zero)",
        "a(int,auto) b(int,auto)",
        "\n",
        "x(str)y",
    ],
)
def test_table_that_is_none_is_refused_for_good(sink: TextSink, folder: Path, head: str) -> None:
    """A file whose first line defines no columns is not written to."""
    (folder / "t").write_text(f"{head}\n")
    with pytest.raises(SinkError, match="is no table of db_text") as caught:
        sink.write("a", {"u": rows(sip_record()), "t": rows(sip_record())})
    assert not caught.value.transient
    assert contents(folder) == {"t": f"{head}\n".encode()}


def test_table_without_a_column_of_ours_is_refused_for_good(sink: TextSink, folder: Path) -> None:
    """A table of something else is not filled with empty rows."""
    (folder / "t").write_text("username(str) domain(str)\n")
    with pytest.raises(SinkError, match="has none of the columns of a message") as caught:
        sink.write("a", {"t": rows(sip_record())})
    assert not caught.value.transient


@pytest.mark.parametrize(
    ("torn", "completed"),
    [
        (b"", b"\n"),
        (b"\n5:6:x", b"\n5:6:x\n"),
        (b"\n5", b"\n5:0:\n"),
        (b"\n1:2:3\n5\\:\\\\\\", b"\n1:2:3\n5\\:\\\\\\\\:0:\n"),
    ],
)
def test_row_that_somebody_else_left_torn_is_completed_and_said(
    sink: TextSink, folder: Path, caplog: pytest.LogCaptureFixture, torn: bytes, completed: bytes
) -> None:
    """Kamailio reads a table only if all rows have all columns: a torn one gets those that are missing."""
    head = b"micro_ts(str,null) n(int) method(str,null)"
    (folder / "t").write_bytes(head + torn)
    sink.write("a", {"t": rows(sip_record(1))})
    assert contents(folder)["t"] == head + completed + b"1700000000123457:0:method 1\n"
    assert "t ended in the middle of a line" in caplog.text


def test_row_that_is_torn_and_huge_is_completed(sink: TextSink, folder: Path) -> None:
    """The beginning of the last row is found, however long it is."""
    (folder / "t").write_bytes(b"msg(str,null) method(str,null)\n" + b"x" * 1_000_000)
    sink.write("a", {"t": rows(sip_record(1))})
    assert [row["method"] for row in read_table(folder / "t")] == [None, b"method 1"]


def test_batch_written_twice_is_stored_once_and_counted_alike(sink: TextSink, folder: Path) -> None:
    """A batch whose fate was in doubt can be written again, also by a sink that was opened anew."""
    (folder / "t").write_text("micro_ts(int) date(int)\n")
    tables = {"t": rows(sip_record(1, date="soon"))}
    assert sink.write("a", tables) == sink.write("a", tables) == Adjusted(sanitised=1)
    sink_at(folder).write("a", tables)
    assert len(read_table(folder / "t")) == 1


@pytest.mark.parametrize("name", ["version", "", "a/b", ".x", "a\0b", "x" * 256])
def test_name_that_no_table_can_have_is_refused_for_good(sink: TextSink, folder: Path, name: str) -> None:
    """Kamailio's own table is not written to, nor anything outside of the folder."""
    with pytest.raises(SinkError) as caught:
        sink.write("b", {"x": rows(sip_record()), name: rows(sip_record())})
    assert not caught.value.transient
    assert contents(folder) == {}


@pytest.mark.parametrize("scheme", ["text", "dbtext"])
def test_store_makes_tables_of_everything_it_reads(sipcap: RunSipcap, folder: Path, scheme: str) -> None:
    """From its command line, sipcap fills a new folder and goes on with it."""
    lines = sip_lines(30) + line_of(report_record(1))
    for _ in range(2):
        done = sipcap("store", "--db-url", f"{scheme}://{folder}", "--batch-size", "7", stdin=lines)
        assert (done.returncode, done.stderr) == (0, b"sipcap: received 31, stored 30, reported 1\n")
    assert numbers(folder, "sip_capture") == list(range(1, 61))
    assert [row["callid"] for row in read_table(folder / "sip_capture")][29] == b"call-29@host"
    assert numbers(folder, "report_capture") == [1, 2]


def test_homer7_has_tables_of_its_own(folder: Path) -> None:
    """Every schema has its columns."""
    sink_at(folder, schema="homer7").write("a", {"hep_proto_1_call": rows(sip_record(1, msg="a\0\r\n"))})
    (row,) = read_table(folder / "hep_proto_1_call")
    assert (row["sid"], row["raw"]) == (b"call-1@host", "a\ufffd\r\n".encode())
    assert isinstance(row["data_header"], bytes)
    assert json.loads(row["data_header"])["callid"] == "call-1@host"


def test_record_that_cannot_be_written_is_refused_for_good(sink: TextSink, folder: Path) -> None:
    """Text that is no Unicode has no row, beside exact bytes or without."""
    for raw in ({}, {"msg_b64": b"\xff"}):
        with pytest.raises(SinkError, match="surrogates") as caught:
            sink.write("b", {"t": rows(sip_record(1), sip_record(2, callid="\udcff", **raw))})
        assert not caught.value.transient
    assert contents(folder) == {}
