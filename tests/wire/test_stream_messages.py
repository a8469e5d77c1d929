"""TCP segments to messages: what connections carry, and when their messages come."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.limits import TCP_LOOK_BYTES, TCP_LOOK_MIDSTREAM_BYTES
from sipcap.wire.hep_encode import encode_hep
from sipcap.wire.message import Message
from sipcap.wire.stream_messages import StreamMessages
from sipcap.wire.tcp import Segment
from tests.support.packets import DESTINATION, DESTINATION6, SOURCE, SOURCE6
from tests.support.tcp import (
    ACK,
    CLIENT_PORT,
    FIRST_US,
    MASK,
    PING,
    SERVER_PORT,
    SWITCHED,
    SYN,
    TLS_DATA,
    TLS_HELLO,
    UPGRADE,
    Side,
    Talk,
    cut,
    single_bytes,
    ws_deflated,
    ws_fragments,
    ws_frame,
)


def sip(number: int, method: str = "INVITE", body: bytes = b"v=0\r\n") -> bytes:
    """A request."""
    head = f"{method} sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK{number}\r\nCall-ID: {number}@h\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def reply(number: int) -> bytes:
    """A reply."""
    return b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h\r\nCall-ID: %d@h\r\nl: 0\r\n\r\n" % number


A, B, C = sip(1), sip(2, "MESSAGE", b"no line end"), sip(3, "BYE", b"")
R, S = reply(1), reply(2)
PROXY = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 5060\r\n"


class Streams(StreamMessages):
    """Takes many segments, and writes down all counters as they are at the end."""

    def all(self, segments: Iterable[Segment]) -> list[Message]:
        """The messages of these segments and of the end."""
        messages: list[Message] = []
        for segment in segments:
            messages += self.receive(segment)
        return messages + self.finish()

    @property
    def counts(self) -> dict[str, int]:
        """Everything that is not zero."""
        return {**+self.skipped, **+self.rejected, **+self.filtered}


def seen(segments: Iterable[Segment]) -> tuple[list[bytes], dict[str, int]]:
    """Payloads and counters."""
    streams = Streams()
    messages = streams.all(segments)
    assert streams.held == 0
    return [each.payload for each in messages], streams.counts


CONNECTIONS: dict[str, tuple[Talk, list[bytes], dict[str, int]]] = {
    "a call": (Talk().open().ask(A).answer(R).ask(C).answer(S).close(), [A, R, C, S], {}),
    "in pieces": (Talk().open().ask(*cut(A + B, 1, 20, 90, 180)).answer(*single_bytes(R)).close(), [A, B, R], {}),
    "several in a segment": (Talk().open().ask(A + B + b"\r\n\r\n" + C).answer(R + S).close(), [A, B, C, R, S], {}),
    "keep-alives": (
        Talk().open().ask(b"\r\n\r\n").answer(b"\r\n").ask(A).answer(R).ask(b"\r\n\r\n").close(),
        [A, R],
        {},
    ),
    "the server speaks first": (Talk().open().answer(A).ask(R).close(), [A, R], {}),
    "one direction only": (Talk().open().ask(A, B, C).close(), [A, B, C], {}),
    "behind a PROXY header": (Talk().open().ask(PROXY + A, B).answer(R).close(), [A, B, R], {}),
    "behind a PROXY header of its own": (Talk().open().ask(PROXY, A).answer(R).close(), [A, R], {}),
    "reset": (Talk().open().ask(A).answer(R[:-2]).reset(), [A], {"incomplete": 1}),
    "cut by the end of the capture": (Talk().open().ask(A, B[:-2]), [A, B[:-2]], {}),
    "start line cut by the end": (Talk().open().ask(A[:12]), [], {"incomplete": 1}),
    "websocket": (
        Talk()
        .open()
        .ask(UPGRADE)
        .answer(SWITCHED)
        .ask(ws_frame(A, mask=MASK))
        .answer(ws_frame(R) + ws_frame(S))
        .close(),
        [A, R, S],
        {},
    ),
    "websocket, frames right behind the heads": (
        Talk()
        .open()
        .ask(*cut(UPGRADE, 9))
        .answer(SWITCHED[:30], SWITCHED[30:] + ws_frame(R)[:9], ws_frame(R)[9:])
        .close(),
        [R],
        {},
    ),
    "websocket, fragments, ping, keep-alive": (
        Talk()
        .open()
        .ask(UPGRADE)
        .answer(SWITCHED)
        .ask(*ws_fragments(A, [9, 90], mask=MASK), ws_frame(b"", PING, mask=MASK), ws_frame(b"\r\n\r\n", mask=MASK))
        .close(),
        [A],
        {},
    ),
    "websocket, deflated": (
        Talk().open().ask(UPGRADE).answer(SWITCHED).answer(*ws_deflated([R, A, R])).close(),
        [R, A, R],
        {},
    ),
    "websocket refused": (Talk().open().ask(UPGRADE).answer(b"HTTP/1.1 403 No\r\n\r\n").close(), [], {"tcp": 1}),
    "websocket of others": (
        Talk().open().ask(UPGRADE).answer(SWITCHED).ask(*[ws_frame(b'{"a":1}', mask=MASK)] * 20).close(),
        [],
        {"tcp": 1, "websocket": 8},
    ),
    "TLS": (Talk().open().ask(TLS_HELLO).answer(TLS_DATA).ask(*[TLS_DATA] * 50).close(), [], {"tls": 1}),
    "TLS hello in pieces": (Talk().open().ask(*cut(TLS_HELLO, 1, 3)).answer(TLS_DATA).close(), [], {"tls": 1}),
    "HTTP": (
        Talk()
        .open()
        .ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        .answer(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 9_000)
        .close(),
        [],
        {"tcp": 1},
    ),
    "SSH": (
        Talk().open().answer(b"SSH-2.0-x\r\n").ask(b"SSH-2.0-y\r\n", bytes(range(256)) * 40).close(),
        [],
        {"tcp": 1},
    ),
    "nothing": (Talk().open().close(), [], {}),
    "a few bytes": (Talk().open().ask(b"hi").close(), [], {"tcp": 1}),
    "picked up": (Talk().ask(A, B).answer(R).ask(C), [A, B, R, C], {}),
    "picked up within a message": (Talk().ask(A[20:], B).answer(R[9:] + S), [B, S], {"tcp_tail": 2}),
    "picked up within a body": (Talk().ask(A[-3:] + B, C).answer(R), [B, C, R], {"tcp_tail": 1}),
    "picked up within a method": (Talk().ask(A[1:], B), [B], {"tcp_tail": 1}),
    "picked up, long message first": (Talk().ask(*[b"a" * 1_400] * 40, A, B), [A, B], {"tcp_tail": 1}),
    "picked up, websocket": (
        Talk().ask(ws_frame(A, mask=MASK)).answer(ws_frame(R)).ask(ws_frame(C, mask=MASK)),
        [A, R, C],
        {},
    ),
    "picked up, websocket, within a frame": (
        Talk().ask(ws_frame(A, mask=MASK)[30:], ws_frame(B, mask=MASK)).answer(ws_frame(R)[9:], ws_frame(S)),
        [B, S],
        {},
    ),
    "picked up, TLS": (Talk().ask(TLS_DATA, TLS_DATA).answer(TLS_DATA), [], {"tls": 1}),
    "picked up, TLS within a record": (Talk().ask(TLS_DATA[9:], TLS_DATA).answer(TLS_DATA), [], {"tls": 1}),
    "picked up, others": (Talk().ask(*[bytes(range(256)) * 5] * 200).answer(b"x" * 400), [], {"tcp": 1}),
    "garbage in between": (Talk().open().ask(A, b"\x01\x02rubbish\r\n", B).close(), [A, B], {"not_sip": 1}),
    "a lost segment": (
        Talk().open().ask(A).lose(len(B)).acknowledge().ask(C).acknowledge().wait(1).ask(A),
        [A, C, A],
        {"tcp_gap": 1},
    ),
    "a lost segment in a body": (
        Talk().open().ask(A, B[:-8]).lose(4).ask(B[-4:] + C).acknowledge().wait(1).acknowledge().ask(A),
        [A, B[:-8], C, A],
        {"tcp_gap": 1},
    ),
    "a lost segment in a head": (
        Talk().open().ask(A, B[:50]).lose(4).ask(B[54:] + C).wait(3).ask(A),
        [A, C, A],
        {"tcp_gap": 1, "gap": 1},
    ),
    "a lost segment at the beginning": (Talk().open().lose(50).ask(A[50:] + B).wait(3).ask(C), [B, C], {"tcp_gap": 1}),
    "new connection on the same ports": (
        Talk().open().ask(A).close().lose(5_000_000).lose(9_000, of_server=True).open().ask(B).answer(R).close(),
        [A, B, R],
        {},
    ),
    "new connection, its SYN not seen": (Talk().open().ask(A).answer(R).lose(1 << 30).ask(B, C), [A, R, B, C], {}),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_connection_gives_its_messages_and_says_what_it_lacks(name: str) -> None:
    """Messages come whole and once, and each thing that was not seen is counted once."""
    talk, payloads, counts = CONNECTIONS[name]
    got, counted = seen(talk.segments)
    assert (sorted(got), counted) == (sorted(payloads), counts)


@pytest.mark.parametrize("name", CONNECTIONS)
def test_connection_captured_twice_gives_its_messages_once(name: str) -> None:
    """A mirror port that copies each packet twice changes nothing: TCP knows which bytes it has had."""
    talk, payloads, counts = CONNECTIONS[name]
    got, counted = seen(segment for each in talk.segments for segment in (each, each))
    assert (sorted(got), counted) == (sorted(payloads), counts)


def test_messages_have_the_envelope_of_their_first_byte() -> None:
    """Time and fields are those of the packet with the first byte, addresses and protocol those of the stream."""
    talk = Talk().open().ask(*cut(A + B, 50, len(A) + 9, len(A) + 40))
    talk.segments = [each._replace(fields={"vlan": number}) for number, each in enumerate(talk.segments)]
    first, second = Streams().all(talk.segments)
    assert first == Message(A, FIRST_US + 3_000, SOURCE, CLIENT_PORT, DESTINATION, SERVER_PORT, 6, 2, extra={"vlan": 3})
    assert (second.payload, second.ts_us, second.extra) == (B, FIRST_US + 4_000, {"vlan": 4})
    assert talk.segments[3].fields == {"vlan": 3}


def test_messages_of_ipv6_and_websocket_say_so() -> None:
    """The family is that of the addresses; WebSocket is proto 5 beside protocol TCP."""
    talk = (
        Talk(Side(SOURCE6, 40_000, 5), Side(DESTINATION6, 80, 9))
        .open()
        .ask(UPGRADE)
        .answer(SWITCHED)
        .answer(ws_frame(R))
    )
    (message,) = Streams().all(talk.segments)
    assert (message.source_ip, message.source_port, message.destination_ip) == (DESTINATION6, 80, SOURCE6)
    assert (message.ip_protocol, message.family, message.extra) == (6, 10, {"proto": 5})


def test_message_comes_as_soon_as_it_is_whole() -> None:
    """Nothing waits for the end of a stream whose beginning was seen."""
    streams = Streams()
    talk = Talk().open().ask(A, B[:40], B[40:])
    assert [[each.payload for each in streams.receive(segment)] for segment in talk.segments] == [
        [],
        [],
        [],
        [A],
        [],
        [B],
    ]


def test_message_picked_up_comes_after_a_bounded_wait() -> None:
    """The first message of a stream picked up waits for segments before it, and time alone ends that."""
    streams = Streams()
    (segment,) = Talk().ask(A).segments
    assert streams.receive(segment) == []
    assert streams.expire(FIRST_US + 50_000) == []
    assert [each.payload for each in streams.expire(FIRST_US + 100_000)] == [A]


def test_message_without_length_comes_when_the_stream_is_quiet() -> None:
    """A message whose body has no length does not wait for the next one for ever."""
    opened = A.replace(b"Content-Length: 5", b"Content-Type: application/sdp")
    streams = Streams()
    for segment in Talk().open().ask(opened).segments:
        assert streams.receive(segment) == []
    assert streams.expire(FIRST_US + 1_000_000) == []
    assert [each.payload for each in streams.expire(FIRST_US + 2_100_000)] == [opened]
    assert streams.truncated == 0
    assert streams.finish() == []


def test_message_cut_by_the_end_is_counted_as_truncated() -> None:
    """A message that lacks bytes of its body is kept, and counted."""
    streams = Streams()
    assert [each.payload for each in streams.all(Talk().open().ask(A, B[:-2]).segments)] == [A, B[:-2]]
    assert streams.truncated == 1


def test_message_cut_by_the_snap_length_is_kept_and_the_next_one_found() -> None:
    """A capture with a short snap length loses ends of bodies, and no message."""
    talk = Talk().open().ask(B, B, C)
    talk.segments = [
        each._replace(payload=each.payload[:-8], missing=8) if each.payload == B else each for each in talk.segments
    ]
    streams = Streams()
    assert [each.payload for each in streams.all(talk.segments)] == [B[:-8], B[:-8], C]
    assert (streams.truncated, streams.counts) == (2, {})


@pytest.mark.parametrize("picked_up", [False, True])
def test_hep_on_tcp_gives_the_messages_in_it(picked_up: bool) -> None:
    """HEP is unwrapped: its messages have their own times and addresses, or the packet's time."""
    inner = [
        Message(A, 5_000_000, "198.51.100.1", 1, "198.51.100.2", 2, 17, 2, hep_version=3, capture_id=9),
        Message(R),
    ]
    frames = b"".join(map(encode_hep, inner))
    talk = Talk() if picked_up else Talk().open()
    talk.ask(*cut(frames, 3, 70, 300)).acknowledge()
    first, second = Streams().all(talk.segments)
    assert (first.payload, first.ts_us, first.source_ip, first.capture_id) == (A, 5_000_000, "198.51.100.1", 9)
    assert (second.payload, second.source_ip) == (R, "")
    assert FIRST_US <= second.ts_us <= talk.ts_us


def test_hep_on_tcp_with_a_gap_goes_on_behind_it() -> None:
    """A frame that lacks bytes is counted, and the next one is found."""
    frame = encode_hep(Message(A, 5, hep_version=3))
    talk = Talk().open().ask(frame, frame[:50]).lose(10).ask(frame[60:], frame + frame[:9]).wait(3).close()
    payloads, counts = seen(talk.segments)
    assert payloads == [A, A]
    assert counts == {"tcp_gap": 1, "gap": 1, "incomplete": 1}


def test_ports_let_through_what_has_one_of_them() -> None:
    """Other connections are skipped; HEP counts by the ports inside or outside, as over UDP."""
    hep = b"".join(encode_hep(Message(A, 5, "192.0.2.9", port, "192.0.2.8", 1, hep_version=3)) for port in (5060, 7))
    for ports, payloads, counts in (
        (range(5060, 5061), [A, R], {}),
        (range(5061, 5070), [], {"ports": 1}),
        (range(40_000, 40_001), [A, R], {}),
    ):
        streams = Streams(ports)
        assert [each.payload for each in streams.all(Talk().open().ask(A).answer(R).close().segments)] == payloads
        assert streams.counts == counts
    streams = Streams(range(5060, 5061))
    talk = Talk(server=Side(DESTINATION, 9060, 1)).open().ask(hep)
    assert [each.source_port for each in streams.all(talk.segments)] == [5060]
    assert +streams.filtered == {"ports": 1}


@st.composite
def captures(draw: st.DrawFn) -> tuple[list[Segment], list[bytes], list[bytes]]:
    """A connection in segments of any cut, order, overlap and number; what both sides sent."""
    requests = draw(st.lists(st.sampled_from([A, B, C, b"\r\n\r\n"]), min_size=1, max_size=5))
    replies = draw(st.lists(st.sampled_from([R, S, b"\r\n"]), max_size=4))
    talk = Talk().open()
    for sender, data in ((talk.ask, b"".join(requests)), (talk.answer, b"".join(replies))):
        ends = sorted(set(draw(st.lists(st.integers(1, max(len(data), 2)), max_size=6))))
        sender(*cut(data, *[end for end in ends if end < len(data)]))
    talk.close()
    segments = talk.segments
    for _ in range(draw(st.integers(0, 6))):
        segment = draw(st.sampled_from(segments))
        if not segment.flags & SYN:
            begin = draw(st.integers(0, len(segment.payload)))
            again = segment._replace(sequence=(segment.sequence + begin) & 0xFFFF_FFFF, payload=segment.payload[begin:])
            segments = [*segments, again._replace(flags=ACK)]
    shuffled = [
        segment._replace(ts_us=FIRST_US + 100 * number)
        for number, segment in enumerate(draw(st.permutations(segments)))
    ]
    wanted = ([each for each in requests if each.strip()], [each for each in replies if each.strip()])
    return shuffled, *wanted


@given(capture=captures())
def test_messages_do_not_depend_on_order_cuts_and_copies_of_segments(
    capture: tuple[list[Segment], list[bytes], list[bytes]],
) -> None:
    """Any order of the same segments gives the messages of both sides, each side's in the order sent."""
    segments, requests, replies = capture
    streams = Streams()
    messages = streams.all(segments)
    assert [each.payload for each in messages if each.source_port == CLIENT_PORT] == requests
    assert [each.payload for each in messages if each.source_port == SERVER_PORT] == replies
    assert (streams.counts, streams.held) == ({}, 0)


@given(
    pieces=st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 3_000),
            st.one_of(
                st.sampled_from([A, R, UPGRADE, SWITCHED, TLS_HELLO, ws_frame(A), encode_hep(Message(A)), PROXY, b""]),
                st.binary(max_size=30),
            ),
            st.integers(0, 31),
            st.integers(0, 9),
        ),
        max_size=25,
    )
)
def test_segments_of_any_content_never_raise_and_nothing_stays_held(
    pieces: list[tuple[bool, int, bytes, int, int]],
) -> None:
    """Flags, numbers and bytes as they like: the end leaves nothing behind."""
    talk = Talk()
    ends = (talk.client, talk.server)
    segments = [
        Segment(
            FIRST_US + number * 50_000,
            ends[back].packed,
            ends[back].port,
            ends[not back].packed,
            ends[not back].port,
            b"",
            sequence,
            flags,
            data,
            missing,
            {},
            sequence,
        )
        for number, (back, sequence, data, flags, missing) in enumerate(pieces)
    ]
    streams = Streams()
    streams.all(segments)
    assert (streams.held, len(streams)) == (0, 0)


@pytest.mark.parametrize(("opened", "bound"), [(True, TCP_LOOK_BYTES), (False, TCP_LOOK_MIDSTREAM_BYTES)])
def test_sip_is_found_up_to_the_bound_and_not_beyond(opened: bool, bound: int) -> None:
    """A start line counts that comes before the bound; behind it, the connection is not looked at any more."""
    for size, payloads in ((bound - 1_100, [A, B]), (bound + 10_000, [])):
        talk = Talk().open() if opened else Talk()
        talk.ask(*[b"?" * 1_000 + b"\n"] * (size // 1_001), A, B).acknowledge()
        assert seen(talk.segments)[0] == payloads


@pytest.mark.parametrize("payload", [sip(1), TLS_HELLO], ids=["sip", "tls"])
def test_segment_to_itself_is_a_stray_and_breaks_nothing(payload: bytes) -> None:
    """A segment whose source is its destination (LAND) has no other direction: it is counted, and not followed."""
    place = b"\x0a\0\0\1", 5060
    segment = Segment(1_700_000_000_000_000, *place, *place, b"", 7, ACK, payload, 0, {})
    streams = StreamMessages()
    assert streams.receive(segment) == streams.expire(segment.ts_us + 10**9) == streams.finish() == []
    assert (streams.held, len(streams), +streams.skipped) == (0, 0, {"tcp_stray": 1})
