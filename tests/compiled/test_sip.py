"""The compiled twin of the extraction makes what its reference makes: the same records, the same lines."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.activity import Activity, Seen
from sipcap.errors import DecodeError
from sipcap.extract import Extractor
from sipcap.ndjson import encode_records
from sipcap.record import Record
from sipcap.wire.message import Message
from sipcap.wire.topoh import CallIdMask
from tests.interop.cases import all_cases
from tests.support.messages import reply, sip, sip_message
from tests.support.twins import need_twins
from tests.test_extract import URIS, VARIATIONS
from tests.test_extract_any import HEADERS, PIECES


@pytest.fixture(autouse=True)
def _compiled() -> None:
    need_twins()


EXTRACTORS = (
    Extractor(),
    Extractor(aleg_headers=("Via", "f"), custom_headers=("To", "m", "v"), require_headers=True),
    Extractor("", ("X-CID", "P-Charging-Vector", "Call-ID"), ("", "User-Agent", "X-Ü"), topoh=CallIdMask()),
)
RECEIVED_US = 1_700_000_000_123_456


def reference(extractor: Extractor, message: Message) -> Record | str:
    """What Python makes of a message."""
    try:
        return extractor.reference_record(message, RECEIVED_US)
    except DecodeError as error:
        return error.reason


def check(messages: Iterable[Message]) -> int:
    """Hold the twin against the reference; returns how many of the first extractor's messages it took."""
    messages = list(messages)
    taken = 0
    for place, extractor in enumerate(EXTRACTORS):
        assert extractor._twin is not None
        expected = [reference(extractor, message) for message in messages]

        def other(message: Message, extractor: Extractor = extractor) -> bytes:
            made = reference(extractor, message)
            return b"" if isinstance(made, str) else encode_records([made])

        for message, made in zip(messages, expected, strict=True):
            record = extractor._twin.record(message, RECEIVED_US)
            assert record is None or record == made
            taken += place == 0 and record is not None
        lines, number = extractor._twin.lines(messages, RECEIVED_US, other)
        assert lines == b"".join(encode_records([made]) for made in expected if not isinstance(made, str))
        # In a line, lists are left to the reference.
        usual = [message for message in messages if "vendor_chunks" not in (message.extra or ())]
        assert number == sum(extractor._twin.record(message, RECEIVED_US) is not None for message in usual)
    return taken


def plain(payload: bytes) -> Message:
    """A message from a capture."""
    return Message(payload, 1_600_000_000_999_999, "192.0.2.1", 5060, "2001:db8::1", 5062, 17, 2)


def test_twin_takes_all_usual_messages() -> None:
    """None of the realistic ones is left to the reference: else it would be no gain, and nothing here a test."""
    assert check(plain(sip_message(number)) for number in range(400)) == 400


def test_twin_equals_the_reference_on_the_cases_of_the_oracle() -> None:
    """Those that Kamailio is asked about: torture messages, calls, each grammar with variations."""
    cases = [plain(case.payload) for case in all_cases()]
    assert check(cases) > len(cases) / 4


def test_twin_equals_the_reference_on_variations_of_headers() -> None:
    """The table of the specification, and each value in each header."""
    messages = [sip(headers=changed) for changed, _ in VARIATIONS] + [sip(uri=uri) for uri in URIS]
    values = [value for changed, _ in VARIATIONS for value in changed.values() if value]
    messages += [sip(headers={name: value}) for name in HEADERS for value in values]
    messages += [
        reply(status) for status in ("200 OK", "200", "200 ", "99 x", "2000 x", "abc x", "183  two", "200\tOK")
    ]
    assert check(map(plain, messages)) > len(messages) / 2


@pytest.mark.parametrize(
    "piece", [*PIECES, b"\t", b"\r", b"?", b"&", b"[", b"]", b"sips:", b"tel:1", b"*", b"\x01", b"\x7f"]
)
def test_twin_equals_the_reference_with_a_piece_anywhere(piece: bytes) -> None:
    """One odd piece put into, or over, each place of two realistic messages."""
    for payload in (sip_message(0), sip_message(7)):
        put = (payload[:at] + piece + payload[at:] for at in range(len(payload)))
        over = (payload[:at] + piece + payload[at + len(piece) :] for at in range(len(payload)))
        check(map(plain, (*put, *over)))


@pytest.mark.parametrize("number", range(12))
def test_twin_equals_the_reference_on_a_message_cut_anywhere(number: int) -> None:
    """Each beginning, each end, and each with bare line feeds."""
    payload = sip_message(number)
    beginnings = [payload[:end] for end in range(len(payload))]
    ends = [payload[begin:] for begin in range(len(payload))]
    check(map(plain, beginnings + ends + [each.replace(b"\r\n", b"\n") for each in beginnings]))


_WORDS = st.sampled_from([
    b"sip:", b"sips:", b"SIP:", b"tel:", b"urn:a:b", b"a", b"b@c", b"@", b":", b"5060", b"99999", b"000080", b";",
    b";tag=", b"; tag = x", b";branch=z", b" ;branch=", b'"', b'"q"', b"\\", b"<", b">", b"<sip:u@h>",
    b'"N" <sip:u:p@h:1;x=y?z>', b",", b" ", b"\t", b"*", b"[::1]", b"?", b"Digest ", b'username="u@r"',
    b'Digest username="sip:u"', b"SIP/2.0", b"\r", b"user=phone", b"1.2.3.4:9", b"!", b"%41", b"\x1f", b"'",
])  # fmt: skip
_VALUE = st.lists(_WORDS, max_size=7).map(b"".join)
_NAME = st.sampled_from([
    b"Via", b"v", b"VIA ", b"From", b"f", b"To", b"t\t", b"Call-ID", b"i", b"CSeq", b"Contact", b"m",
    b"Authorization", b"Proxy-Authorization", b"P-Asserted-Identity", b"P-Preferred-Identity", b"Remote-Party-ID",
    b"Reason", b"Diversion", b"X-OIP", b"X-CID", b"Mac", b"IP", b"Port", b"X-RTP-Stat", b"P-RTP-Stat", b"RTP-RxStat",
    b"User-Agent", b"Content-Type", b"c", b"X", b"", b" Via", b"Max-Forwards", b"P-Charging-Vector",
])  # fmt: skip
_LINE = st.tuples(_NAME, st.sampled_from([b":", b": ", b":  ", b" : ", b"", b":\t"]), _VALUE).map(b"".join)
_START = st.one_of(
    st.tuples(
        st.sampled_from([b"INVITE ", b"BYE ", b"FOO ", b"INVITE  ", b"\tACK "]),
        _VALUE,
        st.sampled_from([b" SIP/2.0", b""]),
    ),
    st.tuples(
        st.sampled_from([b"SIP/2.0 ", b"sip/2.0 ", b"SIP/2.0  "]), st.sampled_from([b"200", b"20", b"2000"]), _VALUE
    ),
).map(b"".join)  # fmt: skip
_ENDS = st.sampled_from([b"\r\n", b"\n", b"\r\r\n", b"\r\n "])


@given(start=_START, lines=st.lists(st.tuples(_ENDS, _LINE), max_size=12), end=_ENDS, body=st.binary(max_size=20))
def test_twin_equals_the_reference_on_made_up_messages(
    start: bytes, lines: list[tuple[bytes, bytes]], end: bytes, body: bytes
) -> None:
    """Any headers with any values of odd pieces, and any body."""
    head = start + b"".join(b"".join(line) for line in lines) + end
    check([plain(head), plain(head + end + body), plain(head + b"\r\n\r\n" + b"x" * 1_000)])


@given(payload=st.binary(max_size=300))
def test_twin_equals_the_reference_on_any_bytes(payload: bytes) -> None:
    """Behind a start line and without one."""
    check([plain(payload), plain(b"BYE sip:a@b SIP/2.0\r\n" + payload), plain(b"SIP/2.0 200 \r\nv: a\r\n" + payload)])


_EXTRA = st.fixed_dictionaries({}, optional={
    "vlan": st.integers(0, 4_095), "tos": st.integers(0, 255), "source_mac": st.just("00:11:22:33:44:55"),
    "destination_mac": st.just("ff:11:22:33:44:55"), "node_name": st.text(max_size=5), "mos": st.integers(0, 2**32 - 1),
    "vendor_chunks": st.just([{"vendor": 1, "type": 2, "data": b"3"}]), "original_ts_us": st.integers(1, 2**60),
})  # fmt: skip


@given(
    ts_us=st.sampled_from([0, 1, 999_999, RECEIVED_US, (1 << 32) * 1_000_000]),
    protocol=st.sampled_from([0, 6, 17, 22, 132, 50]),
    hep=st.sampled_from([(0, 0), (1, 0), (2, 7), (3, 7), (3, 2**32 - 1)]),
    correlation=st.none() | st.text(max_size=6),
    extra=st.none() | _EXTRA,
    payload_type=st.sampled_from([1, 5, 100]),
    address=st.sampled_from(["", "::1", "10.0.0.1"]),
)
def test_twin_equals_the_reference_on_any_envelope(
    ts_us: int, protocol: int, hep: tuple[int, int], correlation: str | None, extra: dict[str, Any] | None,
    payload_type: int, address: str,
) -> None:  # fmt: skip
    """Times, protocols, HEP versions, correlation ids, and the rarer fields in any order."""
    if extra is not None and correlation:
        extra = dict(reversed(extra.items()))
    envelope = (ts_us, address, 1, address, 65_535, protocol, 10, payload_type, *hep, correlation)
    check([Message(sip_message(number), *envelope, extra=extra) for number in range(2)])


def test_twin_leaves_text_that_is_not_ascii_and_huge_heads_to_the_reference() -> None:
    """It is the reference that knows what becomes of them."""
    many = sip(headers={f"X-{number}": "v" for number in range(2_000)})
    odd = ["Jürgen".encode(), b"\xff", b"\0"]
    messages = [many, *(sip(headers={"Subject": "x"}).replace(b": x\r\n", b": " + each + b"\r\n") for each in odd)]
    assert check(map(plain, messages)) == 0


def test_extractor_of_too_many_or_too_long_names_has_no_twin() -> None:
    """It works all the same."""
    name = "X-" + "y" * 70
    extractor = Extractor(aleg_headers=(name,))
    assert extractor._twin is None
    assert not extractor.writes_lines
    assert extractor.record(plain(sip(headers={name: "leg"})), 0).callid_aleg == "leg"  # type: ignore[union-attr]


def test_twin_sees_what_the_activity_counts() -> None:
    """Methods, status codes, agents and sources of the lines are those of the records."""
    messages = [plain(sip_message(number)) for number in range(50)]
    seen = Seen([], [], [], [])
    EXTRACTORS[0].lines(messages, 0, lambda _: b"", seen)
    counted, expected = Activity(), Activity()
    counted.count_seen(seen)
    expected.count([EXTRACTORS[0].reference_record(message, 0) for message in messages])
    assert counted.as_dict() == expected.as_dict()
    assert len(seen.sources) == 50


def test_twin_hands_on_what_the_other_raises_and_works_on() -> None:
    """An exception in the middle of a batch leaves no half of it behind."""

    def other(_: Message) -> bytes:
        raise MemoryError

    twin_of = EXTRACTORS[0]
    with pytest.raises(MemoryError):
        twin_of.lines([plain(sip()), plain(b"\xff")], 0, other, None)
    assert check([plain(sip())]) == 1


@pytest.mark.parametrize("ts_us", [-1, -500_000, -1_000_000, -1_000_001, 1])
def test_twin_equals_the_reference_around_1970(ts_us: int) -> None:
    """The first message of an extractor, too: no second stands for "none yet"."""
    message = Message(sip(), ts_us, "192.0.2.1", 5060, "192.0.2.2", 5060, 17, 2)
    made = Extractor().record(message, RECEIVED_US)
    assert made == Extractor().reference_record(message, RECEIVED_US)
    assert encode_records([made]) == Extractor().lines([message], RECEIVED_US, lambda _: b"", None)[0]


def test_twin_leaves_numbers_of_more_than_64_bits_to_the_reference() -> None:
    """One of them does no harm to the rest of a batch."""
    messages = [plain(sip()), Message(sip(), 2**64, "192.0.2.1", 5060, "192.0.2.2", 5060, 17, 2), plain(sip())]
    others: list[Message] = []

    def other(message: Message) -> bytes:
        others.append(message)
        return b""

    assert Extractor().lines(messages, RECEIVED_US, other, None)[1] == 2
    assert others == messages[1:2]


def test_twin_in_two_threads_never_mixes_messages() -> None:
    """A hook may ask for a record in a thread of its own, while the next message is being read."""
    extractor = Extractor()
    odd = [sip(headers={"From": f"sip:user{number}@host;tag={number}", "To": "tel:1"}) for number in range(100)]
    messages = [plain(payload) for payload in odd]
    expected = [extractor.reference_record(message, 0) for message in messages]
    wrong: list[object] = []

    def work() -> None:
        for _ in range(60):
            made = [extractor.record(message, 0) for message in messages]
            wrong.extend(one for one, other in zip(made, expected, strict=True) if one != other)

    threads = [threading.Thread(target=work) for _ in range(3)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong
