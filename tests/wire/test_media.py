"""Which call a report belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import MAX_MEDIA_PLACES, MAX_NOTED_SDP_BYTES, MAX_SDP_MEDIA
from sipcap.wire.media import MediaMap, call_id_of
from sipcap.wire.media_reports import MediaReports
from sipcap.wire.message import Message
from sipcap.wire.rtcp import decode_rtcp
from sipcap.wire.sdp import read_media
from tests.support import rtcp as r
from tests.support.messages import sip

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


def invite(body: bytes, callid: str = "call-1") -> bytes:
    """A SIP message with an SDP."""
    return sip(headers={"Call-ID": callid}, body=body)


def rtcp(source: tuple[str, int], destination: tuple[str, int], data: bytes = b"") -> Message:
    """A datagram of RTCP."""
    return Message(data or r.receiver_report(2, [r.block(9)]), 1, *source, *destination)


@pytest.mark.parametrize(
    ("lines", "places"),
    [
        (b"m=audio 4000 RTP/AVP 0\r\n", [("192.0.2.1", 4000), ("192.0.2.1", 4001)]),
        (b"m=audio 4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.9\r\n",
         [("192.0.2.1", 4000), ("192.0.2.1", 4001), ("10.0.0.9", 4000), ("10.0.0.9", 4001)]),
        (b"m=audio 4000 RTP/AVP 0\r\na=rtcp:53020\r\n",
         [("192.0.2.1", 4000), ("192.0.2.1", 4001), ("192.0.2.1", 53020)]),
        (b"m=audio 4000 RTP/SAVPF 0\r\na=rtcp:53020 IN IP6 2001:DB8::1\r\n",
         [("192.0.2.1", 4000), ("192.0.2.1", 4001), ("2001:db8::1", 53020)]),
        (b"m=audio 0 RTP/AVP 0\r\nm=video 6000 UDP/TLS/RTP/SAVPF 96\r\n", [("192.0.2.1", 6000), ("192.0.2.1", 6001)]),
        (b"m=image 4000 udptl t38\r\n", []),
        (b"m=audio 99999 RTP/AVP 0\r\n", []),
    ],
)  # fmt: skip
def test_sdp_tells_where_rtcp_goes(lines: bytes, places: list[tuple[str, int]]) -> None:
    """By stream and session address, the next port, and a=rtcp."""
    assert read_media(invite(SDP + lines)).places == places


def test_sdp_with_many_streams_is_bounded() -> None:
    """A hostile SDP gives so many addresses and SSRCs, and no more."""
    lines = b"".join(b"m=audio %d RTP/AVP 0\r\na=ssrc:%d x\r\n" % (port, port) for port in range(1_000, 1_400, 2))
    media = read_media(invite(SDP + lines))
    assert (len(media.places), len(media.ssrcs)) == (MAX_SDP_MEDIA, MAX_SDP_MEDIA)


@given(st.binary(max_size=200))
def test_any_bytes_are_read(data: bytes) -> None:
    """Nothing in an SDP does harm."""
    media = read_media(invite(SDP + data))
    assert all(0 < port < 65_536 for _, port in media.places)
    MediaMap().learn(data)


def test_report_belongs_to_the_call_whose_sdp_names_an_end() -> None:
    """Whichever end it is."""
    media = MediaMap()
    media.learn(invite(SDP + b"m=audio 4000 RTP/AVP 0\r\n"))
    values = decode_rtcp(r.receiver_report())
    assert media.call_of(rtcp(("192.0.2.1", 4001), ("198.51.100.1", 9)), values) == "call-1"
    assert media.call_of(rtcp(("203.0.113.1", 5), ("192.0.2.1", 4001)), values) == "call-1"
    assert media.call_of(rtcp(("203.0.113.2", 5), ("203.0.113.3", 5)), values) is None


def test_report_through_a_nat_is_found_by_what_was_learned() -> None:
    """Once one end was seen with a known one, it is known by itself."""
    media = MediaMap()
    media.learn(invite(SDP + b"m=audio 4000 RTP/AVP 0\r\n"))
    values = decode_rtcp(r.receiver_report())
    nat, relay = ("203.0.113.7", 61_000), ("198.51.100.1", 20_001)
    assert media.call_of(rtcp(nat, ("192.0.2.1", 4001)), values) == "call-1"
    assert media.call_of(rtcp(nat, relay), values) == "call-1"


def test_report_is_found_by_an_ssrc_that_an_sdp_names() -> None:
    """WebRTC names its sources, and its addresses come from ICE."""
    media = MediaMap()
    media.learn(invite(SDP + b"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ssrc:9 cname:x\r\n"))
    nowhere = ("203.0.113.2", 5), ("203.0.113.3", 5)
    assert media.call_of(rtcp(*nowhere), decode_rtcp(r.receiver_report(2, [r.block(9)]))) == "call-1"
    assert MediaMap().call_of(rtcp(*nowhere), decode_rtcp(r.receiver_report(2, [r.block(9)]))) is None


def test_port_that_is_used_again_belongs_to_the_later_call() -> None:
    """What an SDP says beats what packets have shown, and later beats earlier."""
    media = MediaMap()
    media.learn(invite(SDP + b"m=audio 4000 RTP/AVP 0\r\n", "first"))
    values = decode_rtcp(r.receiver_report())
    way = ("203.0.113.7", 1), ("192.0.2.1", 4001)
    assert media.call_of(rtcp(*way), values) == "first"
    media.learn(invite(SDP + b"m=audio 4000 RTP/AVP 0\r\n", "second"))
    assert media.call_of(rtcp(*way), values) == "second"


def test_messages_that_nobody_asks_about_are_bounded() -> None:
    """Without RTCP the latest are kept; with it, none is forgotten unread."""
    media = MediaMap()
    long = SDP + b"m=audio 6000 RTP/AVP 0\r\n" + b"a=x\r\n" * 10_000
    media.note(invite(SDP + b"m=audio 4000 RTP/AVP 0\r\n", "old"))
    for _ in range(MAX_NOTED_SDP_BYTES // len(long) + 2):
        media.note(invite(long, "new"))
    assert media._noted_bytes <= MAX_NOTED_SDP_BYTES
    assert not media.knows(rtcp(("192.0.2.1", 4001), ("", 0)))
    media.note(invite(SDP + b"m=audio 4000 RTP/AVP 0\r\n", "old"))
    for _ in range(MAX_NOTED_SDP_BYTES // len(long) + 2):
        media.note(invite(long, "new"))
    assert media.knows(rtcp(("192.0.2.1", 4001), ("", 0)))


def test_media_of_a_flood_of_calls_is_bounded() -> None:
    """The longest unused are forgotten."""
    media = MediaMap()
    for number in range(MAX_MEDIA_PLACES):
        media._put(("192.0.2.1", number), "x", is_told=True)
    media.learn(invite(SDP + b"m=audio 4000 RTP/AVP 0\r\n"))
    assert len(media) == MAX_MEDIA_PLACES
    assert media.knows(rtcp(("192.0.2.1", 4001), ("", 0)))


def test_reports_meet_what_stands_before_them_in_the_same_batch() -> None:
    """A message, then its report; a report before any message has no call."""
    reports = MediaReports()
    early, late = rtcp(("192.0.2.1", 4001), ("", 0)), rtcp(("192.0.2.1", 4001), ("", 0))
    assert reports.report(early)
    assert reports.report(late)
    reports.relate([early, Message(invite(SDP + b"m=audio 4000 RTP/AVP 0\r\n")), late])
    assert (early.correlation_id, late.correlation_id) == (None, "call-1")
    assert (late.payload_type, late.payload[:1]) == (5, b"{")


def test_report_that_nobody_wants_leaves_its_call_to_no_other() -> None:
    """A message that comes to lie where another has been keeps its own correlation id."""
    reports = MediaReports()
    reports.media.learn(sip(body=b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n"))
    for _ in range(20):
        assert reports.report(Message(r.sender_report(), 1, "10.0.0.1", 4001, "10.0.0.2", 4001))
        others = [Message(b"{}", 1, payload_type=5, correlation_id="own") for _ in range(20)]
        reports.relate(others)
        assert {other.correlation_id for other in others} == {"own"}


def test_encrypted_report_of_a_call_is_told_from_other_packets() -> None:
    """SRTCP between ends of a call is named; elsewhere nobody knows what it is."""
    reports = MediaReports()
    srtcp = r.receiver_report()[:8] + b"\x93" * 30
    assert not reports.report(rtcp(("192.0.2.1", 4001), ("", 0), srtcp))
    reports.relate([Message(invite(SDP + b"m=audio 4000 RTP/AVP 0\r\n"))])
    with pytest.raises(DecodeError, match=r"^srtcp$"):
        reports.report(rtcp(("192.0.2.1", 4001), ("", 0), srtcp))


@pytest.mark.parametrize(
    ("head", "callid"),
    [
        (b"x\r\nCall-ID: a@b\r\n\r\n", "a@b"),
        (b"x\r\ni :a\r\n\r\nCall-ID: b", "a"),
        (b"x\r\n\r\nCall-ID: b", ""),
        (b"", ""),
    ],
)
def test_call_id_is_found_in_the_head(head: bytes, callid: str) -> None:
    """In its short form too, and nowhere else."""
    assert call_id_of(head) == callid
