"""Generated calls: the same two hundred in every run, each with a few of the traits that senders differ in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .hep import TCP, UDP, Envelope
from .messages import compose

CALLS = 200
# Any fixed number will do; a change of it is a change of the inputs.
_SEED = 4475

_COMPACT = {"Via": "v", "From": "f", "To": "t", "Call-ID": "i", "Contact": "m", "Content-Type": "c"}
_DIGEST = 'Digest username="{user}",realm="example.com",nonce="84a4",uri="sip:example.com",response="7587"'
_SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

_URIS = (
    "sip:{user}@example.com",
    "sip:{user}@example.com:5070;transport=udp",
    "sips:{user}@192.0.2.7",
    "sip:{user}@[2001:db8::7]:5060",
    "sip:{user}:secret@example.com;lr",
    "sip:+49{number};npdi@example.com;user=phone",
    "sip:{user}@example.com?subject=hi&priority=urgent",
    "sip:%61{user}%40x@EXAMPLE.com",
    "sip:example.com:5080",
    "tel:+49-(0){number};ext=1",
    "TEL:+49.{number}",
    "SIP:{user}@Example.Com",
)
_NAMES = ("", '"Alice \\"A\\" <x>" ', "Bob B ", '"Jürgen Größe" ', '"山田;tag=no" ', "  ")
_PRODUCTS = ("X/1.0", "ünï/2 (日本)", "a\r\n folded\r\n\t twice", "  padded  ", "")
_CONTACTS = (
    "<{uri}>",
    "{uri};expires=60",
    '"Desk" <{uri}>;+sip.instance="<urn:uuid:1>"',
    "*",
    "<{uri}>;q=0.5, <sip:second@192.0.2.9:5099>",
)
_EXTRAS = (
    ("P-Asserted-Identity: <sip:pai{number}@example.com>",),
    ("P-Asserted-Identity: tel:+49{number}", "P-Preferred-Identity: <sip:ppi@example.com>"),
    ('P-Asserted-Identity: "N" <sip:first@x>, <tel:+1>',),
    ("P-Preferred-Identity: <sip:ppi{number}@example.com>",),
    ('Remote-Party-ID: "R" <sip:rpid{number}@example.com>;party=calling;privacy=off',),
    ("Authorization: " + _DIGEST.format(user="auth{number}"),),
    ("Authorization: " + _DIGEST.format(user="sip:au{number}@realm"),),
    ("Authorization: " + _DIGEST.format(user="a{number}"), "Proxy-Authorization: " + _DIGEST.format(user="p@dom")),
    ("Proxy-Authorization: digest USERNAME=token{number}",),
    ("Authorization: Basic YTpi",),
    ("Authorization: Bearer abc",),
    ("X-RTP-Stat: CS=0;PS={number};ES=0",),
    ("P-RTP-Stat: PS={number},OS=1", "X-RTP-Stat-Add: DQ=31;{number}"),
    ("X-Siemens-RTP-stats: p={number}", "RTP-RxStat: Dur={number}"),
    ("X-NG-RTP-STATS: ng={number}", "X-RTP-Stat-T38: t38={number}"),
    ("X-CID: aleg{number}@example.com",),
    ("X-CID: first{number}", "X-CID: second"),
    ("Mac: 00:11:22:33:44:55", "IP: 10.0.0.{number}", "Port: {number}"),
    ("Diversion: <sip:d{number}@x>;reason=no-answer, <sip:e@x>", "Diversion: <sip:f@x>"),
    ('Reason: Q.850;cause=16;text="Normal {number}"',),
    ("Subject: Grüße {number}", "Supported: 100rel,timer"),
    ("Route: <sip:proxy.example.com;lr>", "Record-Route: <sip:proxy.example.com;lr>"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One dialog: what was sent, in order, with the envelope of each message."""

    name: str
    messages: tuple[tuple[Envelope, bytes], ...]


def generate(number: int = CALLS) -> Iterator[Call]:
    """Yield *number* calls; the same ones every time."""
    chance = random.Random(_SEED)
    for serial in range(number):
        yield _call(serial, chance)


def _call(serial: int, chance: random.Random) -> Call:
    dialog = _Dialog(serial, chance)
    envelope = _envelope(serial, chance)
    answer = replace(
        envelope,
        source_ip=envelope.destination_ip,
        destination_ip=envelope.source_ip,
    )
    status = chance.choice(("180 Ringing", "183 Session  Progress ", "200 OK", "486 Busy Hier ü", "603 ", "100 Trying"))
    messages = (
        (envelope, dialog.message(f"INVITE {dialog.uri()} SIP/2.0", "1 INVITE", body=_SDP)),
        (answer, dialog.message(f"SIP/2.0 {status}", "1 INVITE", to_tag=True)),
        (envelope, dialog.message(f"{chance.choice(_METHODS)} {dialog.uri()} SIP/2.0", "2 BYE", to_tag=True)),
        (answer, dialog.message("SIP/2.0 200 OK", "2 BYE", to_tag=True)),
    )
    return Call(f"call {serial}", messages)


_METHODS = ("BYE", "ACK", "CANCEL", "INFO", "REGISTER", "OPTIONS", "MESSAGE", "NOTIFY", "foo", "PUBLISH")


def _envelope(serial: int, chance: random.Random) -> Envelope:
    addresses = chance.choice((("192.0.2.1", "198.51.100.2"), ("2001:db8::a", "2001:db8:0:1::b")))
    return Envelope(
        source_ip=addresses[0],
        destination_ip=addresses[1],
        protocol=chance.choice((UDP, UDP, TCP)),
        capture_id=chance.randrange(2**32),
        correlation_id=chance.choice((None, None, f"corr-{serial}@x".encode())),
        version=3,
    )


class _Dialog:
    """What stays the same through one call, and the habits of the one who sends it."""

    def __init__(self, serial: int, chance: random.Random) -> None:
        self._chance = chance
        self._serial = serial
        self._from = f"{chance.choice(_NAMES)}<{self.uri()}>;tag=f{serial}"
        self._to = f"{chance.choice(_NAMES)}<{self.uri()}>"
        if chance.random() < 0.2:
            self._from = f"sip:bare{serial}@example.com;tag=f{serial}"
        self._compact = chance.random() < 0.3
        self._line_end = chance.choice(("\r\n", "\r\n", "\r\n", "\n"))
        self._lead = chance.choice(("", "", "", "\r\n\r\n"))
        self._colon = chance.choice((": ", ": ", ":", " : ", ":\t"))

    def uri(self) -> str:
        """Return some URI of this call."""
        template = self._chance.choice(_URIS)
        return template.format(user=f"user{self._serial}", number=1000 + self._serial)

    def message(self, start: str, cseq: str, *, to_tag: bool = False, body: str = "") -> bytes:
        """Compose one message of this call."""
        headers = [
            self._header("Via", self._via()),
            self._header("From", self._from),
            self._header("To", self._to + (f";tag=t{self._serial}" if to_tag else "")),
            self._header("Call-ID", f"call-{self._serial}@generated.example"),
            self._header("CSeq", cseq),
        ]
        headers += self._optional()
        if body:
            headers.append(self._header("Content-Type", "application/sdp"))
        headers.append(f"Content-Length: {len(body.encode())}")
        lead = self._lead.encode()
        return lead + compose(start, self._folded(headers), body, self._line_end)

    def _header(self, name: str, value: str) -> str:
        return (_COMPACT.get(name, name) if self._compact else name) + self._colon + value

    def _via(self) -> str:
        branch = self._chance.choice((";branch=z9hG4bK{n}", ";rport;BRANCH=z9hG4bK-{n};received=192.0.2.1", ""))
        host = self._chance.choice(("192.0.2.1:5060", "[2001:db8::9]:5061", "pc33.example.com"))
        second = self._chance.choice(("", "", ", SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKsecond"))
        return f"SIP/2.0/UDP {host}{branch.format(n=self._serial)}{second}"

    def _optional(self) -> list[str]:
        chance = self._chance
        headers = []
        if chance.random() < 0.6:
            headers.append(self._header("Contact", chance.choice(_CONTACTS).format(uri=self.uri())))
        if chance.random() < 0.5:
            headers.append(f"User-Agent: {chance.choice(_PRODUCTS)}")
        for lines in chance.sample(_EXTRAS, chance.randrange(4)):
            headers += [line.format(number=self._serial % 256) for line in lines]
        chance.shuffle(headers)
        return headers

    def _folded(self, headers: list[str]) -> list[str]:
        if self._chance.random() > 0.15:
            return headers
        # Fold after the colon of one header: the blank and the line end belong to the value's surroundings.
        place = self._chance.randrange(len(headers))
        name, colon, value = headers[place].partition(":")
        folded = list(headers)
        folded[place] = f"{name}{colon}{self._line_end} {value.lstrip()}"
        return folded
