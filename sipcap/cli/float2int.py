"""``sipcap float2int``: the module's function of that name, for scripts that used it."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from sipcap.cli.common import common_options

_INT_MIN = -(2**31)
_FLOAT = re.compile(
    r"\s*([+-]?(?:0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?\d+)?"
    r"|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?|nan))",
    re.IGNORECASE,
)
_INT = re.compile(r"\s*([+-]?\d+)")


def float2int(fval: str, ival: str) -> int:
    """Multiply as the module does (spec 6.3).

    Args:
        fval: read like C's ``atof``: junk behind a number is ignored, no number is 0.
        ival: read like C's ``atoi``.

    Returns:
        The product truncated toward zero; -1 for 0; -2147483648 if it does not fit 32 bits.
    """
    product = _atof(fval) * _atoi(ival)
    if product != product or not _INT_MIN - 1 < product < 2**31:
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
    match = _INT.match(text)
    return max(_INT_MIN, min(2**31 - 1, int(match[1][:20]))) if match is not None else 0


class _NumbersCommand(click.Command):
    """Takes negative numbers without ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        operands = [index for index, arg in enumerate(args) if re.match(r"-[\d.iInN]", arg)]
        if operands and "--" not in args:
            args = [*args[: operands[0]], "--", *args[operands[0] :]]
        return super().parse_args(ctx, args)


@click.command(
    "float2int", cls=_NumbersCommand, short_help="the module's float2int(fval, ival)",
    epilog="\b\nEXAMPLE\n    $ sipcap float2int 4.35 100\n    434",
)  # fmt: skip
@click.argument("fval", help="A number with decimals.")
@click.argument("ival", help="A whole number.")
@common_options
def command(fval: str, ival: str, **_: Any) -> None:
    """Multiply FVAL by IVAL and print the product without its decimals.

    The arithmetic is that of the module's float2int(): 0 becomes -1, and what is not a number
    counts as 0.
    """
    sys.stdout.write(f"{float2int(fval, ival)}\n")
