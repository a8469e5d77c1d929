"""One SIP message through every layer that sipcap looks through; nothing in here decodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.support import packets as p
from tests.support.tcp import ACK, PSH, SYN, tcp


class Case(NamedTuple):
    """How a message is wrapped: the link type of the capture, and its frames.

    ``options`` are what tshark has to be told besides; ``blind`` is why it sees no SIP all the same.
    """

    link: int
    frames: Callable[[bytes], list[bytes]]
    options: tuple[str, ...] = ()
    blind: str = ""


def _one(link: int, frame: Callable[[bytes], bytes], *options: str, blind: str = "") -> Case:
    return Case(link, lambda payload: [frame(payload)], options, blind)


def _packet(payload: bytes) -> bytes:
    return p.ip4(p.udp(payload))


def _packet6(payload: bytes) -> bytes:
    return p.ip6(p.udp(payload))


def _frame(payload: bytes) -> bytes:
    return p.ethernet(_packet(payload))


def _outer(protocol: int, payload: bytes) -> bytes:
    return p.ethernet(p.ip4(payload, protocol, source="198.51.100.1", destination="198.51.100.2"))


def _gre(payload: bytes, kind: int, **fields: int | bytes | bool) -> bytes:
    return _outer(47, p.gre(payload, kind, **fields))  # type: ignore[arg-type]


def _over_udp(port: int, payload: bytes) -> bytes:
    return _outer(17, p.udp(payload, 50_000, port))


def _pieces(payload: bytes) -> list[bytes]:
    return [p.ethernet(each) for each in p.fragments4(p.udp(payload), [48, 96])]


def _pieces6(payload: bytes) -> list[bytes]:
    return [p.ethernet(each) for each in p.fragments6(p.udp(payload), [48, 96])]


def _pieces_in_vxlan(payload: bytes) -> list[bytes]:
    return [_over_udp(p.VXLAN_PORT, p.vxlan(frame)) for frame in _pieces(payload)]


def _vxlan_in_pieces(payload: bytes) -> list[bytes]:
    outer = p.fragments4(p.udp(p.vxlan(_frame(payload)), 50_000, p.VXLAN_PORT), [128, 192], source="198.51.100.1")
    return [p.ethernet(each) for each in reversed(outer)]


def _pieces_of_pieces(payload: bytes) -> list[bytes]:
    """An inner packet in three fragments, each of them in IP in IP that is fragmented again."""
    return [
        p.ethernet(piece)
        for number, inner in enumerate(p.fragments4(p.udp(payload), [48, 96], identification=70))
        for piece in p.fragments4(inner, [40], 4, source="198.51.100.1", identification=80 + number)
    ]


def _extensions_in_pieces(payload: bytes) -> list[bytes]:
    return [p.ethernet(each) for each in p.fragments6(p.extension(17) + p.udp(payload), [48], 60)]


def _sctp_in_pieces(payload: bytes) -> list[bytes]:
    parts = [payload[:50], payload[50:90], payload[90:]]
    return [
        p.ethernet(p.ip4(p.sctp(p.sctp_data(part, 10 + number, flags)), 132))
        for number, (part, flags) in enumerate(zip(parts, (2, 0, 1), strict=True))
    ]


_PPTP = {"version": 1, "key": 9, "sequence": 1, "acknowledgement": 1}

CASES: dict[str, Case] = {
    "ethernet": _one(p.ETHERNET, _frame),
    "ipv6": _one(p.ETHERNET, lambda sip: p.ethernet(_packet6(sip))),
    "llc and snap": _one(p.ETHERNET, lambda sip: p.ethernet(s := p.snap(_packet(sip)), ether_type=len(s))),
    "vlan": _one(p.ETHERNET, lambda sip: p.ethernet(_packet(sip), vlans=(100,))),
    "qinq": _one(p.ETHERNET, lambda sip: p.ethernet(_packet(sip), vlans=(7, 100))),
    "mpls": _one(p.ETHERNET, lambda sip: p.ethernet(p.mpls(_packet(sip)), ether_type=p.MPLS_TYPE)),
    "mpls, ipv6": _one(p.ETHERNET, lambda sip: p.ethernet(p.mpls(_packet6(sip), (16,)), ether_type=p.MPLS_TYPE)),
    "mpls pseudowire": _one(
        p.ETHERNET,
        lambda sip: p.ethernet(p.mpls(_frame(sip), (16, 18)), ether_type=p.MPLS_TYPE),
        "-d",
        "mpls.label==18,pwethnocw",
    ),
    "mpls pseudowire with control word": _one(
        p.ETHERNET,
        lambda sip: p.ethernet(p.mpls(b"\0\0\0\0" + _frame(sip), (16, 19)), ether_type=p.MPLS_TYPE),
        "-d",
        "mpls.label==19,pwethcw",
    ),
    "vlan, mpls": _one(p.ETHERNET, lambda sip: p.ethernet(p.mpls(_packet(sip)), vlans=(100,), ether_type=p.MPLS_TYPE)),
    "pppoe": _one(p.ETHERNET, lambda sip: p.ethernet(p.pppoe(_packet(sip)), ether_type=p.PPPOE_TYPE)),
    "pppoe, ipv6": _one(p.ETHERNET, lambda sip: p.ethernet(p.pppoe(_packet6(sip)), ether_type=p.PPPOE_TYPE)),
    "cooked v1": _one(p.COOKED1, lambda sip: p.cooked1(_packet(sip))),
    "cooked v2": _one(p.COOKED2, lambda sip: p.cooked2(_packet(sip))),
    "bsd loopback": _one(p.NULL, lambda sip: p.loopback(_packet(sip))),
    "raw": _one(p.RAW, _packet),
    "ppp": _one(p.PPP, lambda sip: p.ppp(_packet(sip))),
    "ppp, protocol in one byte": _one(p.PPP, lambda sip: p.ppp(_packet(sip), compressed=True)),
    "ppp serial": _one(p.PPP_SERIAL, lambda sip: p.ppp(_packet6(sip))),
    "cisco hdlc": _one(p.CISCO_HDLC, lambda sip: b"\x0f\0\x08\0" + _packet(sip)),
    "pppoe alone": _one(p.PPP_ETHER, lambda sip: p.pppoe(_packet(sip))),
    "ip in ip": _one(p.ETHERNET, lambda sip: _outer(4, _packet(sip))),
    "ipv6 in ip": _one(p.ETHERNET, lambda sip: _outer(41, _packet6(sip))),
    "ip in ipv6": _one(p.ETHERNET, lambda sip: p.ethernet(p.ip6(_packet(sip), 4, source="2001:db8:1::1"))),
    "ip with authentication": _one(p.RAW, lambda sip: p.ip4(b"\x11\x04" + b"\0" * 22 + p.udp(sip), 51)),
    "gre": _one(p.ETHERNET, lambda sip: _gre(_packet(sip), p.IP4_TYPE)),
    "gre with checksum": _one(p.ETHERNET, lambda sip: _gre(_packet(sip), p.IP4_TYPE, checksum=True)),
    "gre with key": _one(p.ETHERNET, lambda sip: _gre(_packet6(sip), p.IP6_TYPE, key=5)),
    "gre with sequence": _one(p.ETHERNET, lambda sip: _gre(_packet(sip), p.IP4_TYPE, sequence=5)),
    "gre with all": _one(p.ETHERNET, lambda sip: _gre(_packet(sip), p.IP4_TYPE, checksum=True, key=5, sequence=6)),
    "gre with routing": _one(
        p.ETHERNET, lambda sip: _gre(_packet(sip), p.IP4_TYPE, routing=b"\x08\0\0\x04\xc0\0\x02\x09")
    ),
    "gre with ethernet": _one(p.ETHERNET, lambda sip: _gre(_frame(sip), p.BRIDGED_TYPE, key=5)),
    "gre with mpls": _one(p.ETHERNET, lambda sip: _gre(p.mpls(_packet(sip)), p.MPLS_TYPE)),
    "gre with ppp": _one(p.ETHERNET, lambda sip: _gre(p.ppp(_packet(sip)), p.PPP_TYPE, **_PPTP)),
    "etherip": _one(p.ETHERNET, lambda sip: _outer(97, p.ether_ip(_frame(sip)))),
    "mpls in ip": _one(p.ETHERNET, lambda sip: _outer(137, p.mpls(_packet(sip)))),
    "erspan i": _one(p.ETHERNET, lambda sip: _gre(_frame(sip), p.ERSPAN2_TYPE)),
    "erspan ii": _one(p.ETHERNET, lambda sip: _gre(p.erspan2(_frame(sip)), p.ERSPAN2_TYPE, sequence=1)),
    "erspan iii": _one(p.ETHERNET, lambda sip: _gre(p.erspan3(_frame(sip)), p.ERSPAN3_TYPE, sequence=1)),
    "erspan iii with sub-header": _one(
        p.ETHERNET, lambda sip: _gre(p.erspan3(_frame(sip), platform=bytes(8)), p.ERSPAN3_TYPE, sequence=1)
    ),
    "erspan iii of ip": _one(
        p.ETHERNET,
        lambda sip: _gre(p.erspan3(_packet(sip), frame_type=2), p.ERSPAN3_TYPE, sequence=1),
        blind="tshark 4.0 reads Ethernet in ERSPAN only",
    ),
    "vxlan": _one(p.ETHERNET, lambda sip: _over_udp(p.VXLAN_PORT, p.vxlan(_frame(sip)))),
    "vxlan of linux": _one(
        p.ETHERNET, lambda sip: _over_udp(p.LINUX_VXLAN_PORT, p.vxlan(_frame(sip))), "-d", "udp.port==8472,vxlan"
    ),
    "geneve": _one(p.ETHERNET, lambda sip: _over_udp(p.GENEVE_PORT, p.geneve(_frame(sip)))),
    "geneve with options and ip": _one(
        p.ETHERNET,
        lambda sip: _over_udp(p.GENEVE_PORT, p.geneve(_packet(sip), p.IP4_TYPE, options=b"\1\2\3\1" + bytes(4))),
    ),
    "tzsp": _one(p.ETHERNET, lambda sip: _over_udp(p.TZSP_PORT, p.tzsp(_frame(sip)))),
    "erspan in vxlan, vlan inside": _one(
        p.ETHERNET,
        lambda sip: _over_udp(
            p.VXLAN_PORT,
            p.vxlan(_gre(p.erspan2(p.ethernet(_packet(sip), vlans=(5,))), p.ERSPAN2_TYPE, sequence=1)),
        ),
    ),
    "udp-lite": _one(
        p.RAW, lambda sip: p.ip4(p.udp(sip, length=8), 136), "-o", "udplite.ignore_checksum_coverage:TRUE"
    ),
    "sctp": _one(p.ETHERNET, lambda sip: p.ethernet(p.ip4(p.sctp(p.sctp_data(sip, 1)), 132))),
    "sctp behind an acknowledgement": _one(
        p.ETHERNET, lambda sip: p.ethernet(p.ip6(p.sctp(p.sctp_sack(), p.sctp_data(sip, 2)), 132))
    ),
    "sctp in parts": Case(p.ETHERNET, _sctp_in_pieces),
    "fragments": Case(p.ETHERNET, _pieces),
    "fragments backwards": Case(p.ETHERNET, lambda sip: _pieces(sip)[::-1]),
    "fragments of ipv6": Case(p.ETHERNET, _pieces6),
    "fragments of ipv6 backwards": Case(p.ETHERNET, lambda sip: _pieces6(sip)[::-1]),
    "fragments with extension headers": Case(p.ETHERNET, _extensions_in_pieces),
    "fragments in vxlan": Case(p.ETHERNET, _pieces_in_vxlan),
    "vxlan in fragments": Case(p.ETHERNET, _vxlan_in_pieces),
    "fragments in fragments": Case(p.ETHERNET, _pieces_of_pieces),
}


def _in_ip(segment: bytes) -> bytes:
    return p.ip4(segment, 6)


def _cuts(segment: bytes) -> range:
    return range(16, len(segment), 48)


SEGMENT_CASES: dict[str, Callable[[bytes, int], list[bytes]]] = {
    "ipv6": lambda segment, _: [p.ethernet(p.ip6(segment, 6))],
    "qinq": lambda segment, _: [p.ethernet(_in_ip(segment), vlans=(7, 100))],
    "mpls": lambda segment, _: [p.ethernet(p.mpls(_in_ip(segment)), ether_type=p.MPLS_TYPE)],
    "pppoe": lambda segment, _: [p.ethernet(p.pppoe(_in_ip(segment)), ether_type=p.PPPOE_TYPE)],
    "ip in ip": lambda segment, _: [_outer(4, _in_ip(segment))],
    "erspan": lambda segment, _: [_gre(p.erspan2(p.ethernet(_in_ip(segment))), p.ERSPAN2_TYPE, sequence=1)],
    "vxlan": lambda segment, _: [_over_udp(p.VXLAN_PORT, p.vxlan(p.ethernet(_in_ip(segment))))],
    "fragments": lambda segment, number: [
        p.ethernet(each) for each in reversed(p.fragments4(segment, _cuts(segment), 6, identification=number))
    ],
    "fragments of ipv6": lambda segment, number: [
        p.ethernet(each) for each in p.fragments6(segment, _cuts(segment), 6, identification=number)
    ],
    "fragments in geneve": lambda segment, number: [
        _over_udp(p.GENEVE_PORT, p.geneve(p.ethernet(each)))
        for each in p.fragments4(segment, _cuts(segment), 6, identification=number)
    ],
}
"""What carries a TCP segment, as Ethernet frames; the number makes the identification of fragments."""


def two_segments(name: str, payload: bytes, first: int = 1) -> list[bytes]:
    """The frames of a message over TCP, in two segments behind a SYN; ``first`` is its number and port."""
    parts = [(0, b"", SYN), (1, payload[:100], ACK), (101, payload[100:], PSH | ACK)]
    return [
        frame
        for at, (sequence, part, flags) in enumerate(parts)
        for frame in SEGMENT_CASES[name](
            tcp(part, 30_000 + first, sequence=1_000 + sequence, flags=flags), 3 * first + at
        )
    ]
