"""tshark as oracle for ``replay``: the same messages in the same captures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import packets
from tests.support.layered import CASES, SEGMENT_CASES, two_segments
from tests.support.messages import sip, sip_message

from . import calls, pcap, product, tshark
from .tshark import Seen

_FIRST_US = 1_700_000_000_000_000
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


def _in_layers(capture: Path, link: int, *, blind: bool) -> tuple[list[str], tuple[str, ...]]:
    """Write one message through every layer of a link type; their Call-IDs, and what tshark has to be told."""
    frames: list[bytes] = []
    call_ids: list[str] = []
    options: tuple[str, ...] = ()
    for name, case in CASES.items():
        if case.link == link and bool(case.blind) is blind:
            call_ids.append(name.replace(" ", "-").replace(",", ""))
            frames += case.frames(sip(headers={"Call-ID": call_ids[-1]}))
            options += case.options
    capture.write_bytes(packets.pcap(((_FIRST_US + 1_000 * at, frame) for at, frame in enumerate(frames)), link))
    return call_ids, options


@pytest.mark.parametrize("link", sorted({case.link for case in CASES.values()}))
def test_replay_of_every_layer_sees_what_tshark_sees(tshark_here: None, tmp_path: Path, link: int) -> None:
    """What tshark finds behind each link type, tunnel and fragment, sipcap finds."""
    capture = tmp_path / "layers.pcap"
    call_ids, options = _in_layers(capture, link, blind=False)
    seen = tshark.read(capture, options)
    assert [each.call_id for each in seen] == call_ids
    assert _replayed(capture) == seen


def test_replay_of_tcp_in_layers_sees_what_tshark_sees(tshark_here: None, tmp_path: Path) -> None:
    """Segments in tunnels and in fragments are streams to both."""
    frames: list[bytes] = []
    for number, name in enumerate(SEGMENT_CASES, 1):
        frames += two_segments(name, sip(headers={"Call-ID": name.replace(" ", "-")}), number)
    capture = tmp_path / "segments.pcap"
    capture.write_bytes(packets.pcap((_FIRST_US + 1_000 * at, frame) for at, frame in enumerate(frames)))
    seen = tshark.read(capture)
    assert [each.call_id for each in seen] == [name.replace(" ", "-") for name in SEGMENT_CASES]
    assert _replayed(capture) == seen


def test_replay_sees_layers_that_tshark_does_not_know(tshark_here: None, tmp_path: Path) -> None:
    """Where a case says that tshark is blind, it is, and sipcap is not."""
    capture = tmp_path / "layers.pcap"
    call_ids, options = _in_layers(capture, packets.ETHERNET, blind=True)
    assert tshark.read(capture, options) == []
    assert [each.call_id for each in _replayed(capture)] == call_ids


def test_replay_sees_hep_that_tshark_does_not_know(tshark_here: None, corpus_here: Path) -> None:
    """Tshark 4.0 has no HEP: in a capture of it, it finds nothing, and sipcap the SIP that is inside."""
    capture = corpus_here / "pcap" / "hep3-homer.pcap"
    assert tshark.read(capture) == []
    assert len(_replayed(capture)) == 6


def test_replay_of_sctp_bundles_sees_what_tshark_sees(tshark_here: None, tmp_path: Path) -> None:
    """Several messages in one packet, and a packet that is sent again."""
    messages = [sip(headers={"Call-ID": f"bundle-{number}"}) for number in range(3)]
    chunks = [packets.sctp_data(each, number) for number, each in enumerate(messages)]
    bundle = packets.ethernet(packets.ip4(packets.sctp(*chunks), 132))
    single = packets.ethernet(packets.ip4(packets.sctp(packets.sctp_data(sip_message(0), 9)), 132))
    capture = tmp_path / "bundle.pcap"
    capture.write_bytes(packets.pcap((_FIRST_US + at, each) for at, each in enumerate((bundle, bundle, single))))
    seen = tshark.read(capture)
    assert [each.call_id for each in seen][:3] == ["bundle-0", "bundle-1", "bundle-2"]
    assert len(seen) == 4
    assert _replayed(capture) == seen
