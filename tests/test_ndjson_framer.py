"""Bytes of a pipe cut into JSON texts: lines, jq's spread-over objects, and input without end."""

from __future__ import annotations

import shutil
import subprocess
import time
import tracemalloc
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.limits import MAX_LINE_BYTES
from sipcap.ndjson import BadLine, LineFramer, decode_record, encode_records
from sipcap.record import Record
from tests.support.records import records, sip_lines, sip_record

Texts = list[tuple[int, bytes]]
LONG = b"x" * (MAX_LINE_BYTES + 1)
PIECE_BYTES = 1 << 16


def frame(pieces: Iterable[bytes]) -> Texts:
    """The texts of an input in these pieces."""
    framer = LineFramer()
    texts: Texts = []
    for piece in pieces:
        texts += framer.receive_data(piece)
    return texts + framer.finish()


def cut(data: bytes, size: int) -> Iterable[bytes]:
    """The data in pieces of a size."""
    return (data[at : at + size] for at in range(0, len(data), size))


SPREAD = b'{\n  "a": {\n    "b": 1\n  },\n  "c": [\n    {\n      "d": 2\n    }\n  ]\n}'
CASES: dict[str, tuple[bytes, Texts]] = {
    "nothing": (b"", []),
    "one line": (b'{"a":1}\n', [(1, b'{"a":1}')]),
    "no line feed at the end": (b'{"a":1}\n{"a":2}', [(1, b'{"a":1}'), (2, b'{"a":2}')]),
    "blank lines": (b'\n \n{"a":1}\n\r\n\t\n', [(3, b'{"a":1}')]),
    "Windows line ends": (b'{"a":1}\r\n{"a":2}\r\n', [(1, b'{"a":1}\r'), (2, b'{"a":2}\r')]),
    "byte order mark": (b'\xef\xbb\xbf{"a":1}\n', [(1, b'{"a":1}')]),
    "byte order mark alone": (b"\xef\xbb\xbf", []),
    "byte order mark before an object": (b"\xef\xbb\xbf{\n}\n", [(1, b"{\n}")]),
    "byte order mark in the middle": (b"1\n\xef\xbb\xbf2\n", [(1, b"1"), (2, b"\xef\xbb\xbf2")]),
    "spread object": (SPREAD + b"\n", [(1, SPREAD)]),
    "spread objects": (SPREAD + b"\n" + SPREAD, [(1, SPREAD), (11, SPREAD)]),
    "spread object with Windows line ends": (b'{\r\n"a":1\r\n}\r\n1\n', [(1, b'{\r\n"a":1\r\n}\r'), (4, b"1")]),
    "spread object among lines": (b'1\n{\n"a":1\n}\n2\n', [(1, b"1"), (2, b'{\n"a":1\n}'), (5, b"2")]),
    "spread object with blank lines": (b"{\n\n}\n1\n", [(1, b"{\n\n}"), (4, b"1")]),
    "object cut by the end": (b'1\n{\n  "a": 1,\n', [(1, b"1"), (2, b'{\n  "a": 1,')]),
    "object cut in a line": (b'{\n  "a"', [(1, b'{\n  "a"')]),
    "object cut by another": (b'{\n  "a": 1,\n{\n  "b": 1\n}\n', [(1, b'{\n  "a": 1,'), (3, b'{\n  "b": 1\n}')]),
    "object cut by a line": (b'{\n  "a": 1,\n{"b":1}\n3\n', [(1, b'{\n  "a": 1,'), (3, b'{"b":1}'), (4, b"3")]),
    "brace behind an object": (b"{\n}\n}\n", [(1, b"{\n}"), (3, b"}")]),
    "garbage": (b"\0\0\n\xff\n", [(1, b"\0\0"), (2, b"\xff")]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_framer_fed_whole_bytewise_or_split_once_gives_the_same(name: str) -> None:
    """Texts and their line numbers do not depend on how the input was cut."""
    data, texts = CASES[name]
    assert frame([data]) == texts
    assert frame(cut(data, 1)) == texts
    for at in range(len(data)):
        assert frame([data[:at], data[at:]]) == texts


noise = st.lists(st.sampled_from([b"{", b"}", b"\n", b"{\n", b"}\n", b"\r", b" ", b'"a":1', b"\xef\xbb\xbf", b"\xff"]))


@given(pieces=noise)
def test_framer_any_bytes_in_any_pieces_gives_the_same_as_whole(pieces: list[bytes]) -> None:
    """Splits change nothing, whatever is split."""
    assert frame(pieces) == frame([b"".join(pieces)])


@given(written=st.lists(records, max_size=4), edges=st.lists(st.integers(0, 4_000), max_size=5))
def test_framer_lines_come_out_as_they_went_in(written: list[Record], edges: Sequence[int]) -> None:
    """Records survive any pipe."""
    data = encode_records(written)
    ends = [0, *sorted(min(edge, len(data)) for edge in edges), len(data)]
    texts = frame(data[begin:end] for begin, end in pairwise(ends))
    assert [decode_record(text, lambda _: {})[0] for _, text in texts] == written


JQ = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


@JQ
@pytest.mark.parametrize("options", ["", "--tab", "-S", "--indent 7", "-c", "-a"])
def test_framer_reads_what_jq_writes(options: str) -> None:
    """Each of jq's layouts is read back as the records that went into it."""
    chunks = [{"vendor": 1, "id": 2, "data": b"\0\xff"}]
    written = [sip_record(1, vendor_chunks=chunks), sip_record(2, msg="}\n{\n\u00e4\U0001f600"), sip_record(3)]
    done = subprocess.run(
        ["jq", *options.split(), "."], input=encode_records(written), capture_output=True, timeout=30, check=True
    )
    texts = frame(cut(done.stdout, 100))
    assert [decode_record(text, lambda _: {}) for _, text in texts] == [(record, {}) for record in written]


@JQ
def test_framer_jq_objects_cut_in_the_middle_cost_one_text_each() -> None:
    """An object that jq did not finish is one bad text, and those behind it are whole."""
    done = subprocess.run(["jq", "."], input=sip_lines(3), capture_output=True, timeout=30, check=True)
    lines = done.stdout.splitlines(keepends=True)
    size = len(lines) // 3
    broken = b"".join([*lines[: size + 9], *lines[2 * size :], *lines[:5]])
    outcome: list[Record | int] = []
    for number, text in frame([broken]):
        try:
            outcome.append(decode_record(text, lambda _: {})[0])
        except BadLine:
            outcome.append(number)
    assert outcome == [sip_record(0), size + 1, sip_record(2), 2 * size + 10]


# What is too long


@pytest.mark.parametrize("piece_bytes", [1_000, PIECE_BYTES, len(LONG) + 99])
def test_framer_line_too_long_is_one_empty_text(piece_bytes: int) -> None:
    """A line beyond the bound is named by its number, and its neighbours are whole."""
    assert frame(cut(b"1\n" + LONG + b"\n2\n" + LONG, piece_bytes)) == [(1, b"1"), (2, b""), (3, b"2"), (4, b"")]


def test_framer_longest_line_is_whole() -> None:
    """The bound itself is allowed."""
    for pieces in ([LONG[1:], b"\n"], [LONG[1:] + b"\n"], [LONG[1:]]):
        assert frame(pieces) == [(1, LONG[1:])]


@pytest.mark.parametrize("middle", [LONG, b"\n".join([b'  "k": "' + b"x" * 1_000 + b'",'] * 9_000)])
def test_framer_object_too_long_is_one_empty_text(middle: bytes) -> None:
    """A spread object beyond the bound is skipped to its end, not taken apart into thousands of bad lines."""
    data = b"1\n{\n" + middle + b"\n}\n2\n"
    lines = data.count(b"\n")
    assert frame(cut(data, PIECE_BYTES)) == [(1, b"1"), (2, b""), (lines, b"2")]
    assert frame([b"{\n" + middle]) == [(1, b"")]
    assert frame([b"{\n" + middle + b"\n{}\n"])[0::2] == [(1, b"")]


def test_framer_line_too_long_behind_a_cut_object_is_a_text_of_its_own() -> None:
    """A long line that begins a new object does not disappear in a cut one before it."""
    assert frame([b'{\n  "a": 1\n{' + LONG + b"\n}\n"]) == [(1, b'{\n  "a": 1'), (3, b""), (4, b"}")]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_framer_endless_input_stays_within_its_memory(end: bytes) -> None:
    """100 MB without the line feed that matters are held within a few times the bound."""
    framer = LineFramer()
    piece = b" " * (PIECE_BYTES - 1) + (end or b" ")
    framer.receive_data(b"{\n" if end else b"")
    tracemalloc.start()
    for _ in range(100 << 20 >> 16):
        assert framer.receive_data(piece) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_LINE_BYTES
    assert framer.finish() == [(1, b"")]


def test_framer_long_line_in_drips_takes_linear_time() -> None:
    """A line of megabytes in pieces of a few bytes costs no more than its bytes do."""
    began = time.perf_counter()
    assert frame([b"1234"] * 2_000_000 + [b"\n"]) == [(1, b"1234" * 2_000_000)]
    assert time.perf_counter() - began < 10


def test_framer_100_mb_without_line_feed_takes_linear_time() -> None:
    """100 MB in pieces of 64 KB are skipped in the time that reading them takes."""
    piece = b"x" * PIECE_BYTES
    began = time.perf_counter()
    assert frame([piece] * 1_600) == [(1, b"")]
    assert time.perf_counter() - began < 5
