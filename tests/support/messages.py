"""SIP messages and HEP packets for tests: realistic ones by number, and builders for odd ones.

Nothing in here uses sipcap, so that the tests hold it against bytes made independently.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

BASE_TS_US = 1_700_000_000_123_456
"""2023-11-14 22:13:20.123456 UTC: the time of the vectors in spec/sipcapture.md 2.10."""

Headers = Sequence[tuple[str, str]]

BASE_HEADERS: Headers = (
    ("Via", "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds"),
    ("Max-Forwards", "70"),
    ("From", '"Alice" <sip:alice@atlanta.com>;tag=1928301774'),
    ("To", "<sip:bob@biloxi.com>"),
    ("Call-ID", "abc123@host"),
    ("CSeq", "314159 INVITE"),
    ("Contact", "<sip:alice@192.0.2.4:5088>"),
    ("Content-Length", "0"),
)
"""The headers of the base message of spec/sipcapture.md 12."""


def head_of(start_line: str, headers: Iterable[tuple[str, str]], *, end: str = "\r\n") -> bytes:
    """A start line and headers as they stand, without the empty line; lone surrogates are raw bytes."""
    lines = (start_line, *(f"{name}: {value}" for name, value in headers))
    return "".join(f"{line}{end}" for line in lines).encode("utf-8", "surrogateescape")


def sip(
    method: str = "INVITE",
    headers: Mapping[str, str | None] | Headers = (),
    *,
    uri: str = "sip:bob@biloxi.com:5070;transport=udp",
    start_line: str | None = None,
    body: bytes = b"",
    end: str = "\r\n",
) -> bytes:
    """The base message of spec/sipcapture.md 12 with changes.

    Args:
        method: of the request line.
        headers: a dict replaces the base's headers of these names (None removes one, a new name
            goes to the end); pairs take the place of all of them.
        uri: of the request line.
        start_line: instead of method and URI, a reply's for example.
        body: behind the empty line.
        end: of every line.
    """
    pairs = list(headers) if not isinstance(headers, Mapping) else _changed(headers)
    if not headers:
        pairs = list(BASE_HEADERS)
    line = f"{method} {uri} SIP/2.0" if start_line is None else start_line
    return head_of(line, pairs, end=end) + end.encode() + body


def _changed(changes: Mapping[str, str | None]) -> list[tuple[str, str]]:
    merged: dict[str, str | None] = {**dict(BASE_HEADERS), **changes}
    return [(name, value) for name, value in merged.items() if value is not None]


def reply(status: str = "200 OK", headers: Mapping[str, str | None] | Headers = (), *, body: bytes = b"") -> bytes:
    """A reply with the headers of the base message, changed as in ``sip``."""
    return sip(headers=headers, start_line=f"SIP/2.0 {status}", body=body)


_AGENTS = (
    "Asterisk PBX 20.5.0",
    "Yealink SIP-T46U 108.86.0.20",
    "FreeSWITCH 1.10.11",
    "kamailio (5.7.4 (x86_64/linux))",
)
_STEPS = (
    "INVITE", "100 Trying", "180 Ringing", "200 OK", "ACK", "BYE", "200 OK",
    "REGISTER", "401 Unauthorized", "OPTIONS", "SUBSCRIBE", "CANCEL",
)  # fmt: skip
_CSEQ_METHODS = ("INVITE",) * 4 + ("ACK", "BYE", "BYE", "REGISTER", "REGISTER", "OPTIONS", "SUBSCRIBE", "CANCEL")


def _phone(dialog: int) -> bytes:
    return bytes((10, dialog // 65_024 % 256, dialog // 254 % 256, dialog % 254 + 1))


def sip_message(number: int) -> bytes:
    """One of endlessly many distinct, realistic SIP messages of about 500 to 640 bytes.

    Twelve in a row belong together: a call with its replies and a body of SDP in INVITE and its 200,
    a registration with credentials, OPTIONS, SUBSCRIBE, CANCEL.
    """
    dialog, step = divmod(number, len(_STEPS))
    what = _STEPS[step]
    caller, callee = 4_930_000_000 + dialog % 9_999_999, 4_989_000_000 + dialog * 7 % 9_999_999
    host = ".".join(str(part) for part in _phone(dialog))
    method = _CSEQ_METHODS[step]
    is_reply = what[0].isdigit()
    start_line = f"SIP/2.0 {what}" if is_reply else f"{what} sip:{callee}@sip.example.com;user=phone SIP/2.0"
    to_tag = f";tag=as{dialog * 2_654_435_761 % 2**32:08x}" if 2 <= step <= 6 else ""
    headers = [
        ("Via", f"SIP/2.0/UDP {host}:5060;rport;branch=z9hG4bK-{number:08x}-{step}-{dialog:08x}"),
        ("Max-Forwards", "70"),
        ("From", f'"Caller {dialog % 1_000}" <sip:{caller}@sip.example.com>;tag={dialog * 40_503 % 2**32:08x}'),
        ("To", f"<sip:{callee}@sip.example.com;user=phone>{to_tag}"),
        ("Call-ID", f"{dialog:08x}-{dialog * 31 % 65_536:04x}-4b5c-9d1e-7f3a2b1c0d9e@{host}"),
        ("CSeq", f"{2 if method == 'BYE' else 1} {method}"),
        ("Contact", f"<sip:{caller}@{host}:5060;transport=udp>"),
        ("User-Agent", _AGENTS[dialog % len(_AGENTS)]),
        ("Allow", "INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, UPDATE"),
        ("Supported", "replaces, timer, path"),
    ]
    if is_reply:
        headers.pop(1)
    if method == "REGISTER":
        challenge = f'realm="sip.example.com", nonce="{dialog:016x}"'
        headers.append(
            ("WWW-Authenticate", f"Digest {challenge}")
            if is_reply
            else ("Authorization", f'Digest username="{caller}", {challenge}')
        )
    body = b""
    if step in (0, 3):
        headers[8:] = [("P-Asserted-Identity", f"<sip:+{caller}@sip.example.com>"), ("Content-Type", "application/sdp")]
        body = (
            f"v=0\r\no=- {number} 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {10_000 + number % 20_000 // 2 * 2} RTP/AVP 8 101\r\na=sendrecv\r\n"
        ).encode()
    headers.append(("Content-Length", str(len(body))))
    return sip(headers=headers, start_line=start_line, body=body)


# HEP. Chunks are made by hand, so that a test can break each of their fields.


def chunk(number: int, data: bytes, *, vendor: int = 0, length: int | None = None) -> bytes:
    """One HEPv3 chunk; ``length`` overrides the right one (data and 6 bytes of header)."""
    return struct.pack(">HHH", vendor, number, len(data) + 6 if length is None else length) + data


def hep3(*chunks: bytes, magic: bytes = b"HEP3", total: int | None = None) -> bytes:
    """One HEPv3 frame of chunks; ``total`` overrides the right total length."""
    body = b"".join(chunks)
    return magic + struct.pack(">H", len(body) + 6 if total is None else total) + body


def usual_chunks(
    *,
    source: tuple[bytes, int] = (bytes((10, 1, 1, 1)), 5061),
    destination: tuple[bytes, int] = (bytes((10, 2, 2, 2)), 5062),
    ts_us: int = BASE_TS_US,
    capture_id: int = 2_001,
    protocol: int = 17,
    payload_type: int = 1,
) -> list[bytes]:
    """Chunks 1 to 12 in the order of all agents seen: ten chunks, with IPv4 or IPv6 addresses (packed)."""
    is_ip4 = len(source[0]) == 4
    seconds, microseconds = divmod(ts_us, 1_000_000)
    return [
        chunk(1, bytes((2 if is_ip4 else 10,))),
        chunk(2, bytes((protocol,))),
        chunk(3 if is_ip4 else 5, source[0]),
        chunk(4 if is_ip4 else 6, destination[0]),
        chunk(7, struct.pack(">H", source[1])),
        chunk(8, struct.pack(">H", destination[1])),
        chunk(9, struct.pack(">I", seconds)),
        chunk(10, struct.pack(">I", microseconds)),
        chunk(11, bytes((payload_type,))),
        chunk(12, struct.pack(">I", capture_id)),
    ]


def hep3_with(payload: bytes, *more: bytes) -> bytes:
    """A usual HEPv3 packet around ``payload``, with ``more`` chunks before it."""
    return hep3(*usual_chunks(), *more, chunk(15, payload))


def hep3_datagram(number: int) -> bytes:
    """``sip_message(number)`` in HEPv3 as agents send it: 10.x.y.z:5060 and a proxy, 100 a second."""
    dialog = number // len(_STEPS)
    phone = _phone(dialog), 5060
    proxy = bytes((192, 0, 2, 1 + dialog % 4)), 5060
    source, destination = (proxy, phone) if _STEPS[number % len(_STEPS)][0].isdigit() else (phone, proxy)
    chunks = usual_chunks(source=source, destination=destination, ts_us=BASE_TS_US + number * 10_000)
    return hep3(*chunks, chunk(15, sip_message(number)))


def time_block(
    seconds: int, microseconds: int, capture_id: int, *, order: str = "<", padding: bytes = b"\0\0"
) -> bytes:
    """HEPv2's time block; ``order`` is ``<`` (Kamailio, sngrep) or ``>`` (heplify)."""
    return struct.pack(f"{order}IIH", seconds, microseconds, capture_id) + padding


def hep12(
    payload: bytes,
    *,
    version: int = 1,
    family: int = 2,
    protocol: int = 17,
    source: tuple[bytes, int] = (bytes((10, 1, 1, 1)), 5061),
    destination: tuple[bytes, int] = (bytes((10, 2, 2, 2)), 5062),
    block: bytes = b"",
) -> bytes:
    """One HEPv1 or HEPv2 packet; v2 needs a ``time_block`` as ``block``."""
    length = 8 + 2 * len(source[0])
    head = struct.pack(">BBBBHH", version, length, family, protocol, source[1], destination[1])
    return head + source[0] + destination[0] + block + payload
