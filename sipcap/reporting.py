"""Any record to a report row: the module's report_capture (spec 6.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET

from sipcap.errors import DecodeError
from sipcap.record import ENVELOPE_KEYS, REPORT_COLUMNS, VERSION, Record, ReportRecord, date_text

DEFAULT_REPORT_TABLE: Final = "report_capture"
_MARKS: Final = frozenset(("_mode", "_table", "_error"))


class ReportMaker:
    """Makes report rows.

    Args:
        cid: correlation id of all rows; "" = each record's own.
        data: message of all rows; "" = each record's own.
    """

    def __init__(self, cid: str = "", data: bytes = b"") -> None:
        self._cid = cid
        self._message = _message_keys(data) if data else None

    def __call__(self, record: Record, unknown: Mapping[str, Any]) -> tuple[Record, dict[str, Any]]:
        """The report of one record, and the keys that pass through.

        Address, ports, time, node and type stay; a SIP message has the type 1 or 2 of its kind. Where a record was
        meant to go does not count: whoever reports names the table.

        Raises:
            DecodeError: ``no_cid``, there is no correlation id.
        """
        values: dict[str, Any] = {name: getattr(record, name) for name in REPORT_COLUMNS}
        values |= {name: getattr(record, name) for name in ENVELOPE_KEYS}
        values["correlation_id"] = self._cid or record.correlation_id
        if not values["correlation_id"]:
            raise DecodeError("no_cid")
        if self._message is not None:
            values |= self._message
        kept = {key: value for key, value in unknown.items() if key not in _MARKS}
        return ReportRecord(v=VERSION, kind="report", **values), kept

    def row(self, ts_us: int, node: str) -> ReportRecord:
        """A row that no record stands behind: without addresses, ports and type 0; also without a correlation id."""
        message = self._message or _message_keys(b"")
        return ReportRecord(
            VERSION, "report", date_text(ts_us // 1_000_000), ts_us, self._cid, "", 0, "", 0, 0, 0, 0, node, **message
        )


def _message_keys(data: bytes) -> dict[str, Any]:
    text = data.decode("utf-8", "replace")
    return {"msg": text, "msg_b64": UNSET if text.encode() == data else data}
