"""Which values of a row an existing table takes, and how they are made to fit (design 1.6)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from operator import gt, itemgetter
from typing import Any, Final

import msgspec

from sipcap.limits import MAX_LINE_BYTES
from sipcap.record import ReportRecord, SipRecord
from sipcap.sinks.base import Adjusted

REPLACEMENT: Final = "\ufffd"
_STRINGS: Final = frozenset(
    each.name for kind in (SipRecord, ReportRecord) for each in msgspec.structs.fields(kind) if each.type is str
)
_BEYOND_BMP: Final = re.compile("[\U00010000-\U0010ffff]")
_WIDEST_CHARACTER: Final = 4  # bytes, in UTF-8


class Charset:
    """What the text of a column can hold.

    Args:
        codec: Python's name of the encoding.
        bmp_only: UTF-8 of at most three bytes, as in MySQL's utf8mb3.
    """

    def __init__(self, codec: str = "utf-8", *, bmp_only: bool = False) -> None:
        self.codec = codec
        self.bmp_only = bmp_only
        self.holds_all = codec == "utf-8" and not bmp_only

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Charset) and (self.codec, self.bmp_only) == (other.codec, other.bmp_only)

    def __hash__(self) -> int:
        return hash((self.codec, self.bmp_only))

    def clean(self, text: str) -> str:
        """The text with every character replaced that the column cannot hold."""
        if text.isascii() or self.holds_all:
            return text
        if self.bmp_only:
            return _BEYOND_BMP.sub(REPLACEMENT, text)
        return text.encode(self.codec, "replace").decode(self.codec)


UNICODE: Final = Charset()


def charset_for(codec: str) -> Charset:
    """The charset of a codec; one that Python does not know holds at least ASCII."""
    try:
        return Charset(codecs.lookup(codec).name)
    except LookupError:
        return Charset("ascii")


class Kind(Enum):
    """How a value is given to a column."""

    TEXT = "text"
    BYTES = "bytes"
    OTHER = "as it is"


@dataclass(frozen=True)
class Column:
    """A column of an existing table.

    ``chars`` and ``octets`` are the widest that it takes; both None = without a bound. ``octets`` are those of
    its own charset. ``label`` is what the table calls it; "" = by its name.
    """

    name: str
    kind: Kind = Kind.OTHER
    chars: int | None = None
    octets: int | None = None
    charset: Charset = UNICODE
    label: str = ""

    @property
    def sql_name(self) -> str:
        """What statements call it."""
        return self.label or self.name

    @property
    def surely_fits(self) -> int:
        """A text of so many characters needs no closer look."""
        chars = MAX_LINE_BYTES if self.chars is None else self.chars
        return chars if self.octets is None else min(chars, self.octets // _WIDEST_CHARACTER)

    @property
    def is_bounded(self) -> bool:
        """Whether a value of a record can be too wide for it."""
        return self.surely_fits < MAX_LINE_BYTES

    def cut(self, text: str) -> str:
        """As much of a text as the column takes."""
        text = text[: self.chars]
        if self.octets is not None and len(text) * _WIDEST_CHARACTER > self.octets:
            return text.encode(self.charset.codec)[: self.octets].decode(self.charset.codec, "ignore")
        return text


class Tally:
    """Rows of a batch that had to be changed."""

    def __init__(self) -> None:
        self.truncated = 0
        self.sanitised = 0

    def adjusted(self) -> Adjusted:
        """The counts as a sink returns them."""
        return Adjusted(self.truncated, self.sanitised)

    def clear(self) -> None:
        """Begin again, with a batch that is read once more."""
        self.truncated = self.sanitised = 0


class Shape:
    """Makes rows fit a table.

    Args:
        wanted: the names of a row's values; ``msg_raw`` and ``envelope`` are among them.
        existing: the table's columns, in any order.
        takes_nul: whether text may hold NUL.
    """

    def __init__(self, wanted: Sequence[str], existing: Sequence[Column], *, takes_nul: bool) -> None:
        found = {column.name: column for column in existing}
        if "msg_raw" in found and found["msg_raw"].kind is not Kind.BYTES:
            del found["msg_raw"]
        self.columns = tuple(found[name] for name in wanted if name in found)
        self.missing = tuple(name for name in wanted if name not in found)
        self._takes_nul = takes_nul
        self._sized = [(wanted.index(column.name), column, column.surely_fits) for column in self.columns]
        self._pick = picker([place for place, _, _ in self._sized]) if self.missing and self.columns else None
        self._msg, self._raw, self._envelope = map(wanted.index, ("msg", "msg_raw", "envelope"))
        self._keeps_raw = "msg_raw" in found
        self._msg_as_bytes = "msg" in found and found["msg"].kind is Kind.BYTES
        self._loses_raw = "msg" in found and not self._msg_as_bytes and not self._keeps_raw
        self._watch()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and (self.columns, self.missing) == (other.columns, other.missing)

    def __hash__(self) -> int:
        return hash((self.columns, self.missing))

    def _watch(self) -> None:
        """Prepare the quick look that spares nearly all rows the thorough one."""
        # A bounded envelope, and text as bytes beside msg, are nothing that sipcap creates: each row is looked at.
        self._always = any(
            (column.kind is Kind.BYTES and column.name not in {"msg", "msg_raw"})
            or (column.name == "envelope" and column.is_bounded)
            for column in self.columns
        )
        strings = [each for each in self._sized if each[1].kind is not Kind.OTHER and each[1].name in _STRINGS]
        bounded = [each for each in strings if each[1].is_bounded]
        self._bounded = picker([place for place, _, _ in bounded]) if bounded else None
        self._bounds = tuple(fits for _, _, fits in bounded)
        inner = [place for place, column, _ in strings if column.name != "msg"]  # it has no NUL: see RowMaker
        self._texts = picker(inner) if inner else None
        self._is_narrow = not all(column.charset.holds_all for column in self.columns)

    def fit(self, values: tuple[Any, ...], tally: Tally) -> tuple[Any, ...]:
        """The values that the table takes, in the order of ``columns``; what had to be changed is counted."""
        if self._always or self._looks_unfit(values):
            values = self._adjust(values, tally)
        elif self._msg_as_bytes:
            raw, place = values[self._raw], self._msg
            values = (*values[:place], values[place].encode() if raw is None else raw, *values[place + 1 :])
        elif self._loses_raw and values[self._raw] is not None:
            tally.sanitised += 1
        return values if self._pick is None else self._pick(values)

    def _looks_unfit(self, values: tuple[Any, ...]) -> bool:
        if self._bounded is not None and any(map(gt, map(len, self._bounded(values)), self._bounds)):
            return True
        if self._takes_nul and not self._is_narrow:
            return False
        texts = "".join(self._texts(values)) if self._texts is not None else ""
        if not self._takes_nul and "\0" in texts:
            return True
        return self._is_narrow and not (
            texts.isascii() and values[self._msg].isascii() and (values[self._envelope] or "").isascii()
        )

    def _adjust(self, values: tuple[Any, ...], tally: Tally) -> tuple[Any, ...]:
        fitted = list(values)
        raw = values[self._raw]
        truncated, sanitised = False, raw is not None and self._loses_raw
        for place, column, fits in self._sized:
            value = values[place]
            if not isinstance(value, str) or column.kind is Kind.OTHER:
                continue
            if column.kind is Kind.BYTES:
                data = raw if raw is not None and place == self._msg else value.encode()
                fitted[place] = data[: column.octets]
                truncated |= len(fitted[place]) < len(data)
                continue
            if len(value) <= fits and value.isascii() and (self._takes_nul or "\0" not in value):
                continue
            clean = column.charset.clean(value if self._takes_nul else value.replace("\0", REPLACEMENT))
            fitted[place] = column.cut(clean)
            truncated |= len(fitted[place]) < len(clean)
            if clean != value and place == self._msg and self._keeps_raw:
                fitted[self._raw] = value.encode() if raw is None else raw
            elif clean != value:
                sanitised = True
        tally.truncated += truncated
        tally.sanitised += sanitised
        return tuple(fitted)


def picker(places: Sequence[int]) -> itemgetter[Any]:
    """An itemgetter that gives a tuple, also of one."""
    return itemgetter(*places) if len(places) > 1 else itemgetter(slice(places[0], places[0] + 1))
