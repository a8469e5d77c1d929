"""HEP packets that end Kamailio's sipcapture 5.6.3, hang it, or make it read past their end (spec 11, 1 to 5, 15)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.support.messages import chunk, hep3, hep3_with, hep12, sip, time_block, usual_chunks

_REPORT = b'{"sender_information":{"packets":7}}'
_REPORT_TYPES = (5, 32, 99, 100)


def without(*kinds: int, payload: bytes, payload_type: int = 1) -> bytes:
    """A usual packet that lacks these chunks."""
    chunks = usual_chunks(payload_type=payload_type)
    kept = [each for each in chunks if struct.unpack_from(">H", each, 2)[0] not in kinds]
    return hep3(*kept, chunk(17, b"call-1"), chunk(15, payload))


def _changed(kind: int, data: bytes, *, length: int | None = None) -> bytes:
    """A usual packet, one of whose chunks has other data or says another length."""
    chunks = [
        chunk(kind, data, length=length) if struct.unpack_from(">H", each, 2)[0] == kind else each
        for each in usual_chunks()
    ]
    return hep3(*chunks, chunk(15, sip()))


def _missing() -> Iterator[tuple[str, bytes]]:
    """Defect 1: the whole server ends."""
    yield "SIP without protocol id", without(2, payload=sip())
    yield "SIP without protocol type", without(11, payload=sip())
    for payload_type in _REPORT_TYPES:
        for kind in (1, 7, 8):
            yield (
                f"report {payload_type} without chunk {kind}",
                without(kind, payload=_REPORT, payload_type=payload_type),
            )


def _lengths() -> Iterator[tuple[str, bytes]]:
    """Defect 2: lengths that are believed."""
    whole = hep3_with(sip())
    for length in (0, 1, 5):
        yield f"chunk of length {length}", _changed(10, bytes(4), length=length)
    yield "chunk beyond the end", _changed(10, bytes(4), length=65_535)
    yield "packet beyond the datagram", whole[:4] + b"\xff\xff" + whole[6:]
    yield "packet of length 0", whole[:4] + b"\0\0" + whole[6:]
    for kind, name in ((9, "seconds"), (10, "microseconds"), (12, "capture id"), (7, "port"), (3, "address")):
        yield f"short {name}", _changed(kind, b"\1")
    yield "short seconds at the end", hep3(*usual_chunks(), chunk(15, sip()), chunk(9, b"\1"))
    yield "empty family", _changed(1, b"")
    yield "version 2 without time block", hep12(b"", version=2)
    yield "version 2 with half a time block", hep12(b"", version=2, block=time_block(1, 2, 3)[:7])
    yield "version 2 of four bytes", b"\2\x10\2\x11"


def _payloads() -> Iterator[tuple[str, bytes]]:
    """Defects 4 and 15: junk, and SIP whose first Via is none."""
    yield "junk as SIP", hep3_with(b"junk")
    yield "no payload", hep3(*usual_chunks())
    yield "malformed Via", hep3_with(sip(headers={"Via": "bad"}))
    yield "no Via", hep3_with(sip(headers={"Via": None}))
    yield "truncated last header", hep3_with(sip()[:-9])
    yield "SIP without HEP", sip()


PACKETS: dict[str, bytes] = {**dict(_missing()), **dict(_lengths()), **dict(_payloads())}
"""By name; each is one datagram."""
