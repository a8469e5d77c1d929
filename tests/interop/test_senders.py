"""What real HEP senders sent stands in the table, byte for byte."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from . import corpus, kamailio, product, sipp, sngrep
from .corpus import Datagram
from .headers import first
from .predicates import exact_message
from .processes import wait_until
from .sipp import Sent
from .tables import Row, text

_CALLS = 20
_CAPTURE_ID = 2001
# The third capture holds HEP, which sngrep does not unwrap when it reads a file.
_PLAIN_UDP = ("ipip-heplify.pcap", "sngrep-aaa.pcap")


def _sent(row: Row) -> Sent:
    message, source, destination = exact_message(row), row["source_port"], row["destination_port"]
    assert isinstance(message, bytes)
    assert isinstance(source, int)
    assert isinstance(destination, int)
    return Sent(source, destination, message)


def _callee_side(callee: sipp.Callee, peer: int) -> list[Sent]:
    """Return the callee's messages once it has logged all of them, which may be after the caller is done."""
    expected = _CALLS * sipp.MESSAGES_A_CALL
    wait_until(lambda: len(callee.messages(peer)) >= expected, "the callee's log")
    return callee.messages(peer)


def _log_lines(caller_side: list[Sent]) -> Counter[tuple[str, str]]:
    """Return what hlog() in the hop's script sends: a line for each request, under its Call-ID."""
    requests = [message.payload for message in caller_side if not message.payload.startswith(b"SIP/")]
    return Counter((first(request, "Call-ID").decode(), f"{request.split()[0].decode()} came") for request in requests)


def _sent_by_sngrep(messages: list[Datagram]) -> list[Datagram]:
    """Leave out the replies of calls whose request the capture lacks: sngrep 1.6.0 drops them."""
    known: set[bytes] = set()
    sent = []
    for message in messages:
        call_id = first(message.payload, "Call-ID", "i")
        if not message.payload.startswith(b"SIP/"):
            known.add(call_id)
        if call_id in known:
            sent.append(message)
    return sent


@pytest.mark.parametrize("version", [1, 2, 3])
def test_siptrace_every_message_of_sipp_calls_is_stored(
    kamailio_here: None, sipp_here: None, tmp_path: Path, version: int
) -> None:
    """Calls through a Kamailio whose siptrace sends HEP, and its log lines, are stored as SIPp logged them."""
    with (
        product.piping(tmp_path / "sipcap") as collector,
        sipp.answering(tmp_path / "sipp") as callee,
        kamailio.tracing(
            tmp_path / "kamailio",
            version=version,
            collector=collector.port,
            next_hop=callee.port,
            capture_id=_CAPTURE_ID,
        ) as hop,
    ):
        caller_side = sipp.call(tmp_path / "sipp", hop, _CALLS)
        wire = caller_side + _callee_side(callee, hop)
        expected_logs = _log_lines(caller_side)
        collector.database.wait_for_count(len(wire))
        collector.database.wait_for_count(expected_logs.total(), "logs_capture")
        rows, logs = collector.database.rows(), collector.database.rows("logs_capture")
    assert Counter((text(row["correlation_id"]), text(row["msg"])) for row in logs) == expected_logs
    assert Counter(map(_sent, rows)) == Counter(wire)
    # Version 1 has neither time nor capture id (spec 2.2), and then the node stands alone.
    assert {text(row["node"]) for row in rows} == {"homer01" if version == 1 else f"homer01:{_CAPTURE_ID}"}
    assert {text(row["source_ip"]) for row in rows} == {"127.0.0.1"}


def test_sngrep_live_calls_of_sipp_are_stored(live_capture_here: None, sipp_here: None, tmp_path: Path) -> None:
    """Calls that sngrep watches on loopback and sends on are stored as SIPp logged them."""
    with (
        product.piping(tmp_path / "sipcap") as collector,
        sipp.answering(tmp_path / "sipp") as callee,
        sngrep.watching(tmp_path / "sngrep", callee.port, collector.port),
    ):
        wire = sipp.call(tmp_path / "sipp", callee.port, _CALLS)
        collector.database.wait_for_count(len(wire))
        rows = collector.database.rows()
    assert Counter(map(_sent, rows)) == Counter(wire)
    assert {text(row["node"]) for row in rows} == {f"homer01:{sngrep.CAPTURE_ID}"}


@pytest.mark.parametrize("name", _PLAIN_UDP)
def test_sngrep_every_message_of_a_file_is_stored(
    sngrep_here: None, corpus_here: Path, tmp_path: Path, name: str
) -> None:
    """The SIP of a capture that sngrep reads and sends is stored with its bytes, addresses and times."""
    messages = _sent_by_sngrep(corpus.sip_messages(name))
    with product.piping(tmp_path / "sipcap") as collector:
        sngrep.send_file(corpus_here / "pcap" / name, collector.port)
        collector.database.wait_for_count(len(messages))
        rows = collector.database.rows()
    assert Counter((row["micro_ts"], text(row["source_ip"]), _sent(row)) for row in rows) == Counter(
        (message.ts_us, message.source_ip, Sent(message.source_port, message.destination_port, message.payload))
        for message in messages
    )
