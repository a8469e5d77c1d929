"""SIP by its content."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.wire.detect import is_keep_alive, looks_like_sip
from sipcap.wire.sip_fields import start_line
from tests.support.messages import reply, sip, sip_message

SIP = {
    "request": sip(),
    "reply": reply(),
    "reply without reason": b"SIP/2.0 200\r\nVia: x\r\n\r\n",
    "leading line breaks": b"\r\n\r\n" + sip(),
    "leading NULs": b"\0\0" + sip(),
    "unknown method": sip("FROBNICATE"),
    "odd method": sip("!interesting-Method0123456789_*+`.%indeed'~"),
    "lower case version": b"OPTIONS sip:a@b sip/2.0\r\n\r\n",
    "many blanks": b"INVITE   sip:a@b\t SIP/2.0  \r\n\r\n",
    "cut in the request line": b"INVITE sip:somebody@som",
    "bare line feeds": sip(end="\n"),
    "SIP of another version": b"OPTIONS sip:a@b SIP/7.0\r\n\r\n",
    "tel": b"INVITE tel:+49 SIP/2.0\r\n\r\n",
    "long request line": b"INVITE sip:" + b"a" * 1_500 + b"@b SIP/2.0\r\n\r\n",
}
NOT_SIP = {
    "nothing": b"",
    "keep-alive": b"\r\n\r\n",
    "NUL keep-alive": b"\0\0\0\0",
    "SSDP": b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\r\n",
    "SSDP search": b"M-SEARCH * HTTP/1.1\r\n\r\n",
    "RTSP": b"OPTIONS * RTSP/1.0\r\n\r\n",
    "RTP": b"\x80\x00\x12\x34" + b"\xd5" * 160,
    "RTCP": b"\x80\xc8\x00\x06" + b"\0" * 24,
    "STUN": b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"\0" * 12,
    "DNS": b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03foo\x00\x00\x01\x00\x01",
    "syslog": b"<34>Oct 11 22:14:15 host su: failed for INVITE sip:a@b SIP/2.0",
    "SIP in GENEVE": b"\0\0eX\0\0*\0\2\0\0\0\0\2\2\0\0\0\0\1\x08\0E\0" + b"\0" * 24 + sip(),
    "prose": b"hello world",
    "method alone": b"INVITE",
}


@pytest.mark.parametrize("name", SIP)
def test_looks_like_sip_finds_start_lines(name: str) -> None:
    """Whatever has a start line, also an odd one, is SIP."""
    assert looks_like_sip(SIP[name])


@pytest.mark.parametrize("name", NOT_SIP)
def test_looks_like_sip_leaves_other_protocols_alone(name: str) -> None:
    """What shares the wire with SIP is not taken for it."""
    assert not looks_like_sip(NOT_SIP[name])


@pytest.mark.parametrize("number", range(12))
def test_looks_like_sip_finds_usual_traffic(number: int) -> None:
    """Every step of a realistic call is found."""
    assert looks_like_sip(sip_message(number))


@given(st.one_of(st.binary(max_size=80), st.text("INVITEsip:@/.20 \t\r\n", max_size=60).map(str.encode)))
def test_looks_like_sip_agrees_with_the_reader_of_start_lines(payload: bytes) -> None:
    """Its shortcuts refuse nothing that the reader accepts, but for words that no sender could mean."""
    line = payload.lstrip(b"\r\n\0\t ").partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")
    try:
        start_line(line)
    except DecodeError:
        return
    assert looks_like_sip(payload) or re.search(r"[\0-\x08\x0a-\x1f\x7f]", line.partition(" ")[0])


def test_keep_alives_are_blank() -> None:
    """Line breaks and NULs keep a binding open; anything more is a message."""
    assert is_keep_alive(b"\r\n\r\n")
    assert is_keep_alive(b"\0\0\0\0")
    assert is_keep_alive(b"")
    assert not is_keep_alive(b"\r\nx")
