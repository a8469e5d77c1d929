"""Records as the values of a row: the columns, ``msg_raw`` and ``envelope`` (design 1.6)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET
from msgspec.structs import astuple

from sipcap.record import ENVELOPE_KEYS, REPORT_COLUMNS, SIP_COLUMNS
from sipcap.sinks.base import Row

SIP_ROW: Final = (*SIP_COLUMNS, "msg_raw", "envelope")
REPORT_ROW: Final = (*REPORT_COLUMNS, "msg_raw", "envelope")

_HEAD: Final = 2  # v and kind are not stored
_MSG_B64: Final = 0  # first of the envelope; it becomes msg_raw
_MAX_REMEMBERED: Final = 4_096
_MAX_REMEMBERED_CHARACTERS: Final = 1_024  # a longer envelope is not remembered: 4,096 of a megabyte would be gigabytes
_REPORT_MARK: Final = {"kind": "report"}
_encode = msgspec.json.Encoder().encode


class RowMaker:
    """Makes value tuples of one kind of record, in the order of ``SIP_ROW`` or ``REPORT_ROW``.

    Marked, the envelope says that the row is a report: in a table of SIP, nothing else need tell.

    It remembers the JSON of envelopes: one agent's messages mostly share it. The memory is bounded.
    """

    def __init__(self, columns: tuple[str, ...], *, is_marked: bool = False) -> None:
        self._mark = _REPORT_MARK if is_marked else {}
        self._end = _HEAD + len(columns)
        self._msg = columns.index("msg")
        self._envelopes: dict[tuple[Any, ...], str | None] = {}

    def values(self, row: Row) -> tuple[Any, ...]:
        """The values of one row; ``msg`` has no NUL, ``msg_raw`` is None if ``msg`` is exact."""
        fields = astuple(row.record)
        columns = fields[_HEAD : self._end]
        raw = fields[self._end]
        envelope = self._envelope(fields[self._end + 1 :], row.unknown)
        msg = columns[self._msg]
        if raw is UNSET:
            if "\0" not in msg:
                return (*columns, None, envelope)
            raw = msg.encode()
        if "\0" in msg:  # many SQL functions and clients stop at a NUL
            columns = (*columns[: self._msg], msg.replace("\0", "\ufffd"), *columns[self._msg + 1 :])
        return (*columns, raw, envelope)

    def _envelope(self, values: tuple[Any, ...], unknown: dict[str, Any]) -> str | None:
        if unknown:
            return _envelope_json(values, unknown | self._mark)
        try:
            return self._envelopes[values]
        except KeyError:
            text = _envelope_json(values, self._mark)
            if text is None or len(text) <= _MAX_REMEMBERED_CHARACTERS:
                if len(self._envelopes) >= _MAX_REMEMBERED:
                    self._envelopes.clear()
                self._envelopes[values] = text
            return text
        except TypeError:  # vendor chunks cannot be a key
            return _envelope_json(values, self._mark)


def _envelope_json(values: tuple[Any, ...], unknown: dict[str, Any]) -> str | None:
    known = {key: value for key, value in zip(ENVELOPE_KEYS[_MSG_B64 + 1 :], values, strict=True) if value is not UNSET}
    keys = known | unknown
    return _encode(keys).decode() if keys else None
