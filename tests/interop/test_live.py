"""Calls of SIPp across a cable between two namespaces, captured from it: what SIPp logged is what comes out."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.background import Background, background, imbalance, wait_for
from tests.support.live import JSON, wait_for_lines
from tests.support.namespaces import Cable, cable

from . import sipp
from .sipp import MESSAGES_A_CALL, Place, Sent

_CALLS = 20
_IPIP = 4

pytestmark = pytest.mark.usefixtures("sipp_here")


@pytest.fixture(scope="module")
def network() -> Iterator[Cable]:
    """The cable of all tests here."""
    with cable() as laid:
        yield laid


@contextlib.contextmanager
def _capturing(network: Cable, folder: Path, *args: str) -> Iterator[Background]:
    with background(folder, "listen", *JSON, *args, before=network.right.before) as process:
        wait_for(lambda: process.ended or "listening on" in process.said, "listening")
        yield process


def _calls(network: Cable, folder: Path, transport: str = "u1") -> list[Sent]:
    """Make calls from the left side to the right one."""
    left = Place(network.left.ip4, network.left.before, transport)
    right = Place(network.right.ip4, network.right.before, transport)
    with sipp.answering(folder, right) as callee:
        return sipp.call(folder, callee.port, _CALLS, host=right.host, place=left)


def _found(process: Background) -> list[Sent]:
    return sorted(Sent(line["source_port"], line["destination_port"], line["msg"].encode()) for line in process.lines)


@pytest.mark.parametrize("args", [(), ("--bpf", "udp"), ("--children", "2")])
def test_mirror_has_every_message_of_real_calls(network: Cable, tmp_path: Path, args: tuple[str, ...]) -> None:
    """Both directions, each message once, exactly as SIPp says it sent or received it."""
    with _capturing(network, tmp_path, "--mode", "mirror", "--iface", "right", *args) as process:
        sent = _calls(network, tmp_path)
        assert len(sent) >= _CALLS * MESSAGES_A_CALL
        wait_for_lines(process, len(sent))
        assert process.stop() == 0
        assert _found(process) == sorted(sent)
    assert (process.summary["kernel_dropped"], imbalance(process.summary)) == (0, 0)


@pytest.mark.parametrize("args", [(), ("--listen", "*:1024-65535", "--bpf", "--children", "2")])
def test_mirror_has_every_message_of_real_calls_over_tcp(network: Cable, tmp_path: Path, args: tuple[str, ...]) -> None:
    """Segments are put together to the messages that SIPp says it sent or received; each is marked as TCP's."""
    with _capturing(network, tmp_path, "--mode", "mirror", "--iface", "right", *args) as process:
        sent = _calls(network, tmp_path, "t1")
        assert len(sent) >= _CALLS * MESSAGES_A_CALL
        wait_for_lines(process, len(sent))
        assert process.stop() == 0
        assert _found(process) == sorted(sent)
        assert {line["proto"] for line in process.lines} == {2}
    assert (process.summary["kernel_dropped"], imbalance(process.summary)) == (0, 0)


@contextlib.contextmanager
def tunnelling(network: Cable) -> Iterator[None]:
    """What crosses the cable is sent again, as a mirror would, in IP in IP to the right side's second address."""
    stop_reading, stop_writing = os.pipe()

    def relay() -> None:
        with network.left.sniffer() as wire, network.left.open_socket(socket.AF_INET, socket.SOCK_RAW, _IPIP) as out:
            while stop_reading not in select.select([wire.fileno(), stop_reading], [], [])[0]:
                frame = wire.recv(65_535)
                if frame[12:14] == b"\x08\x00" and frame[23] != _IPIP:
                    length = int.from_bytes(frame[16:18], "big")
                    out.sendto(frame[14 : 14 + length], (network.right.ip4, 0))

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        yield
    finally:
        os.write(stop_writing, b".")
        thread.join()
        os.close(stop_reading)
        os.close(stop_writing)


@pytest.mark.parametrize("transport", ["u1", "t1"])
@pytest.mark.parametrize("args", [(), ("--children", "2")])
def test_ipip_has_every_message_of_real_calls(
    network: Cable, tmp_path: Path, args: tuple[str, ...], transport: str
) -> None:
    """The inner packets are the calls', their addresses and texts unchanged."""
    with _capturing(network, tmp_path, "--mode", "ipip", *args) as process:
        with tunnelling(network):
            sent = _calls(network, tmp_path, transport)
            wait_for_lines(process, len(sent))
        assert process.stop() == 0
        assert _found(process) == sorted(sent)
        ends = {(line["source_ip"], line["destination_ip"]) for line in process.lines}
    assert ends == {(network.left.ip4, network.right.ip4), (network.right.ip4, network.left.ip4)}
    assert (process.summary["kernel_dropped"], imbalance(process.summary)) == (0, 0)
