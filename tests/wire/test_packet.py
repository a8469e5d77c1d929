"""Captured frames to UDP datagrams."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import MAX_LAYERS
from sipcap.wire.ip import MAX_EXTENSION_HEADERS, PROTOCOL_REASONS, UDP
from sipcap.wire.layer2 import MAX_LABELS, MAX_VLAN_TAGS
from sipcap.wire.link import LINK_TYPES
from sipcap.wire.packet import Datagram, decode_udp, decode_usual, message_of
from sipcap.wire.unwrap import Unwrapper
from tests.support import packets as p
from tests.support.layered import CASES

PAYLOAD = b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"
CUT_REASONS = ("short", "udp_length", "fragment_length", "ip_length")
Frame = Callable[[bytes], bytes]

FRAMES: dict[str, tuple[int, Frame]] = {
    "ethernet": (p.ETHERNET, p.ethernet),
    "vlan": (p.ETHERNET, lambda packet: p.ethernet(packet, vlans=(100,))),
    "qinq": (p.ETHERNET, lambda packet: p.ethernet(packet, vlans=(7, 100))),
    "cooked v1": (p.COOKED1, p.cooked1),
    "cooked v1 with vlan": (p.COOKED1, lambda packet: p.cooked1(packet, vlan=100)),
    "cooked v2": (p.COOKED2, p.cooked2),
    "cooked v2 with vlan": (p.COOKED2, lambda packet: p.cooked2(packet, vlan=100)),
    "raw": (p.RAW, bytes),
    "raw, libpcap's number": (12, bytes),
    "raw IPv4": (228, bytes),
    "raw IPv6": (229, bytes),
    "bsd loopback": (p.NULL, p.loopback),
    "openbsd loopback": (p.LOOP, p.loopback),
}
PACKETS: dict[str, bytes] = {
    "IPv4": p.ip4(p.udp(PAYLOAD), tos=0x68),
    "IPv4 with options": p.ip4(p.udp(PAYLOAD), tos=0x68, options=b"\x94\x04\0\0"),
    "IPv4, do not fragment": p.ip4(p.udp(PAYLOAD), tos=0x68, fragment=0x4000),
    "IPv4 left to the card": p.ip4(p.udp(PAYLOAD), tos=0x68, total=0),
    "IPv4 in IPv4": p.ip4(p.ip4(p.udp(PAYLOAD), tos=0x68), 4, source="203.0.113.9"),
    "IPv4 in IPv6": p.ip6(p.ip4(p.udp(PAYLOAD), tos=0x68), 4),
    "IPv6": p.ip6(p.udp(PAYLOAD), tos=0x68),
    "IPv6 with extensions": p.ip6(p.extension(60) + p.extension(17, b"\0" * 14) + p.udp(PAYLOAD), 0, tos=0x68),
    "IPv6 with authentication": p.ip6(b"\x11\x04" + b"\0" * 22 + p.udp(PAYLOAD), 51, tos=0x68),
    "IPv6, atomic fragment": p.ip6(p.fragment6(17) + p.udp(PAYLOAD), 44, tos=0x68),
    "IPv6 in IPv4": p.ip4(p.ip6(p.udp(PAYLOAD), tos=0x68), 41),
    "UDP without length": p.ip6(p.udp(PAYLOAD, length=0), tos=0x68),
    "UDP longer than its packet": p.ip4(p.udp(PAYLOAD, length=9_000), tos=0x68),
}


def decoded(frame: bytes, link: int = p.ETHERNET) -> Datagram:
    """The datagram of a frame."""
    kind = LINK_TYPES[link]
    offset = kind.header_bytes(frame)
    usual = decode_usual(frame, offset)
    carried = Unwrapper().frame(frame, offset, kind, 1)
    if carried is None or carried.protocol != UDP:
        raise DecodeError("fragment" if carried is None else PROTOCOL_REASONS.get(carried.protocol, "protocol"))
    datagram = decode_udp(carried)
    if usual is not None:  # both ways give the same
        assert (usual.payload, usual.source, usual.source_port, usual.header, usual.tos, usual.missing) == (
            datagram.payload, datagram.source, datagram.source_port, datagram.header, datagram.tos, datagram.missing,
        )  # fmt: skip
    return datagram


def reason(frame: bytes, link: int = p.ETHERNET) -> str:
    """Why there is no datagram in a frame."""
    with pytest.raises(DecodeError) as caught:
        decoded(frame, link)
    return caught.value.reason


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("packet", PACKETS)
def test_decoding_of_every_layer_gives_payload_and_addresses(frame: str, packet: str) -> None:
    """Whatever link layer and IP header come before it, the datagram is the same."""
    link, build = FRAMES[frame]
    is_ip6 = packet.startswith(("IPv6", "UDP without"))
    message = message_of(decoded(build(PACKETS[packet]), link), LINK_TYPES[link], 17)
    assert message.payload == PAYLOAD
    assert (message.source_ip, message.destination_ip) == (
        (p.SOURCE6, p.DESTINATION6) if is_ip6 else (p.SOURCE, p.DESTINATION)
    )
    assert (message.source_port, message.destination_port) == (5060, 5062)
    assert (message.ts_us, message.ip_protocol, message.family) == (17, 17, 10 if is_ip6 else 2)
    assert message.extra is not None
    assert message.extra["tos"] == 0x68


@pytest.mark.parametrize(
    ("frame", "fields"),
    [
        ("ethernet", {"source_mac": "02:00:00:00:00:01", "destination_mac": "02:00:00:00:00:02"}),
        ("vlan", {"vlan": 100, "source_mac": "02:00:00:00:00:01", "destination_mac": "02:00:00:00:00:02"}),
        ("qinq", {"vlan": 100, "source_mac": "02:00:00:00:00:01", "destination_mac": "02:00:00:00:00:02"}),
        ("cooked v1", {"source_mac": "02:00:00:00:00:01"}),
        ("cooked v1 with vlan", {"vlan": 100, "source_mac": "02:00:00:00:00:01"}),
        ("cooked v2", {"source_mac": "02:00:00:00:00:01"}),
        ("cooked v2 with vlan", {"vlan": 100, "source_mac": "02:00:00:00:00:01"}),
        ("raw", {}),
        ("bsd loopback", {}),
    ],
)
def test_message_of_keeps_what_the_link_layer_says(frame: str, fields: dict[str, object]) -> None:
    """VLAN id (of two tags the inner one's) and MAC addresses are in the envelope, where there are any."""
    link, build = FRAMES[frame]
    message = message_of(decoded(build(p.ip4(p.udp(PAYLOAD))), link), LINK_TYPES[link], 1)
    assert message.extra == {**fields, "tos": 0}


def test_message_of_gives_each_message_fields_of_its_own() -> None:
    """Changing one message's envelope leaves the next one of the same flow alone."""
    datagram = decoded(p.ethernet(p.ip4(p.udp(PAYLOAD))))
    first = message_of(datagram, LINK_TYPES[p.ETHERNET], 1)
    assert first.extra is not None
    first.extra["vlan"] = 3
    second = message_of(datagram, LINK_TYPES[p.ETHERNET], 1)
    assert second.extra is not None
    assert "vlan" not in second.extra


def test_a_priority_tag_is_no_vlan() -> None:
    """A tag with id 0 only carries a priority."""
    datagram = decoded(p.ethernet(p.ip4(p.udp(PAYLOAD)), vlans=(0,)))
    extra = message_of(datagram, LINK_TYPES[p.ETHERNET], 1).extra
    assert extra is not None
    assert "vlan" not in extra


def test_decoding_of_logical_link_control_knows_the_service_of_ip() -> None:
    """Before SNAP, IP had a service access point of its own."""
    packet = b"\x06\x06\x03" + p.ip4(p.udp(PAYLOAD))
    assert decoded(p.ethernet(packet, ether_type=len(packet))).payload == PAYLOAD


@pytest.mark.parametrize("packet", PACKETS)
def test_decoding_leaves_out_ethernet_padding(packet: str) -> None:
    """Bytes behind the datagram are no part of the payload."""
    assert decoded(p.ethernet(PACKETS[packet]) + b"\0" * 18).payload == PAYLOAD


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("packet", PACKETS)
def test_decoding_cut_anywhere_is_short_or_says_what_is_missing(frame: str, packet: str) -> None:
    """A frame cut at any offset gives a reason, or the beginning of the payload and how much of it is gone."""
    link, build = FRAMES[frame]
    whole = build(PACKETS[packet])
    for size in range(len(whole)):
        try:
            datagram = decoded(whole[:size], link)
        except DecodeError as error:
            assert error.reason in ("short", "udp_length")
            continue
        assert PAYLOAD.startswith(datagram.payload)
        if "card" not in packet:
            assert len(datagram.payload) + datagram.missing == len(PAYLOAD)


@pytest.mark.parametrize("name", CASES)
def test_decoding_of_every_layer_cut_anywhere_gives_the_beginning_or_a_reason(name: str) -> None:
    """Each frame of each layer, cut at any offset, gives nothing that was not there."""
    case = CASES[name]
    link = LINK_TYPES[case.link]
    for frame in case.frames(PAYLOAD + b"x" * 100):
        for size in range(len(frame)):
            try:
                offset = link.header_bytes(frame[:size])
                carried = Unwrapper().frame(frame[:size], offset, link, 1)
            except DecodeError as error:
                assert error.reason in CUT_REASONS, (size, error.reason)
                continue
            if carried is not None:
                assert carried.data in frame


@given(link=st.sampled_from(sorted(LINK_TYPES)), data=st.binary(max_size=200))
def test_decoding_of_any_bytes_gives_a_datagram_or_a_reason(link: int, data: bytes) -> None:
    """No bytes make the decoder fail in any other way."""
    try:
        datagram = decoded(data, link)
    except DecodeError as error:
        assert error.reason.replace("_", "").isalnum()
        return
    message_of(datagram, LINK_TYPES[link], 1)
    assert datagram.missing >= 0


@given(
    st.sampled_from(sorted(FRAMES)),
    st.sampled_from(sorted(PACKETS)),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=6),
)
def test_decoding_of_a_damaged_frame_gives_a_datagram_or_a_reason(
    frame: str, packet: str, damage: list[tuple[int, int]]
) -> None:
    """Wrong bytes in the headers of a real frame do no harm either."""
    link, build = FRAMES[frame]
    data = bytearray(build(PACKETS[packet]))
    for offset, value in damage:
        if offset < len(data):
            data[offset] = value
    try:
        datagram = decoded(bytes(data), link)
    except DecodeError:
        return
    message_of(datagram, LINK_TYPES[link], 1)
    assert len(datagram.payload) <= len(data)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (p.ethernet(b"", ether_type=0x0806), "arp"),
        (p.ethernet(b"", ether_type=0x8863), "pppoe"),
        (p.ethernet(b"\x12\0" + bytes(6), ether_type=p.PPPOE_TYPE), "pppoe"),
        (p.ethernet(b"\x11\0" + bytes(4) + b"\xc0\x21", ether_type=p.PPPOE_TYPE), "ppp"),
        (p.ethernet(p.mpls(b"\x10" + bytes(40)), ether_type=p.MPLS_TYPE), "mpls"),
        (p.ethernet(bytes(4 * (MAX_LABELS + 1)), ether_type=p.MPLS_TYPE), "mpls"),
        (p.ethernet(b"", ether_type=p.MPLS_TYPE), "short"),
        (p.ethernet(b"\x42\x42\x03" + bytes(43), ether_type=38), "not_ip"),
        (p.ethernet(b"\xaa\xaa\x03\0\0\x0c\x20\0" + bytes(38), ether_type=46), "not_ip"),
        (p.ethernet(p.ip4(b"", 6)), "tcp"),
        (p.ethernet(p.ip4(b"", 132)), "sctp"),
        (p.ethernet(p.ip4(b"", 1)), "icmp"),
        (p.ethernet(p.ip6(b"", 58)), "icmp"),
        (p.ethernet(p.ip4(b"", 47)), "short"),
        (p.ethernet(p.ip4(p.gre(b"", 0), 47)), "short"),
        (p.ethernet(p.ip4(p.gre(b"\0" * 40, 0x88DC), 47)), "not_ip"),
        (p.ethernet(p.ip4(p.gre(b"", p.IP4_TYPE, version=1, key=1), 47)), "gre"),
        (p.ethernet(p.ip4(p.gre(b"", p.IP4_TYPE, version=2), 47)), "gre"),
        (p.ethernet(p.ip4(p.gre(b"", p.PPP_TYPE, version=1, key=1, acknowledgement=1), 47)), "gre"),
        (p.ethernet(p.ip4(p.gre(b"", p.IP4_TYPE, routing=b"\x08\0\0\0" * 16), 47)), "gre"),
        (p.ethernet(p.ip4(p.gre(b"\x30" + bytes(60), p.ERSPAN2_TYPE, sequence=1), 47)), "erspan"),
        (p.ethernet(p.ip4(p.gre(p.erspan3(b"", frame_type=1), p.ERSPAN3_TYPE, sequence=1), 47)), "erspan"),
        (p.ethernet(p.ip4(p.gre(p.erspan2(p.ethernet(b"", ether_type=0x806)), p.ERSPAN2_TYPE, sequence=1), 47)), "arp"),
        (p.ethernet(p.ip4(b"\x40\0" + bytes(60), 97)), "etherip"),
        (p.ethernet(p.ip6(b"", 50)), "esp"),
        (p.ethernet(p.ip6(b"", 59)), "no_payload"),
        (p.ethernet(p.ip4(b"", 200)), "protocol"),
        (p.ethernet(p.ip4(p.udp(PAYLOAD), fragment=3)), "fragment"),
        (p.ethernet(p.ip4(b"1", 6, fragment=3)), "fragment"),
        (p.ethernet(p.ip4(b"", 6, fragment=3)), "fragment_length"),
        (p.ethernet(p.ip6(p.fragment6(17, 1480) + PAYLOAD, 44)), "fragment"),
        (p.ethernet(b"\x50" + b"\0" * 40, ether_type=0x0800), "ip_version"),
        (p.ethernet(b"\x41" + p.ip4(p.udp(PAYLOAD))[1:]), "ip_length"),
        (p.ethernet(p.ip4(p.udp(PAYLOAD), total=19)), "ip_length"),
        (p.ethernet(p.ip4(b"\0\0\0\0")), "udp_length"),
        (p.ethernet(p.ip4(p.udp(PAYLOAD, length=7))), "udp_length"),
        (p.ethernet(p.ip4(p.udp(PAYLOAD)), vlans=(1,) * (MAX_VLAN_TAGS + 1)), "vlan"),
    ],
)
def test_decoding_names_what_is_no_datagram(frame: bytes, expected: str) -> None:
    """Each kind of packet without a UDP datagram has its own reason."""
    assert reason(frame) == expected


def test_decoding_bounds_extension_headers_and_nesting() -> None:
    """A chain of headers that never ends is refused, in IP, on the link and in tunnels."""
    headers = p.extension(60) * (MAX_EXTENSION_HEADERS - 1) + p.extension(17)
    assert decoded(p.ip6(headers + p.udp(PAYLOAD), 60), p.RAW).payload == PAYLOAD
    headers = p.extension(60) * (MAX_EXTENSION_HEADERS + 1)
    assert reason(p.ip6(headers + p.udp(PAYLOAD), 60), p.RAW) == "extension"
    nested = tunnelled = p.ip4(p.udp(PAYLOAD))
    for _ in range(MAX_LAYERS - 1):
        nested, tunnelled = p.ip4(nested, 4), p.ip4(p.gre(p.ethernet(tunnelled), p.BRIDGED_TYPE), 47)
    assert decoded(nested, p.RAW).payload == decoded(tunnelled, p.RAW).payload == PAYLOAD
    assert reason(p.ip4(nested, 4), p.RAW) == "nested"
    assert reason(p.ip4(p.gre(p.ethernet(tunnelled), p.BRIDGED_TYPE), 47), p.RAW) == "nested"
    frame = p.ethernet(p.ip4(p.udp(PAYLOAD)))
    for _ in range(12):
        frame = p.ethernet(p.mpls(frame), ether_type=p.MPLS_TYPE)
    assert reason(frame) == "nested"


@pytest.mark.parametrize("vlans", [(), (100,), (7, 100)])
def test_message_of_keeps_the_vlan_of_the_frame_around_a_tunnel(vlans: tuple[int, ...]) -> None:
    """VLAN and MACs are the outermost frame's, whatever MPLS, PPPoE and tunnels hold; TOS is the innermost packet's."""
    inner = p.ethernet(p.ip4(p.udp(PAYLOAD), tos=0x68), vlans=(5,))
    macs = {"source_mac": "02:00:00:00:00:01", "destination_mac": "02:00:00:00:00:02"}
    for frame in (
        p.ethernet(p.ip4(p.gre(inner, p.BRIDGED_TYPE), 47, tos=1), vlans=vlans),
        p.ethernet(p.mpls(inner), vlans=vlans, ether_type=p.MPLS_TYPE),
        p.ethernet(p.pppoe(p.ip4(p.udp(PAYLOAD), tos=0x68)), vlans=vlans, ether_type=p.PPPOE_TYPE),
    ):
        extra = message_of(decoded(frame), LINK_TYPES[p.ETHERNET], 1).extra
        assert extra == ({"vlan": 100} if vlans else {}) | macs | {"tos": 0x68}


def test_decoding_of_an_ip_packet_with_a_tail_follows_udp() -> None:
    """Where UDP is shorter than its IP packet, UDP decides."""
    assert decoded(p.ip4(p.udp(PAYLOAD) + b"tail"), p.RAW).payload == PAYLOAD
