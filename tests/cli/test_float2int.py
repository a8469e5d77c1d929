"""The module's arithmetic (spec 6.3), and C's way of reading numbers."""

from __future__ import annotations

import ctypes
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.cli.float2int import _atof, _atoi, float2int
from tests.conftest import RunSipcap

_LIBC = ctypes.CDLL(None)
_LIBC.atof.restype = ctypes.c_double

# Parts of numbers, and what only looks like them: digits and blanks of Unicode, a letter that folds to i.
_PARTS = st.sampled_from([
    "", " ", "\t\n\v\f\r", "\x1c", "\xa0", "+", "-", "0x", "0X", "0", "00", "7", "12", "4294967296", "9" * 30, ".", ",",
    "e", "E5", "e-5", "e+", "p3", "p-1", "inf", "INFINITY", "infinit", "nan", "NaN(1)", "_", "f", "a", "\u0661",
    "\u0131nf",
])  # fmt: skip
_TEXTS = st.lists(_PARTS, max_size=6).map("".join)


@pytest.mark.parametrize(
    ("fval", "ival", "expected"),
    [
        ("10.5", "1", 10),
        ("0.4", "1", -1),
        ("-3.9", "10", -39),
        ("abc", "10", -1),
        ("4.35", "100", 434),
        ("1e10", "10", -2147483648),
    ],
)
def test_float2int_vectors_of_the_specification_hold(fval: str, ival: str, expected: int) -> None:
    """What the real module answered is what we answer."""
    assert float2int(fval, ival) == expected


@pytest.mark.parametrize(
    ("fval", "ival", "expected"),
    [
        ("2147483647", "1", 2147483647),
        ("2147483648", "1", -2147483648),
        ("-2147483648.9", "1", -2147483648),
        ("-2147483649", "1", -2147483648),
        ("inf", "1", -2147483648),
        ("inf", "0", -2147483648),
        ("nan", "1", -2147483648),
        ("1e999999999999", "1", -2147483648),
        ("1e-999999999999", "1", -1),
        ("0x10", "2", 32),
        ("0x", "2", -1),
        ("-e5", "3", -1),
        ("  5.5", " 2", 11),
        ("", "", -1),
    ],
)
def test_float2int_corners_are_those_of_c_on_x86(fval: str, ival: str, expected: int) -> None:
    """Overflow, no number, hexadecimal and blanks do what C does with them."""
    assert float2int(fval, ival) == expected


@given(_TEXTS)
def test_atof_any_text_reads_what_libc_reads(text: str) -> None:
    """Our atof agrees with the one of the C library."""
    expected, read = _LIBC.atof(text.encode()), _atof(text)
    assert read == expected or (math.isnan(read) and math.isnan(expected))


@given(_TEXTS)
def test_atoi_any_text_reads_what_libc_reads(text: str) -> None:
    """Our atoi agrees with the one of the C library, also beyond 32 and 64 bits."""
    assert _atoi(text) == _LIBC.atoi(text.encode())


@pytest.mark.parametrize("digits", ["0" * 5000 + "7", "9" * 5000, "-" + "9" * 5000])
def test_atoi_thousands_of_digits_read_what_libc_reads(digits: str) -> None:
    """A text longer than Python's own limit for integers is read, too."""
    assert _atoi(digits) == _LIBC.atoi(digits.encode())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-3.9 10", "-39"),
        ("3 -2", "-6"),
        ("-1 -2", "2"),
        ("-- -1 -2", "2"),
        ("-1 -- -2", "2"),
        ("-e5 3", "-1"),
        ("-.5 -4 -q", "2"),
        ("-1 --color never 2", "-2"),
        ("-1h -inf", "-1"),
        ("-v -INF 1", "-2147483648"),
    ],
)
def test_float2int_negative_operands_need_no_dashes(sipcap: RunSipcap, line: str, expected: str) -> None:
    """Operands that begin with a minus are operands wherever they stand, and options stay options."""
    done = sipcap("float2int", *line.split())
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{expected}\n", b"")


@pytest.mark.parametrize("line", ["", "1", "1 2 3", "--nothing 1 2"])
def test_float2int_wrong_number_of_operands_is_a_usage_error(sipcap: RunSipcap, line: str) -> None:
    """Two operands are needed, no more."""
    done = sipcap("float2int", *line.split())
    assert (done.returncode, done.stdout) == (2, b"")


def test_float2int_help_behind_an_operand_shows_help(sipcap: RunSipcap) -> None:
    """-h is help and not a number."""
    done = sipcap("float2int", "1", "-h")
    assert done.returncode == 0
    assert re.match(rb"Usage: sipcap float2int", done.stdout)
