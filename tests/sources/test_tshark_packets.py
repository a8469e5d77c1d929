"""What tshark sees beside SIP: packets without a message, RTCP, TLS that it cannot open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import packets as p
from tests.support.messages import BASE_TS_US, sip, sip_message
from tests.support.programs import need
from tests.support.rtcp import sender_report
from tests.support.tcp import tcp
from tests.support.tls import self_signed
from tests.support.tls_capture import capture_tls
from tests.support.tshark import native, packets_in, seen


@pytest.fixture(autouse=True)
def tshark_is_here() -> None:
    """These tests need the program."""
    need("tshark")


HINT = "nothing could be read of TLS: --keylog FILE has its secrets, --ports says where SIP is in it"


@pytest.mark.parametrize("given", ["ports", "wrong keys", "keys", "nothing", "all"])
def test_tshark_that_cannot_open_tls_says_what_it_takes(
    tmp_path: Path, log: pytest.LogCaptureFixture, given: str
) -> None:
    """All packets are counted, those of TLS by that name; one line has the options that may be missing."""
    if os.geteuid():
        pytest.skip("capturing on loopback needs root")
    capture = capture_tls(tmp_path, self_signed(tmp_path, "server"), [sip_message(0), sip_message(1)])
    options: dict[str, object] = {}
    if given not in {"keys", "nothing"}:
        options["ports"] = range(capture.server_port, capture.server_port + 1)
    if given in ("keys", "all"):
        options["keylog"] = str(capture.keylog)
    elif given == "wrong keys":
        wrong = tmp_path / "wrong"
        wrong.write_text(f"CLIENT_RANDOM {'00' * 32} {'11' * 48}\n")
        options["keylog"] = str(wrong)
    messages, source = seen(capture.path, **options)
    packets, size = packets_in(capture.path)
    assert (source.stats.packets, source.stats.bytes) == (packets, size)
    is_open = given == "all"
    assert len(messages) == (2 if is_open else 0)
    assert source.skipped.total() == packets - len(messages)
    assert source.skipped["tls"] > 0
    assert log.messages.count(HINT) == (0 if is_open else 1)


def test_tshark_counts_packets_without_a_message(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """Each under one reason, and of every capture anew."""
    path = tmp_path / "mixed.pcap"
    frames = [p.udp(sip_message(0)), p.udp(b"\x80" * 20, 9, 9), p.udp(b"?", 9, 9)]
    mixed = [p.ethernet(p.ip4(each)) for each in frames]
    mixed += [p.ethernet(p.ip4(tcp(b"SSH-2.0-x\r\n", 40_000, 22, sequence=at * 11), 6)) for at in range(3)]
    path.write_bytes(p.pcap((BASE_TS_US + at, frame) for at, frame in enumerate(mixed)))
    messages, source = seen(path, loops=2)
    assert len(messages) == 2
    assert source.stats.packets == 2 * len(mixed)
    assert source.skipped == {"other": 4, "tcp": 2 * (len(mixed) - 3)}
    assert HINT not in log.messages


RTCP_ENDS = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n"


@pytest.mark.parametrize("ports", [None, range(5_060, 5_061), range(6_000, 6_001)])
def test_tshark_takes_rtcp_as_the_native_reader_does(tmp_path: Path, ports: range | None) -> None:
    """Tied to its call, with a port filter, too; the rest of media is none."""
    invite = sip(headers={"Content-Type": "application/sdp"}, body=RTCP_ENDS.encode())
    path = tmp_path / "call.pcap"
    payloads = [(invite, 5_060), (sender_report(), 4_001), (b"\x80\x00" + bytes(20), 4_000), (sender_report(), 5_000)]
    path.write_bytes(p.pcap(
        (BASE_TS_US + at, p.ethernet(p.ip4(p.udp(payload, port, port), source="192.0.2.1")))
        for at, (payload, port) in enumerate(payloads)
    ))  # fmt: skip
    messages, source = seen(path, ports=ports)
    wanted = native(path)
    if ports is not None:
        wanted = [message for message in wanted if ports[0] == 5_060 and message.source_port != 5_000]
    assert messages == wanted
    assert len(messages) == {None: 3, 5_060: 2, 6_000: 0}[ports if ports is None else ports[0]]
    assert source.skipped.total() == 4 - len(messages) - source.stats.filtered.total()
