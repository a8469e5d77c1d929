"""``sipcap float2int``: the module's function of that name, for scripts that used it."""

from __future__ import annotations

import math
import re
import sys
from typing import Any

import click

from sipcap.cli.common import common_options

_INT_MIN = -(2**31)
_LONG_MAX = 2**63 - 1
# ASCII: C knows no other blanks and digits, and only i to fold with I.
_FLOAT = re.compile(
    r"\s*([+-]?(?:0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?\d+)?"
    r"|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan))",
    re.IGNORECASE | re.ASCII,
)
_INT = re.compile(r"\s*([+-]?)0*(\d*)", re.ASCII)
# No argument of a process can hold one, so it can mark what is not an option.
_OPERAND = "\0"


def float2int(fval: str, ival: str) -> int:
    """Multiply as the module does (spec 6.3).

    Args:
        fval: read like C's ``atof``: junk behind a number is ignored, no number is 0.
        ival: read like C's ``atoi``, with what glibc makes of more than 32 bits.

    Returns:
        The product truncated toward zero; -1 for 0; -2147483648 if it does not fit 32 bits.
    """
    product = _atof(fval) * _atoi(ival)
    if math.isnan(product) or not _INT_MIN - 1 < product < 2**31:
        return _INT_MIN
    return int(product) or -1


def _atof(text: str) -> float:
    match = _FLOAT.match(text)
    if match is None:
        return 0.0
    number = match[1]
    try:
        return float.fromhex(number) if "x" in number.lower() else float(number)
    except OverflowError:
        return float("-inf") if number.startswith("-") else float("inf")


def _atoi(text: str) -> int:
    """Read an int as glibc does: strtol, which saturates at 64 bits, of which the lower 32 remain."""
    match = _INT.match(text)
    assert match is not None
    digits = match[2][:20] or "0"  # 20 digits are more than a long holds, and int() takes 4300 at most
    value = min(int(digits), _LONG_MAX) if match[1] != "-" else max(-int(digits), -_LONG_MAX - 1)
    return (value - _INT_MIN) % 2**32 + _INT_MIN


class _NumbersCommand(click.Command):
    """Takes negative numbers without ``--``: what begins with no known option is an operand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        letters = {name[1] for param in self.get_params(ctx) for name in param.opts}  # "-" too, for long ones
        end = args.index("--") if "--" in args else len(args)
        marked = [_OPERAND + arg if arg[:1] == "-" and arg[1:2] not in {*letters, ""} else arg for arg in args[:end]]
        return super().parse_args(ctx, marked + args[end:])


def _unmark(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    return value.removeprefix(_OPERAND)


@click.command(
    "float2int", cls=_NumbersCommand, short_help="the module's float2int(fval, ival)",
    epilog="\b\nEXAMPLE\n    $ sipcap float2int 4.35 100\n    434",
)  # fmt: skip
@click.argument("fval", callback=_unmark, help="A number with decimals.")
@click.argument("ival", callback=_unmark, help="A whole number.")
@common_options
def command(fval: str, ival: str, **_: Any) -> None:
    """Multiply FVAL by IVAL and print the product without its decimals.

    The arithmetic is that of the module's float2int(): 0 becomes -1, and what is not a number
    counts as 0.
    """
    sys.stdout.write(f"{float2int(fval, ival)}\n")
