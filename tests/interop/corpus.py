"""The shared test inputs: where they are, and the SIP that they hold.

Only what these files need is understood here (classic pcap, IPv4, UDP), so that the tests do not lean on the
product's own readers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import hep

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "corpus"
CAPTURES = ("hep3-homer.pcap", "ipip-heplify.pcap", "sngrep-aaa.pcap")

_ETHERNET, _RAW_IP = 1, 101
_IPIP, _UDP = 4, 17


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram of a capture."""

    ts_us: int
    source_ip: str
    source_port: int
    destination_ip: str
    destination_port: int
    payload: bytes

    @property
    def is_sip(self) -> bool:
        """Tell whether the first line is one of SIP."""
        first = self.payload.lstrip(b"\r\n").split(b"\n", 1)[0]
        return first.startswith(b"SIP/2.0 ") or first.rstrip().endswith(b"SIP/2.0")


def torture_messages() -> list[Path]:
    """Return the messages of RFC 4475, in the order of their names."""
    return sorted((FOLDER / "rfc4475").glob("*.dat"))


def datagrams(name: str) -> Iterator[Datagram]:
    """Yield the UDP datagrams of the capture *name*, in the order of the file."""
    data = (FOLDER / "pcap" / name).read_bytes()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    link_type = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    offset = 24
    while offset < len(data):
        seconds, micros, size, _ = struct.unpack_from(order + "IIII", data, offset)
        frame = data[offset + 16 : offset + 16 + size]
        offset += 16 + size
        found = _udp(_ip_packet(link_type, frame), seconds * 1_000_000 + micros)
        if found is not None:
            yield found


def sip_messages(name: str) -> list[Datagram]:
    """Return the SIP messages of the capture, those inside HEP included."""
    return [message for message in map(_unwrapped, datagrams(name)) if message.is_sip]


def _unwrapped(datagram: Datagram) -> Datagram:
    if not datagram.payload.startswith(b"HEP3"):
        return datagram
    envelope, payload = hep.decode(datagram.payload)
    return Datagram(
        envelope.ts_us or datagram.ts_us,
        envelope.source_ip,
        envelope.source_port,
        envelope.destination_ip,
        envelope.destination_port,
        payload,
    )


def _ip_packet(link_type: int, frame: bytes) -> bytes:
    if link_type == _ETHERNET:
        return frame[14:] if frame[12:14] == b"\x08\x00" else b""
    if link_type == _RAW_IP:
        return frame
    raise ValueError(f"link type {link_type} is in none of these captures")


def _udp(packet: bytes, ts_us: int) -> Datagram | None:
    if len(packet) < 28 or packet[0] >> 4 != 4:
        return None
    inner = packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4])]
    if packet[9] == _IPIP:
        return _udp(inner, ts_us)
    if packet[9] != _UDP:
        return None
    source_port, destination_port, length = struct.unpack_from("!HHH", inner)
    source, destination = (".".join(map(str, packet[at : at + 4])) for at in (12, 16))
    return Datagram(ts_us, source, source_port, destination, destination_port, inner[8:length])
