"""Start lines, credentials and X-OIP (spec/sipcapture.md 3.2, 3.5, 3.6)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.wire.sip_fields import (
    REPLY,
    REQUEST,
    _tolerant_start_line,
    digest_user,
    originator,
    start_line,
)

REQUESTS = {
    "INVITE sip:bob@biloxi.com SIP/2.0": ("INVITE", "sip:bob@biloxi.com"),
    "invite sip:bob@biloxi.com SIP/2.0": ("invite", "sip:bob@biloxi.com"),
    "INVITE  sip:bob@biloxi.com  SIP/2.0 ": ("INVITE", "sip:bob@biloxi.com"),
    "INVITE\tsip:bob@biloxi.com\tSIP/2.0": ("INVITE", "sip:bob@biloxi.com"),
    "INVITE sip:bob@biloxi.com; lr SIP/2.0": ("INVITE", "sip:bob@biloxi.com; lr"),
    "INVITE <sip:bob@biloxi.com> SIP/2.0": ("INVITE", "<sip:bob@biloxi.com>"),
    "OPTIONS sip:bob@biloxi.com SIP/7.0": ("OPTIONS", "sip:bob@biloxi.com"),
    "OPTIONS sip:bob@biloxi.com sip/2.0": ("OPTIONS", "sip:bob@biloxi.com"),
    "!interesting-Method0123456789_*+`.%indeed'~ sip:x SIP/2.0": (
        "!interesting-Method0123456789_*+`.%indeed'~",
        "sip:x",
    ),
    "NEWMETHOD http://x/ SIP/2.0": ("NEWMETHOD", "http://x/"),
    "INVITE x SIP/2.0 SIP/2.0": ("INVITE", "x SIP/2.0"),
    "INVITE sip:bob": ("INVITE", "sip:bob"),
    "INVITE sip:bob SIP/2": ("INVITE", "sip:bob"),
    "INVITE sip:bob S": ("INVITE", "sip:bob"),
    "INVITE tel:+1 ": ("INVITE", "tel:+1"),
    "INVITE urn:service:sos": ("INVITE", "urn:service:sos"),
    "F(O sip:bob SIP/2.0": ("F(O", "sip:bob"),
    "FÜ sip:bob SIP/2.0": ("FÜ", "sip:bob"),
    '"INVITE" sip:bob SIP/2.0': ('"INVITE"', "sip:bob"),
    "INVITE: sip:bob SIP/2.0": ("INVITE:", "sip:bob"),
    "INVITE sip:bob SIP/2.0x": ("INVITE", "sip:bob"),
}


@pytest.mark.parametrize("line", REQUESTS)
def test_start_line_of_a_request_is_read(line: str) -> None:
    """Any word is a method, kept as sent; odd blanks and versions, brackets and cuts do no harm."""
    assert start_line(line) == (REQUEST, *REQUESTS[line])


REPLIES = {
    "SIP/2.0 200 OK": ("200", "OK"),
    "SIP/2.0 200 ": ("200", ""),
    "SIP/2.0 200": ("200", ""),
    "SIP/2.0 200 \t": ("200", ""),
    "SIP/2.0  200  OK": ("200", "OK"),
    "sip/2.0 200 OK": ("200", "OK"),
    "SIP/3.0 200 OK": ("200", "OK"),
    "SIP/2.0\t200\tOK": ("200", "OK"),
    "SIP/2.0 183 Session  Progress x ": ("183", "Session  Progress x "),
    "SIP/2.0 200 Ünicode = 2**3 \ufffd": ("200", "Ünicode = 2**3 \ufffd"),
    "SIP/2.0 4294967301 better not break": ("4294967301", "better not break"),
    "SIP/2.0 " + "9" * 60_000: ("9" * 60_000, ""),
}


@pytest.mark.parametrize("line", REPLIES, ids=lambda line: line[:40])
def test_start_line_of_a_reply_is_read(line: str) -> None:
    """The phrase may be empty or missing (spec 12); no number is too large, because it stays text."""
    assert start_line(line) == (REPLY, *REPLIES[line])


NO_START_LINES = [
    "", " ", "INVITE", "INVITE ", "INVITE SIP/2.0", "INVITE  SIP/2.0", "INVITE bob", "INVITE sip: x",
    "GET / HTTP/1.1", "NOTIFY * HTTP/1.1", "HTTP/1.1 200 OK", "SIP/2.0", "SIP/2.0 20", "SIP/2.0 OK 200",
    "SIP/2.0 20x OK", "SIP/2.0 ٢٠٠ OK", "IN(VITE sip:bob", "Via: SIP/2.0/UDP a;branch=b", "v=0", "\ufffd\ufffd",
    "SIP/x 200 OK", "{}", "sip:bob", "INVITE sip:bob SIP/2.0 x",
]  # fmt: skip


@pytest.mark.parametrize("line", NO_START_LINES)
def test_start_line_that_is_none_is_refused(line: str) -> None:
    """What is not SIP at all is the one thing that is refused."""
    with pytest.raises(DecodeError, match="not_sip"):
        start_line(line)


_words = st.sampled_from(
    ["INVITE", "SIP/2.0", "sip:a@b", " ", "\t", "200", "OK", "x", "SIP/", "2.0", "", "tel:1", "٣٣٣"]
)
_lines = st.lists(_words, max_size=8).map("".join) | st.lists(_words, max_size=5).map(" ".join)


@given(line=_lines)
def test_start_line_usual_forms_read_as_the_tolerant_reader_does(line: str) -> None:
    """The shortcut for well-formed lines changes nothing, and any text is read or refused."""
    try:
        expected: object = _tolerant_start_line(line)
    except DecodeError as error:
        expected = error.reason
    try:
        seen: object = start_line(line)
    except DecodeError as error:
        seen = error.reason
    assert seen == expected


@pytest.mark.parametrize("piece", [" ", "\t", "x", "SIP/2.0 ", " SIP/2.0", "SIP/", "1", ".", ";", " sip:a"])
@pytest.mark.parametrize("start", ["INVITE ", "INVITE sip:a", "SIP/2.0 ", "SIP/2.0 200 ", ""])
def test_start_line_of_64_kb_takes_linear_time(start: str, piece: str) -> None:
    """Blanks in the request line once made a pattern try every way to share them out."""
    line = start + piece * (64_000 // len(piece)) + "!"
    began = time.perf_counter()
    try:
        start_line(line)
    except DecodeError:
        pass
    assert time.perf_counter() - began < 0.5


CREDENTIALS = {
    'Digest username="bob", realm="biloxi.com"': "bob",
    'Digest realm="biloxi.com",username="bob"': "bob",
    'digest\tUserName = "bob"': "bob",
    'Digest username=":u"': ":u",
    'Digest username="u:"': "u:",
    'Digest username="@d"': "@d",
    'Digest\r\n username="bob",\r\n realm="x"': "bob",
    "Digest username=bob,realm=x": "bob",
    'Digest username="auth@dom"': "auth",
    'Digest username="sip:au@realm"': "au",
    'Digest username="sip:au"': "au",
    'Digest username="au@sip:realm"': "au",
    'Digest username="a\\"b"': 'a\\"b',
    'Digest username="unclosed': "unclosed",
    'Digest realm="username=no", username="yes"': "yes",
    'Digest realm="a, username=\\"no", username="yes"': "yes",
    'Digest xusername="no", nonce="1"': "",
    'Digest username=""': "",
    "Digest username=": "",
    "Digest username": "",
    "Digest ": "",
    "Digest": "",
    "Basic dXNlcm5hbWU6cGFzcw==": "",
    'Digestusername="no"': "",
    'NoOneKnowsThisScheme username="no"': "",
    "": "",
}


@pytest.mark.parametrize("value", CREDENTIALS)
def test_digest_user_of_credentials_is_the_bare_user(value: str) -> None:
    """Without the prefix up to a colon and without the realm (spec 3.5); of other schemes, nothing."""
    assert digest_user(value) == CREDENTIALS[value]


ORIGINATORS = {
    "9.9.9.9:777": ("9.9.9.9", 777),
    "9.9.9.9": ("9.9.9.9", 0),
    "9.9.9.9 ": ("9.9.9.9 ", 0),
    "9.9.9.9:777 ": ("9.9.9.9", 777),
    "9.9.9.9:": ("9.9.9.9:", 0),
    "9.9.9.9:99999": ("9.9.9.9:99999", 0),
    "9.9.9.9:x": ("9.9.9.9:x", 0),
    "[2001:db8::1]:5060": ("[2001:db8::1]", 5060),
    "[2001:db8::1]": ("[2001:db8::1]", 0),
    "2001:db8::1": ("2001:db8::1", 0),
    "host.example:5060": ("host.example", 5060),
    ":5060": ("", 5060),
    "": ("", 0),
}


@pytest.mark.parametrize("value", ORIGINATORS)
def test_originator_splits_at_a_final_port_only(value: str) -> None:
    """What X-OIP is meant to say (spec 3.6); a bare IPv6 address has no port."""
    assert originator(value) == ORIGINATORS[value]


@given(value=st.text(alphabet='Digest username=":,@\\ \r\n[]0123', max_size=60))
def test_header_readers_any_text_gives_a_value(value: str) -> None:
    """Total, and the originator's port is a port."""
    assert isinstance(digest_user("Digest " + value), str)
    assert 0 <= originator(value)[1] < 65_536


@pytest.mark.parametrize("piece", [" ", ",", '"', "\\", "username", "username ", ",username", ', username="', ":", "@"])
def test_header_readers_of_64_kb_take_linear_time(piece: str) -> None:
    """No input makes them go over it again and again."""
    value = piece * (64_000 // len(piece))
    began = time.perf_counter()
    digest_user("Digest " + value)
    originator(value)
    assert time.perf_counter() - began < 0.5
