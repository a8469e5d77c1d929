"""tshark as oracle for ``replay``: the same messages in the same captures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from . import calls, pcap, product, tshark
from .tshark import Seen

_PLAIN_UDP = ("ipip-heplify.pcap", "sngrep-aaa.pcap")


def _replayed(capture: Path) -> list[Seen]:
    return [Seen(record["method"], record["callid"]) for record in product.replay(capture) if record["kind"] == "sip"]


def _read_by_tshark(payload: bytes) -> bool:
    """Tell whether tshark 4.0 reads the message: no line end before it, no blank between a name and its colon."""
    return not payload.startswith(b"\r\n") and re.search(rb"(?im)^(call-id|i)[ \t]+:", payload) is None


@pytest.mark.parametrize("name", _PLAIN_UDP)
def test_replay_of_a_corpus_capture_sees_what_tshark_sees(tshark_here: None, corpus_here: Path, name: str) -> None:
    """Number, methods and Call-IDs of the SIP messages are those that tshark finds, in its order."""
    capture = corpus_here / "pcap" / name
    seen = tshark.read(capture)
    assert seen
    assert _replayed(capture) == seen


def test_replay_of_generated_calls_sees_what_tshark_sees(tshark_here: None, tmp_path: Path) -> None:
    """The generated calls as plain UDP, IPv4 and IPv6, are the same messages to both."""
    capture = tmp_path / "calls.pcap"
    messages = [
        (replace(envelope, ts_us=1_700_000_000_000_000 + number), payload)
        for number, (envelope, payload) in enumerate(message for call in calls.generate() for message in call.messages)
        if _read_by_tshark(payload)
    ]
    pcap.write(capture, messages)
    seen = tshark.read(capture)
    assert len(seen) == len(messages)
    assert _replayed(capture) == seen
