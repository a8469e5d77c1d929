"""Rows of HOMER 7's tables back to records, as far as they tell (homer.md 2.1): the inverse of ``sinks/homer7.py``.

The columns of SIP are read again from the message; what HOMER 7 has no place for is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from sipcap.calls.readers.base import Layout
from sipcap.calls.rebuild import Found, as_number, as_text, rebuild_with
from sipcap.extract import Extractor
from sipcap.ndjson import BadLine, decode_record, derive_with
from sipcap.wire.message import SIP_PAYLOAD, Message

_PROTO_OF: Final = {17: 1, 6: 2, 22: 3, 132: 4}  # the IANA number to the module's ``proto``


def rebuilder(layout: Layout) -> Callable[[tuple[Any, ...]], Found]:
    """Make the function that makes a record of a row: time, key, then the columns of the layout."""
    if layout.form != "homer7":
        return rebuild_with(layout)
    place = {name: index for index, name in enumerate(layout.columns, start=2)}
    extractor = Extractor()
    derive = derive_with(lambda payload: extractor.record(Message(payload), 0))

    def rebuild(row: tuple[Any, ...]) -> Found:
        protocol, data = (_object(row[place[name]]) for name in ("protocol_header", "data_header"))
        keys = _keys(protocol, data, as_number(row[0]), as_text(row[place["raw"]]))
        try:
            record, _ = decode_record(msgspec.json.encode(keys), derive)
        except BadLine:  # a number that is beyond all bounds
            record, _ = decode_record(msgspec.json.encode({"micro_ts": keys["micro_ts"], "msg": keys["msg"]}), derive)
        return Found(record, {})

    return rebuild


def _object(value: Any) -> dict[str, Any]:
    """A JSON column, which a driver may have read already."""
    if isinstance(value, (str, bytes)):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _keys(protocol: dict[str, Any], data: dict[str, Any], date_us: int, raw: str) -> dict[str, Any]:
    payload_type = as_number(protocol.get("payloadType", SIP_PAYLOAD))
    ts_us = as_number(protocol.get("timeSeconds")) * 1_000_000 + as_number(protocol.get("timeUseconds"))
    keys: dict[str, Any] = {
        "kind": "sip" if payload_type == SIP_PAYLOAD else "report",
        "micro_ts": ts_us or date_us,
        "source_ip": as_text(protocol.get("srcIp")),
        "source_port": as_number(protocol.get("srcPort")),
        "destination_ip": as_text(protocol.get("dstIp")),
        "destination_port": as_number(protocol.get("dstPort")),
        "proto": _PROTO_OF.get(as_number(protocol.get("protocol")), 0),
        "family": as_number(protocol.get("protocolFamily")),
        "node": as_text(protocol.get("captureId")),
        "correlation_id": as_text(protocol.get("correlation_id")),
        "msg": raw,
        "payload_type": payload_type,
    }
    if payload_type == SIP_PAYLOAD:
        keys |= {name: as_text(data[name]) for name in ("callid", "from_user", "to_user", "ruri_user") if name in data}
    return keys
