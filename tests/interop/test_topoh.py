"""Call-IDs that topoh masks: Kamailio masks and sipcap unmasks, and both unmask the same (spec 10)."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from sipcap.wire.topoh import CallIdMask
from tests.support.topoh import masked

from . import kamailio, product
from .compare import deliver
from .hep import Envelope, encode
from .messages import BASE
from .processes import WAIT_S
from .tables import text

KEYS = [("aL9.n8~Hm]Z", "!!:"), ("secret", "***")]
CALL_IDS = ("a", "ab", "abc", "abc123@host", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "x" * 99, "%40!~*_+`'()<>:/[]?{}")


def _odd(prefix: str) -> list[str]:
    """Values that are not masked, or cannot be unmasked, or only in part."""
    tails = ("", "****", "*", "bad$chars", "3", "3P", "3ReB3", "3ReB***", "3P**x", "AAAA*AAA", "A" * 64)
    return ["plain@x", prefix[:-1], "x" + prefix + "3P**", *(prefix + tail for tail in tails)]


@pytest.mark.parametrize(("key", "prefix"), KEYS)
def test_topoh_what_kamailio_masks_is_unmasked(kamailio_here: None, tmp_path: Path, key: str, prefix: str) -> None:
    """A Call-ID that a real hop has masked comes out as it was sent."""
    mask = CallIdMask(key.encode(), prefix)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as next_hop:
        next_hop.bind(("127.0.0.1", 0))
        next_hop.settimeout(WAIT_S)
        with kamailio.masking(tmp_path, next_hop=next_hop.getsockname()[1], key=key, prefix=prefix) as port:
            for number, callid in enumerate(CALL_IDS):
                message = BASE.with_header(f"Call-ID: {callid}", f"CSeq: {number + 1} INVITE")
                next_hop.sendto(message.encode(), ("127.0.0.1", port))
                found = re.search(rb"(?im)^Call-ID: ([^\r\n]*)", next_hop.recv(65_535))
                assert found is not None
                sent_on = found[1].decode()
                assert sent_on == masked(callid.encode(), key=key, prefix=prefix)
                assert mask.unmask(sent_on) == callid


@pytest.mark.parametrize(("key", "prefix"), KEYS)
def test_topoh_both_unmask_the_same(kamailio_here: None, tmp_path: Path, key: str, prefix: str) -> None:
    """Masked, plain and broken values: callid and its fall-back are those of the module; msg is what was sent."""
    values = [masked(callid.encode(), key=key, prefix=prefix) for callid in CALL_IDS] + _odd(prefix)
    envelope = Envelope()
    datagrams = [
        encode(replace(envelope, source_port=6_000 + number), BASE.with_header(f"Call-ID: {value}").encode())
        for number, value in enumerate(values)
    ]
    options = ["--topoh-unmask", "--topoh-key", key, "--topoh-prefix", prefix]
    with (
        kamailio.unmasking(tmp_path / "oracle", key=key, prefix=prefix) as oracle,
        product.piping(tmp_path / "product", options) as sipcap,
    ):
        deliver(oracle.port, oracle.database, datagrams)
        deliver(sipcap.port, sipcap.database, datagrams)
        expected, found = (
            {row["source_port"]: row for row in database.rows()} for database in (oracle.database, sipcap.database)
        )
    for number, value in enumerate(values):
        theirs, ours = expected[6_000 + number], found[6_000 + number]
        for column in ("callid", "correlation_id"):  # of which sipcap's are always text (design 1.5)
            assert (value, text(ours[column])) == (value, text(theirs[column]).replace("\0", "\ufffd"))
        assert f"Call-ID: {value}\r\n" in text(ours["msg"])
    assert [text(found[6_000 + number]["callid"]) for number in range(len(CALL_IDS))] == list(CALL_IDS)
