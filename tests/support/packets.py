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
IP4_TYPE, IP6_TYPE, VLAN_TYPE, QINQ_TYPE = 0x0800, 0x86DD, 0x8100, 0x88A8


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
        ">BBHHHBBH4s4s", 0x40 | size // 4, tos, size + len(payload) if total is None else total, identification, fragment, 64,
        protocol, 0, ip_address(source).packed, ip_address(destination).packed,
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
