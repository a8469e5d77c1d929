"""A record back to the message that it was made of: the way back of ``extract.py``."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET

from sipcap.record import ENVELOPE_KEYS, Record, SipRecord, message_bytes
from sipcap.wire.hep3 import AF_INET, AF_INET6
from sipcap.wire.message import SIP_PAYLOAD, Message

_IP_OF_PROTO: Final = {1: 17, 2: 6, 3: 22, 4: 132, 5: 6, 6: 22}
"""The module's ``proto`` to IANA's number, with 22 for TLS as HEP agents send it (spec 2.2); WebSocket is TCP."""

_TYPE_OF_REPORT: Final = {3: 5, 2: 32, 4: 99, 5: 100}
"""``type`` of a report to its HEP type, where the record does not say that itself (spec 2.5.1)."""

_NOT_EXTRA: Final = frozenset({"msg_b64", "payload_type", "hep_version", "capture_id", "ip_protocol"})
_EXTRA_KEYS: Final = tuple(key for key in ENVELOPE_KEYS if key not in _NOT_EXTRA)


def message_of_record(record: Record) -> Message:
    """Make the message whose record this is.

    What the columns were made of, and the rest of the envelope, is in it again; an authentication key was never in
    the record. A correlation id that is the Call-ID counts as not sent: the same record comes of both.
    """
    correlation_id: str | None = record.correlation_id
    if isinstance(record, SipRecord):
        payload_type = SIP_PAYLOAD
        if correlation_id == record.callid:
            correlation_id = None
    else:
        payload_type = _known(record.payload_type, _TYPE_OF_REPORT.get(record.type, record.type))
        correlation_id = correlation_id or None
    extra = {key: value for key in _EXTRA_KEYS if (value := getattr(record, key)) is not UNSET}
    return Message(
        message_bytes(record),
        record.micro_ts,
        record.source_ip,
        record.source_port,
        record.destination_ip,
        record.destination_port,
        _known(record.ip_protocol, _IP_OF_PROTO.get(record.proto, 0)),
        record.family or (AF_INET6 if ":" in record.source_ip else AF_INET),
        payload_type,
        _known(record.hep_version, 0),
        _known(record.capture_id, _capture_id(record.node)),
        correlation_id,
        extra=extra or None,
    )


def _known(value: Any, otherwise: int) -> int:
    return otherwise if value is UNSET else int(value)


def _capture_id(node: str) -> int:
    """The id of a ``node`` column, ``homer01:2001``; 0 if it has none."""
    number = node.rpartition(":")[2]
    return int(number) if ":" in node and number.isascii() and number.isdigit() and len(number) < 10 else 0
