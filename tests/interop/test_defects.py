"""Packets that end the module's server: sipcap goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import kamailio, product
from .cases import FIRST_PORT
from .compare import deliver, send
from .hep import Envelope, chunks, pack
from .messages import BASE
from .processes import udp_is_bound, wait_until

# Chunk 1 is the family, 2 the protocol id, 7 and 8 are the ports, 11 is the protocol type (spec 2.5).
_DEADLY = {
    "SIP without protocol id": (2, 1),
    "SIP without protocol type": (11, 1),
    "RTCP without family": (1, 5),
    "RTCP without source port": (7, 5),
    "log without destination port": (8, 100),
}


@pytest.mark.parametrize(("kind", "payload_type"), _DEADLY.values(), ids=_DEADLY.keys())
def test_packet_that_ends_kamailio_leaves_sipcap_running(
    kamailio_here: None, tmp_path: Path, kind: int, payload_type: int
) -> None:
    """One HEP 3 packet without a certain chunk ends Kamailio (spec defect 1); sipcap stores what comes behind it."""
    envelope = Envelope(source_port=FIRST_PORT, payload_type=payload_type, correlation_id=b"call-1")
    parts = chunks(envelope, BASE.encode())
    deadly = pack(part for part in parts if part.kind != kind)
    with kamailio.capturing(tmp_path / "oracle") as oracle, product.piping(tmp_path / "product") as sipcap:
        send(oracle.port, deadly)
        wait_until(lambda: oracle.process.poll() is not None, "the end of Kamailio")
        deliver(sipcap.port, sipcap.database, [deadly])
        assert udp_is_bound(sipcap.port)
