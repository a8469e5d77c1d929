"""All inputs of the comparison with the oracle, each under a name and with ports of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from . import calls, corpus, grammar, variations
from .framings import FRAMINGS, Framing
from .hep import TCP, TLS, Envelope, encode
from .messages import BASE

# The source port identifies a case in both tables; the range lies above the ports that real captures use.
FIRST_PORT = 20_000
# Sentinels come from this port, so that they are told from cases.
SENTINEL_PORT = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One message and the envelope that it travels in."""

    name: str
    payload: bytes
    envelope: Envelope
    framing: Framing = encode

    @property
    def datagram(self) -> bytes:
        """The datagram that every captor gets."""
        return self.framing(self.envelope, self.payload)


def all_cases() -> list[Case]:
    """Return every input, numbered through by source port and, where the packet has a time, by microsecond."""
    return [_numbered(number, case) for number, case in enumerate(_unnumbered())]


def _numbered(number: int, case: Case) -> Case:
    ts_us = None if case.envelope.ts_us is None else case.envelope.ts_us + number * 1_000_003
    return replace(case, envelope=replace(case.envelope, source_port=FIRST_PORT + number, ts_us=ts_us))


def _unnumbered() -> Iterator[Case]:
    for variation in variations.TABLE:
        yield Case(f"variation: {variation.name}", variation.payload, Envelope())
    for path in corpus.torture_messages():
        yield Case(f"rfc4475: {path.name}", path.read_bytes(), Envelope())
    if corpus.FOLDER.exists():
        for name in corpus.CAPTURES:
            for number, message in enumerate(corpus.sip_messages(name), start=1):
                yield Case(f"{name}: message {number}", message.payload, Envelope())
    for call in calls.generate():
        for number, (envelope, payload) in enumerate(call.messages, start=1):
            yield Case(f"{call.name}: message {number}", payload, envelope)
    for name, payload in grammar.spellings():
        yield Case(f"spelling: {name}", payload, Envelope())
    yield from _envelopes()
    for name, (envelope, framing) in FRAMINGS.items():
        yield Case(f"framing: {name}", BASE.encode(), envelope, framing)


def _envelopes() -> Iterator[Case]:
    """Vary what HEP says while the message stays the same."""
    ipv6 = Envelope(source_ip="2001:db8::1", destination_ip="2001:db8::2")
    shapes = {
        "ipv6": ipv6,
        "tcp": Envelope(protocol=TCP),
        "tls": Envelope(protocol=TLS),
        "no time": Envelope(ts_us=None),
        "capture id 0": Envelope(capture_id=0),
        "capture id 2^32-1": Envelope(capture_id=2**32 - 1),
        "correlation id": Envelope(correlation_id=b"corr@example"),
        "correlation id empty": Envelope(correlation_id=b""),
        "correlation id with NUL": Envelope(correlation_id=b"corr\x00tail"),
        "version 1": Envelope(version=1, ts_us=None),
        "version 1 ipv6": replace(ipv6, version=1, ts_us=None),
        "version 1 tls": Envelope(version=1, ts_us=None, protocol=TLS),
        "version 1 icmp": Envelope(version=1, ts_us=None, protocol=1),
        "version 2": Envelope(version=2, capture_id=77),
        "version 2 ipv6 tcp": replace(ipv6, version=2, capture_id=65535, protocol=TCP),
        "version 2 no time": Envelope(version=2, ts_us=None),
    }
    for name, envelope in shapes.items():
        yield Case(f"envelope: {name}", BASE.encode(), envelope)
