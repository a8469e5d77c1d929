"""Filters for the kernel: what they let through, asked of libpcap's interpreter."""

from __future__ import annotations

import socket
import struct

import cypcap  # type: ignore[import-untyped]  # it ships no types
import pytest

from sipcap.errors import CannotStart
from sipcap.sources.kernel_filter import (
    MAX_INSTRUCTIONS,
    NOTHING,
    Program,
    attach,
    cooked,
    everything,
    or_llc,
    share_of_flows,
)
from sipcap.sources.port_filter import port_expression
from tests.support.layered import CASES
from tests.support.messages import sip_message
from tests.support.packets import ethernet, extension, fragment6, ip4, ip6, udp

PORTS = [range(5060, 5063), range(5080, 5081)]
ETHERNET, RAW, COOKED = 1, 12, 113
SIP = udp(b"x" * 40, 5061, 9)
RTP = udp(b"x" * 40, 20_000, 20_002)
TCP = struct.pack(">HH16x", 9, 5080)


def compiled(expression: str, link: int = ETHERNET) -> Program:
    """A filter as libpcap makes it of its text."""
    code = cypcap.compile(link, 262_144, expression, True, cypcap.NETMASK_UNKNOWN)
    return [tuple(each) for each in code]


def runs(program: Program, data: bytes) -> bool:
    """Whether a program lets bytes through."""
    header = cypcap.Pkthdr(ts=0.0, caplen=len(data), len=len(data))
    return bool(cypcap.BpfProgram(program).offline_filter(header, data))


PASSES = {
    "source port": ip4(SIP),
    "destination port": ip4(udp(b"", 9, 5080)),
    "last of a range": ip4(udp(b"", 9, 5062)),
    "IPv6": ip6(SIP),
    "TCP": ip4(TCP, 6),
    "TCP over IPv6": ip6(TCP, 6),
    "SCTP": ip4(TCP, 132),
    "IPv4 options": ip4(SIP, options=b"\1" * 8),
    "first fragment": ip4(SIP, fragment=0x2000),
    "later fragment": ip4(b"x" * 40, fragment=0x2005),
    "last fragment": ip4(b"x" * 40, fragment=0x0005),
    "fragment of IPv6": ip6(fragment6(17, 1_232) + b"x" * 40, 44),
    "extension header": ip6(extension(17) + SIP, 60),
    "IP in IP": ip4(ip4(SIP), 4),
    "IPv6 in IP": ip4(ip6(SIP), 41),
    "IP in IPv6": ip6(ip4(SIP), 4),
    "GRE": ip4(b"\0\0\x08\0" + ip4(SIP), 47),
    "VXLAN": ip4(udp(b"\x08\0\0\0\0\0\1\0" + ethernet(ip4(SIP)), 40_000, 4789)),
    "UDP-Lite": ip4(SIP, 136),
    "authentication header": ip4(b"\x11\x04" + b"\0" * 22 + SIP, 51),
    "GENEVE": ip6(udp(b"x" * 60, 40_000, 6081)),
    "TZSP": ip4(udp(b"x" * 60, 40_000, 37_008)),
}
STAYS = {
    "RTP": ip4(RTP),
    "RTP over IPv6": ip6(RTP),
    "port before the range": ip4(udp(b"", 9, 5059)),
    "port behind the range": ip4(udp(b"", 9, 5063)),
    "ICMP": ip4(b"\x08\0\0\0" + b"\x13\xc4" * 8, 1),
    "other TCP": ip4(struct.pack(">HH16x", 443, 9), 6),
}
EITHER = [(name, True, packet) for name, packet in PASSES.items()] + [
    (name, False, packet) for name, packet in STAYS.items()
]
ALL = pytest.mark.parametrize(("passes", "packet"), [case[1:] for case in EITHER], ids=[case[0] for case in EITHER])


@ALL
@pytest.mark.parametrize("vlans", [(), (5,), (5, 6)])
def test_port_expression_on_ethernet(passes: bool, packet: bytes, vlans: tuple[int, ...]) -> None:
    """What may hold SIP of the ports passes, with any tags; everything else stays in the kernel."""
    program = compiled(port_expression(PORTS, ethernet=True, tags=True))
    assert runs(program, ethernet(packet, vlans=vlans)) == passes
    assert len(program) < MAX_INSTRUCTIONS


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.link == ETHERNET])
def test_port_expression_lets_through_all_that_can_be_decoded(name: str) -> None:
    """No layer that is looked through later is held back by the kernel."""
    program = or_llc(compiled(port_expression(PORTS, ethernet=True, tags=True)), is_cooked=False)
    assert all(runs(program, frame) for frame in CASES[name].frames(sip_message(1)))


@ALL
def test_port_expression_without_link_header(passes: bool, packet: bytes) -> None:
    """A tunnel interface shows IP packets."""
    assert runs(compiled(port_expression(PORTS, ethernet=False, tags=False), RAW), packet) == passes


@pytest.mark.parametrize("ether_type", [0x8847, 0x8848, 0x8864])
def test_port_expression_lets_mpls_and_pppoe_through(ether_type: int) -> None:
    """What is in them is looked at later."""
    program = compiled(port_expression(PORTS, ethernet=True, tags=True))
    assert runs(program, ethernet(ip4(RTP), ether_type=ether_type))


@ALL
def test_cooked_program_finds_ip_at_the_beginning(passes: bool, packet: bytes) -> None:
    """The filter of a cooked capture works where the kernel shows the packet only, and knows its protocol itself."""
    program = cooked(compiled(port_expression(PORTS, ethernet=True, tags=False), COOKED))
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    told = [(0x00, 0, 0, kind) if where == 0xFFFF_F000 else (code, jt, jf, where) for code, jt, jf, where in program]
    assert told != program
    assert runs(told, packet) == passes


def test_cooked_program_cannot_look_at_the_sender_of_a_frame() -> None:
    """Such a filter is refused by name, not taken for one that matches nothing."""
    with pytest.raises(CannotStart, match="--iface"):
        cooked(compiled("link[6:4] = 5", COOKED))


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("version", [4, 6])
def test_share_of_flows_gives_each_flow_to_one(number: int, outer: bool, version: int) -> None:
    """Both directions and every fragment between two addresses go to one share; every share gets some."""
    taken = set()
    shares = [share_of_flows(each, number, outer_header=outer, inner_version=version) for each in range(number)]
    for host in range(1, 60):
        names = (f"192.0.2.{host}", "198.51.100.7") if version == 4 else (f"2001:db8::{host:x}", "2001:db8::ffff")
        make = ip4 if version == 4 else ip6
        packets = [make(SIP, source=a, destination=b) for a, b in (names, names[::-1])]
        packets = [ip4(packet, 4, options=b"\1" * 4) if outer else packet for packet in packets]
        owners = [[index for index, share in enumerate(shares) if runs(share, packet)] for packet in packets]
        assert owners[0] == owners[1]
        assert len(owners[0]) == 1
        taken.add(owners[0][0])
    assert taken == set(range(number))


def test_attach_refuses_what_the_kernel_would_not_take() -> None:
    """A filter that is too long is said to be so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        attach(bound, NOTHING)
        with pytest.raises(CannotStart, match="too long"):
            attach(bound, everything() * (MAX_INSTRUCTIONS + 1))
