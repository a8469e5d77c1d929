"""The text that MySQL reads, taken apart again by the rules of its manual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.sinks.driver import Refused
from sipcap.sinks.mysql_rows import RowText
from sipcap.sinks.shape import Column, Kind, Shape

WANTED = ("micro_ts", "callid", "msg", "msg_raw", "envelope")
COLUMNS = [
    Column("micro_ts"), Column("callid", Kind.TEXT), Column("msg", Kind.TEXT), Column("msg_raw", Kind.BYTES),
    Column("envelope", Kind.TEXT),
]  # fmt: skip
ESCAPE, ROW_END, FIELD_END = "\x1d", "\x1e", "\x1f"
texts = st.text(st.sampled_from(f"aN0n\\'\"`,()\0\n{ESCAPE}{ROW_END}{FIELD_END}ü😀"), max_size=8)
rows = st.tuples(st.integers(-9, 9), texts, texts, st.none() | st.binary(max_size=4), st.none() | texts)


def row_text(columns: list[Column] = COLUMNS) -> RowText:
    """The writer for a table of these columns."""
    return RowText(Shape(WANTED, columns, takes_nul=True))


def read_lines(data: str) -> Iterator[list[str | None]]:
    """Read lines as LOAD DATA does: an escape makes the next character itself; escape N alone is NULL."""
    fields: list[str | None] = []
    text, is_null, place = "", False, 0
    while place < len(data):
        character = data[place]
        place += 1
        if character == ESCAPE:
            following = data[place]
            place += 1
            is_null = following == "N" and not text and data[place] in (FIELD_END, ROW_END)
            text += "" if is_null else {"0": "\0", "n": "\n", "t": "\t", "Z": "\x1a"}.get(following, following)
        elif character in (FIELD_END, ROW_END):
            fields.append(None if is_null else text)
            text, is_null = "", False
            if character == ROW_END:
                yield fields
                fields = []
        else:
            text += character
    assert (text, fields) == ("", [])


@given(st.lists(rows, max_size=4))
def test_load_lines_of_any_values_are_read_as_they_were(values: list[tuple[Any, ...]]) -> None:
    """No text ends its field or row, is taken for NULL, or gains or loses a character."""
    data = b"".join(row_text().load_lines(values)).decode()
    expected = [
        [str(number), callid, msg, None if raw is None else raw.hex(), envelope]
        for number, callid, msg, raw, envelope in values
    ]
    assert list(read_lines(data)) == expected


def test_load_targets_turn_digits_into_bytes() -> None:
    """Bytes travel as hexadecimal digits, and come last."""
    assert row_text().load_targets() == (
        "(`micro_ts`, `callid`, `msg`, @`msg_raw`, `envelope`) SET `msg_raw` = UNHEX(@`msg_raw`)"
    )
    assert row_text(COLUMNS[:2]).load_targets() == "(`micro_ts`, `callid`)"


def test_rows_of_bytes_alone_are_written() -> None:
    """A table may have nothing but a blob for the message."""
    text = row_text([Column("msg", Kind.BYTES)])
    assert list(text.load_lines([(b"\xff",)])) == [b"ff\x1e"]
    assert list(text.insert_tuples([(b"\xff",)])) == [b"(X'ff')"]


@pytest.mark.parametrize(
    ("value", "literal"),
    [("a", "'a'"), ("'", r"'\''"), ("\\", r"'\\'"), ("\0", r"'\0'"), ("', '", r"'\', \''"), ("ü", "'ü'")],
)
def test_insert_tuples_quote_what_would_end_a_string(value: str, literal: str) -> None:
    """Quotes and backslashes in a value are part of it."""
    (found,) = row_text().insert_tuples([(1, value, "m", None, value)])
    assert found.decode() == f"('1',{literal},'m',NULL,{literal})"


def test_insert_statements_stay_below_the_packet() -> None:
    """Rows are spread over statements that the server takes; a row that none can hold is refused."""
    text = row_text()
    values = [(number, "c", "m" * 9_000, None, None) for number in range(10)]
    statements = list(text.insert_statements("a`b", values, 40_000))
    assert all(each.startswith(b"INSERT INTO `a``b` (`micro_ts`, ") for each in statements)
    assert max(map(len, statements)) < 40_000
    assert sum(each.count(b"mmm,") + each.count(b"m',NULL") for each in statements) == 10
    with pytest.raises(Refused, match="40000"):
        list(text.insert_statements("t", [(1, "c", "m" * 40_000, None, None)], 40_000))
