"""Rows made to fit: widths, character sets, bytes; what was changed is counted, what was not is the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.record import SIP_COLUMNS
from sipcap.sinks.base import Row
from sipcap.sinks.rows import REPORT_ROW, SIP_ROW, RowMaker
from sipcap.sinks.shape import UNICODE, Charset, Column, Kind, Shape, Tally, charset_for
from tests.support.records import INTEGERS, sip_record, sip_records

CHARSETS = (UNICODE, Charset(bmp_only=True), charset_for("cp1252"), charset_for("ascii"), charset_for("euc_jp"))
TEXTS = [name for name in SIP_COLUMNS if name not in INTEGERS and name != "date"]
OURS = [Column("date"), *(Column(name) for name in sorted(INTEGERS)), Column("msg_raw", Kind.BYTES)]
ALL_TEXTS = [Column(name, Kind.TEXT) for name in (*TEXTS, "envelope")]

columns = st.builds(
    Column,
    st.sampled_from(TEXTS),
    st.sampled_from([Kind.TEXT, Kind.TEXT, Kind.BYTES]),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 20),
    st.sampled_from(CHARSETS),
)
make = RowMaker(SIP_COLUMNS).values


def fit_one(shape: Shape, record: Any) -> tuple[dict[str, Any], Tally]:
    """The values that a table gets of one record, by name."""
    tally = Tally()
    values = shape.fit(make(Row(record, {})), tally)
    return dict(zip((column.name for column in shape.columns), values, strict=True)), tally


@given(record=sip_records, odd=st.lists(columns, max_size=6, unique_by=lambda column: column.name), nul=st.booleans())
def test_fit_any_record_into_any_columns_fits_and_is_counted(record: Any, odd: list[Column], nul: bool) -> None:
    """Every value is one that its column takes, and rows are counted exactly if something of them was changed."""
    names = {column.name for column in odd}
    table = [*OURS, *(column for column in ALL_TEXTS if column.name not in names), *odd]
    shape = Shape(SIP_ROW, table, takes_nul=nul)
    found, tally = fit_one(shape, record)
    original = dict(zip(SIP_ROW, make(Row(record, {})), strict=True))
    changed = False
    for column in shape.columns:
        value, before = found[column.name], original[column.name]
        if column.kind is Kind.BYTES and column.name != "msg_raw":
            assert column.octets is None or len(value) <= column.octets
            exact = original["msg_raw"] if column.name == "msg" and original["msg_raw"] is not None else before.encode()
            assert exact.startswith(value)
            changed |= value != exact
        elif column.kind is Kind.TEXT and value is not None:
            assert column.chars is None or len(value) <= column.chars
            assert column.octets is None or len(value.encode(column.charset.codec)) <= column.octets
            assert nul or "\0" not in value
            assert column.charset.clean(value) == value
            # A message that is cut is counted; what its characters lose is in msg_raw.
            changed |= len(value) < len(before) if column.name == "msg" else value != before
    assert bool(tally.truncated or tally.sanitised) == changed


def test_fit_row_that_fits_is_not_touched() -> None:
    """Our own tables take every row as it is."""
    shape = Shape(SIP_ROW, [*OURS, *ALL_TEXTS], takes_nul=True)
    values = make(Row(sip_record(1), {}))
    assert shape.fit(values, Tally()) is values


def test_fit_message_that_cannot_be_text_is_kept_as_bytes() -> None:
    """Where the table has msg_raw, a message is never lost to its character set, and nothing is counted."""
    narrow = [column for column in ALL_TEXTS if column.name != "msg"] + [
        Column("msg", Kind.TEXT, charset=charset_for("ascii"))
    ]
    found, tally = fit_one(Shape(SIP_ROW, [*OURS, *narrow], takes_nul=True), sip_record(1, msg="é"))
    assert (found["msg"], found["msg_raw"]) == ("?", "é".encode())
    assert tally.adjusted() == (0, 0)


def test_fit_table_without_msg_raw_counts_inexact_messages() -> None:
    """A foreign table cannot tell which bytes a message had."""
    shape = Shape(SIP_ROW, [Column("msg", Kind.TEXT)], takes_nul=True)
    assert fit_one(shape, sip_record(1, msg="a"))[1].adjusted() == (0, 0)
    assert fit_one(shape, sip_record(1, msg="\ufffd", msg_b64=b"\xff"))[1].adjusted() == (0, 1)


def test_fit_row_changed_in_many_ways_counts_once() -> None:
    """The unit of counting is the row."""
    table = [Column("msg", Kind.TEXT, 1), Column("callid", Kind.TEXT, 1, charset=charset_for("ascii"))]
    tally = fit_one(Shape(SIP_ROW, table, takes_nul=False), sip_record(1, msg="ab\0", callid="éé"))[1]
    assert tally.adjusted() == (1, 1)


def test_shape_column_of_a_strange_kind_is_given_as_it_is() -> None:
    """A number, a time or something else is the server's to judge; msg_raw that holds text is none of ours."""
    shape = Shape(REPORT_ROW, [Column("msg"), Column("msg_raw", Kind.TEXT), Column("other")], takes_nul=True)
    assert [column.name for column in shape.columns] == ["msg"]
    assert "msg_raw" in shape.missing


@pytest.mark.parametrize(("name", "expected"), [("LATIN1", "iso8859-1"), ("x-unknown", "ascii"), ("EUC_JP", "euc_jp")])
def test_charset_for_unknown_name_holds_ascii(name: str, expected: str) -> None:
    """A character set that Python does not know holds ASCII, at least."""
    assert charset_for(name).codec == expected


def test_shape_is_equal_only_to_its_like() -> None:
    """A table that changed is told from what was known of it."""
    same = [Shape(SIP_ROW, [Column("msg", Kind.TEXT, 5)], takes_nul=True) for _ in range(2)]
    assert same[0] == same[1]
    assert hash(same[0]) == hash(same[1])
    assert same[0] != Shape(SIP_ROW, [Column("msg", Kind.TEXT, 6)], takes_nul=True)
    assert same[0] != Shape(SIP_ROW, [Column("msg", Kind.TEXT, 5, charset=charset_for("ascii"))], takes_nul=True)
