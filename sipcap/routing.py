"""Which table a record goes to: table patterns, several tables, tables of reports (design 1.6, spec 4)."""

from __future__ import annotations

import random
import re
import time
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from sipcap.errors import CannotStart
from sipcap.record import Record, SipRecord
from sipcap.schemas import HOMER7, REPORT_PATTERN, SIP_PATTERN, SIPCAPTURE

MT_MODES: Final = ("rand", "round_robin", "hash")
HASH_SOURCES: Final = ("call_id", "from_user", "to_user")

_CONVERSION: Final = re.compile(r"%[-_0^#]*[0-9]*[EO]?.", re.DOTALL)  # with the flags of glibc; a % at the end is one


def split_patterns(texts: Sequence[str]) -> tuple[str, ...]:
    """Split ``a|b|c``, given once or several times, into patterns; empty pieces do not count (spec 1.4).

    Raises:
        CannotStart: no pattern is left, or one cannot be a table's name.
    """
    patterns = tuple(piece.strip() for text in texts for piece in text.split("|") if piece.strip())
    if not patterns:
        raise CannotStart("no table: --table is empty")
    for pattern in patterns:
        if not _is_name(pattern):
            raise CannotStart(f"no table can be called {pattern!r}")
        if unknown := _unknown_conversion(pattern):
            raise CannotStart(f"{pattern!r}: strftime has no {unknown}; write %% for a percent sign")
    return patterns


def _is_name(pattern: str) -> bool:
    try:
        pattern.encode()  # an argument that is not UTF-8 arrives with lone surrogates
    except UnicodeEncodeError:
        return False
    return "\0" not in pattern and "\ufffd" not in pattern and bool(time.strftime(pattern, time.gmtime(0)).strip())


def _unknown_conversion(pattern: str) -> str:
    """The first conversion that the system's strftime leaves as it is; "" if there is none."""
    epoch = time.gmtime(0)
    found = (match[0] for match in _CONVERSION.finditer(pattern) if match[0] != "%%")
    return next((each for each in found if time.strftime(each, epoch) == each), "")


@lru_cache(maxsize=4_096)
def expand(pattern: str, seconds: int) -> str:
    """Expand a strftime pattern with a time in UTC (spec 4.4)."""
    return time.strftime(pattern, time.gmtime(seconds))


class Router:
    """Chooses tables.

    Args:
        patterns: one or several table patterns for SIP; none = by method, as the schema has it.
        report_pattern: one pattern for all reports; None = by HEP type, as the schema has it.
        mt_mode: how one of several patterns is chosen.
        hash_source: what is hashed in mode ``hash``; the hash of an empty one is that of the empty text, where the
            module refuses the message.
        schema: one of ``schemas.SCHEMAS``; ``homer7`` has fixed tables.
    """

    def __init__(
        self,
        patterns: Sequence[str] = (),
        report_pattern: str | None = None,
        mt_mode: str = "rand",
        hash_source: str = "call_id",
        schema: str = SIPCAPTURE,
    ) -> None:
        self.is_fixed = schema == HOMER7
        """Whether no record can go to another table than that of its kind."""
        assert not self.is_fixed or not (patterns or report_pattern), "its readers know its tables by name"
        self._pattern_of_sip = _chooser(patterns, mt_mode, hash_source) if patterns else SIP_PATTERN[schema]
        self._report_pattern = report_pattern
        self._pattern_of_report = REPORT_PATTERN[schema]

    def table_of(self, record: Record) -> str:
        """The table of one record, for the time of its message."""
        if isinstance(record, SipRecord):
            pattern = self._pattern_of_sip(record)
        else:
            pattern = self._report_pattern or self._pattern_of_report(record)
        if "%" not in pattern:
            return pattern
        return expand(pattern, record.micro_ts // 1_000_000)


def _chooser(patterns: Sequence[str], mt_mode: str, hash_source: str) -> Callable[[SipRecord], str]:
    count = len(patterns)
    if count == 1:
        only = patterns[0]
        return lambda _record: only
    if mt_mode == "round_robin":
        turn = -1

        def next_pattern(_record: SipRecord) -> str:
            nonlocal turn
            turn = (turn + 1) % count
            return patterns[turn]

        return next_pattern
    if mt_mode == "hash":
        value_of = _HASH_VALUES[hash_source]
        return lambda record: patterns[zlib.crc32(value_of(record).encode()) % count]
    return lambda _record: random.choice(patterns)  # noqa: S311  # spreading, not secrecy


def _call_id_token(record: SipRecord) -> str:
    """The first token of the Call-ID: what the module hashes (spec 4.3)."""
    tokens = record.callid.split(None, 1)
    return tokens[0] if tokens else ""


_HASH_VALUES: Final[dict[str, Callable[[SipRecord], str]]] = {
    "call_id": _call_id_token,
    "from_user": lambda record: record.from_user,
    "to_user": lambda record: record.to_user,
}
