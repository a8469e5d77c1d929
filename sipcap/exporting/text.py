"""Records as text for people: who sent what to whom, and the message as it was."""

from __future__ import annotations

from typing import Final

from sipcap.record import Record, SipRecord

_PROTO_NAMES: Final = {1: "UDP", 2: "TCP", 3: "TLS", 4: "SCTP", 5: "WS", 6: "WSS"}

# Captured text must not move a cursor, set a title or reorder a line, whatever shows the file later.
_HARMLESS: Final = (
    {code: 0x2400 + code for code in range(0x20) if code not in (9, 10)}
    | {0x7F: 0x2421}
    | dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
)


class TextExporter:
    """A line with time (UTC), protocol and addresses, then the message, then an empty line; see Exporter.

    Line ends are LF; other control characters are shown as pictures.
    """

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def add(self, record: Record) -> bytes:
        """The lines of one message."""
        proto = _PROTO_NAMES.get(record.proto, "IP")
        kind = "" if isinstance(record, SipRecord) else f" report {record.type} {record.correlation_id}"
        head = (
            f"{record.date}.{record.micro_ts % 1_000_000:06d} {proto} {_host(record.source_ip, record.source_port)} -> "
            f"{_host(record.destination_ip, record.destination_port)} {record.node}{kind}"
        )
        body = record.msg.replace("\r\n", "\n").rstrip("\n")
        safe = "\n".join((head.replace("\n", " ").translate(_HARMLESS), body.translate(_HARMLESS)))
        return f"{safe}\n\n".encode("utf-8", "replace")


def _host(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
