"""Frames and capture files for tests, one small builder a layer; nothing in here uses sipcap."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any

SOURCE, DESTINATION = "192.0.2.1", "192.0.2.2"
SOURCE6, DESTINATION6 = "2001:db8::1", "2001:db8::2"
SOURCE_MAC, DESTINATION_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")

ETHERNET, RAW, NULL, LOOP, COOKED1, COOKED2 = 1, 101, 0, 108, 113, 276
PPP, PPP_SERIAL, PPP_ETHER, CISCO_HDLC = 9, 50, 51, 104
IP4_TYPE, IP6_TYPE, VLAN_TYPE, QINQ_TYPE = 0x0800, 0x86DD, 0x8100, 0x88A8
MPLS_TYPE, PPPOE_TYPE, PPP_TYPE, BRIDGED_TYPE = 0x8847, 0x8864, 0x880B, 0x6558
ERSPAN2_TYPE, ERSPAN3_TYPE = 0x88BE, 0x22EB
VXLAN_PORT, LINUX_VXLAN_PORT, GENEVE_PORT, TZSP_PORT = 4789, 8472, 6081, 37008


def udp(payload: bytes, source: int = 5060, destination: int = 5062, *, length: int | None = None) -> bytes:
    """A UDP datagram without checksum; ``length`` overrides the right one."""
    return struct.pack(">HHHH", source, destination, 8 + len(payload) if length is None else length, 0) + payload


def ip4(
    payload: bytes,
    protocol: int = 17,
    *,
    source: str = SOURCE,
    destination: str = DESTINATION,
    tos: int = 0,
    options: bytes = b"",
    fragment: int = 0,
    total: int | None = None,
    identification: int = 7,
) -> bytes:
    """An IPv4 packet; ``fragment`` is the flags and offset field, ``total`` overrides the right length."""
    size = 20 + len(options)
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | size // 4, tos, size + len(payload) if total is None else total, identification,
        fragment, 64, protocol, 0, ip_address(source).packed, ip_address(destination).packed,
    )  # fmt: skip
    return head + options + payload


def ip6(
    payload: bytes,
    protocol: int = 17,
    *,
    source: str = SOURCE6,
    destination: str = DESTINATION6,
    tos: int = 0,
    length: int | None = None,
) -> bytes:
    """An IPv6 packet; extension headers are part of the payload, ``protocol`` is the first one's."""
    size = len(payload) if length is None else length
    head = struct.pack(">IHBB", 6 << 28 | tos << 20, size, protocol, 64)
    return head + ip_address(source).packed + ip_address(destination).packed + payload


def extension(next_protocol: int, data: bytes = b"\0" * 6) -> bytes:
    """An IPv6 extension header of the usual form; ``data`` is 6 bytes and then multiples of 8."""
    return bytes((next_protocol, (len(data) - 6) // 8)) + data


def fragment6(next_protocol: int, offset: int = 0, *, more: bool = False, identification: int = 99) -> bytes:
    """An IPv6 fragment header; ``offset`` in bytes."""
    return struct.pack(">BBHI", next_protocol, 0, offset | more, identification)


def fragments4(payload: bytes, cuts: Sequence[int], protocol: int = 17, **fields: Any) -> list[bytes]:
    """An IPv4 packet in fragments; ``cuts`` are the offsets of all but the first, multiples of 8."""
    edges = [0, *cuts, len(payload)]
    return [
        ip4(payload[begin:end], protocol, fragment=begin // 8 | (0x2000 if end < len(payload) else 0), **fields)
        for begin, end in pairwise(edges)
    ]


def fragments6(
    payload: bytes, cuts: Sequence[int], protocol: int = 17, *, identification: int = 99, **fields: Any
) -> list[bytes]:
    """An IPv6 packet in fragments; ``cuts`` as for IPv4."""
    edges = [0, *cuts, len(payload)]
    return [
        ip6(
            fragment6(protocol, begin, more=end < len(payload), identification=identification) + payload[begin:end],
            44,
            **fields,
        )
        for begin, end in pairwise(edges)
    ]


def type_of(packet: bytes) -> int:
    """The Ethernet type of an IP packet."""
    return IP6_TYPE if packet[:1] and packet[0] >> 4 == 6 else IP4_TYPE


def ethernet(packet: bytes, *, vlans: Sequence[int] = (), ether_type: int | None = None) -> bytes:
    """An Ethernet frame; two VLAN ids make QinQ, the outer one first."""
    types = [VLAN_TYPE] if len(vlans) == 1 else [QINQ_TYPE, *[VLAN_TYPE] * (len(vlans) - 1)]
    tags = b"".join(struct.pack(">HH", kind, 0x6000 | number) for kind, number in zip(types, vlans, strict=False))
    last = type_of(packet) if ether_type is None else ether_type
    return DESTINATION_MAC + SOURCE_MAC + tags + struct.pack(">H", last) + packet


def cooked1(packet: bytes, *, vlan: int | None = None) -> bytes:
    """A Linux cooked v1 frame (LINKTYPE_LINUX_SLL)."""
    tag = b"" if vlan is None else struct.pack(">HH", VLAN_TYPE, vlan)
    return struct.pack(">HHH", 0, 1, 6) + SOURCE_MAC + b"\0\0" + tag + struct.pack(">H", type_of(packet)) + packet


def cooked2(packet: bytes, *, vlan: int | None = None) -> bytes:
    """A Linux cooked v2 frame (LINKTYPE_LINUX_SLL2)."""
    first = type_of(packet) if vlan is None else VLAN_TYPE
    tag = b"" if vlan is None else struct.pack(">HH", vlan, type_of(packet))
    return struct.pack(">HHIHBB", first, 0, 3, 1, 0, 6) + SOURCE_MAC + b"\0\0" + tag + packet


def loopback(packet: bytes) -> bytes:
    """A BSD loopback frame, its family as a little-endian machine writes it."""
    return struct.pack("<I", 30 if packet[0] >> 4 == 6 else 2) + packet


def snap(packet: bytes) -> bytes:
    """LLC and SNAP before an IP packet; goes into an Ethernet frame with its length as type."""
    return b"\xaa\xaa\x03\0\0\0" + struct.pack(">H", type_of(packet)) + packet


def mpls(payload: bytes, labels: Sequence[int] = (16, 17)) -> bytes:
    """A stack of MPLS labels; the last one says that it is."""
    last = len(labels) - 1
    return (
        b"".join(struct.pack(">I", label << 12 | (number == last) << 8 | 64) for number, label in enumerate(labels))
        + payload
    )


def ppp(packet: bytes, *, compressed: bool = False, framed: bool = True) -> bytes:
    """An IP packet over PPP, with address and control if it is *framed*."""
    number = 0x57 if packet[0] >> 4 == 6 else 0x21
    return (b"\xff\x03" if framed else b"") + (bytes((number,)) if compressed else struct.pack(">H", number)) + packet


def pppoe(packet: bytes, session: int = 9) -> bytes:
    """An IP packet over PPP over Ethernet, behind the Ethernet header."""
    inner = ppp(packet, framed=False)
    return struct.pack(">BBHH", 0x11, 0, session, len(inner)) + inner


def gre(
    payload: bytes,
    kind: int,
    *,
    checksum: bool = False,
    key: int | None = None,
    sequence: int | None = None,
    routing: bytes | None = None,
    version: int = 0,
    acknowledgement: int | None = None,
) -> bytes:
    """A GRE header, and what it carries; an empty ``routing`` still has its last, empty entry."""
    flags = (
        0x8000 * checksum | 0x4000 * (routing is not None) | 0x2000 * (key is not None)
        | 0x1000 * (sequence is not None) | 0x80 * (acknowledgement is not None) | version
    )  # fmt: skip
    head = struct.pack(">HH", flags, kind)
    if checksum or routing is not None:
        head += b"\0\0\0\0"
    for field in (key, sequence, acknowledgement):
        head += b"" if field is None else struct.pack(">I", field)
    if routing is not None:
        head += routing + b"\0\0\0\0"
    return head + payload


def ether_ip(frame: bytes) -> bytes:
    """An Ethernet frame behind the header of EtherIP."""
    return b"\x30\0" + frame


def erspan2(frame: bytes, session: int = 5) -> bytes:
    """A mirrored frame, type II, for GRE with a sequence number."""
    return struct.pack(">HHI", 0x1000 | 100, session, 3) + frame


def erspan3(frame: bytes, session: int = 5, *, frame_type: int = 0, platform: bytes = b"") -> bytes:
    """A mirrored frame, type III; ``platform`` is the optional sub-header of 8 bytes."""
    flags = frame_type << 10 | bool(platform)
    return struct.pack(">HHIHH", 0x2000 | 100, session, 0, 0, flags) + platform + frame


def vxlan(frame: bytes, network: int = 42) -> bytes:
    """An Ethernet frame in VXLAN."""
    return struct.pack(">II", 0x08 << 24, network << 8) + frame


def geneve(payload: bytes, kind: int = BRIDGED_TYPE, network: int = 42, *, options: bytes = b"") -> bytes:
    """A frame or packet in GENEVE; ``options`` in multiples of 4 bytes."""
    return struct.pack(">BBHI", len(options) // 4, 0, kind, network << 8) + options + payload


def tzsp(frame: bytes, *, tags: bytes = b"\x0a\x01\xc0\0") -> bytes:
    """An Ethernet frame in TZSP, behind tags: a signal strength and padding."""
    return b"\x01\0\0\x01" + tags + b"\x01" + frame


def sctp(*chunks: bytes, source: int = 5060, destination: int = 5062, tag: int = 77) -> bytes:
    """An SCTP packet without checksum."""
    return struct.pack(">HHII", source, destination, tag, 0) + b"".join(chunks)


def sctp_data(payload: bytes, number: int, flags: int = 3, *, sequence: int = 0) -> bytes:
    """A DATA chunk; flags are 2 for the beginning of a message and 1 for its end."""
    head = struct.pack(">BBHIHHI", 0, flags, 16 + len(payload), number, 0, sequence, 0)
    return head + payload + b"\0" * (-len(payload) % 4)


def sctp_sack() -> bytes:
    """A chunk without data: an acknowledgement."""
    return struct.pack(">BBHIIHH", 3, 0, 16, 1, 65_536, 0, 0)


Captured = tuple[int, bytes]
"""When, in microseconds since 1970, and the frame."""


def pcap(packets: Iterable[Captured], link: int = ETHERNET, *, snaplen: int = 262_144, order: str = "<") -> bytes:
    """A classic pcap file with microseconds."""
    parts = [struct.pack(f"{order}IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, link)]
    for ts_us, frame in packets:
        kept = frame[:snaplen]
        parts.append(struct.pack(f"{order}IIII", *divmod(ts_us, 1_000_000), len(kept), len(frame)) + kept)
    return b"".join(parts)


def pcapng(packets: Iterable[Captured], link: int = ETHERNET) -> bytes:
    """A pcapng file with one interface and microseconds."""
    blocks = [
        _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)),
        _block(1, struct.pack("<HHI", link, 0, 262_144)),
    ]
    for ts_us, frame in packets:
        head = struct.pack("<IIIII", 0, ts_us >> 32, ts_us & 0xFFFF_FFFF, len(frame), len(frame))
        blocks.append(_block(6, head + frame + b"\0" * (-len(frame) % 4)))
    return b"".join(blocks)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def sip_capture(path: Path, payloads: Iterable[bytes], *, first_us: int, step_us: int = 1_000) -> Path:
    """Write a pcap of payloads over UDP, IPv4 and Ethernet, one every ``step_us``."""
    path.write_bytes(
        pcap((first_us + number * step_us, ethernet(ip4(udp(each)))) for number, each in enumerate(payloads))
    )
    return path
