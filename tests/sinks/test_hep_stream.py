"""HEP over TCP and TLS: what a collector gets when connections break, and what is counted."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from sipcap.counters import Counters
from sipcap.endpoint import parse_endpoint
from sipcap.errors import CannotStart
from sipcap.sinks import hep_stream
from sipcap.sinks.hep import HepSink, HepTarget
from sipcap.wire.hep import decode_datagram
from sipcap.wire.hep_stream import HepFramer
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US, sip, sip_message
from tests.support.tls import Identity, self_signed

SIP = Message(sip(), BASE_TS_US, "192.0.2.1", 5060, "192.0.2.2", 5062, 17, 2)
WAIT_S = 30


class Collector:
    """Takes connections one after the other; each is cut off when it has given ``cuts`` bytes, the last one never."""

    def __init__(self, cuts: list[int], tls: ssl.SSLContext | None = None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.payloads: list[bytes] = []
        self.connections = 0
        self.failure: BaseException | None = None
        self._cuts = cuts
        self._tls = tls
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def endpoint(self) -> str:
        """Where it is."""
        return f"{'tcp' if self._tls is None else 'tls'}:127.0.0.1:{self.listening.getsockname()[1]}"

    def _run(self) -> None:
        for cut in [*self._cuts, None]:
            connection, _ = self.listening.accept()
            self.connections += 1
            if self._tls is not None:
                try:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                except OSError as error:
                    self.failure = error
                    connection.close()
                    continue
            self._take(connection, cut)

    def _take(self, connection: socket.socket, cut: int | None) -> None:
        framer, taken = HepFramer(), 0
        with connection:
            while (cut is None or taken < cut) and (data := connection.recv(4_096)):
                taken += len(data)
                framer.receive_data(data)
                while (frame := framer.next_frame()) is not None:
                    messages: list[Message] = []
                    decode_datagram(frame, messages)
                    self.payloads.append(messages[0].payload)
            if cut is not None:  # with a reset, as of a process that was killed
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def wait(self) -> list[bytes]:
        """All payloads, when the last connection has ended."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self.listening.close()
        return self.payloads


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    """A certificate for 127.0.0.1 that vouches for itself."""
    return self_signed(tmp_path, "collector", "-nodes", "-addext", "subjectAltName=IP:127.0.0.1")


@pytest.fixture
def server_tls(identity: Identity) -> ssl.SSLContext:
    """What the collector speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    return context


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are tried again soon."""
    monkeypatch.setattr(hep_stream, "RETRY_S", 0.05)


def opened(endpoint: str, tls: ssl.SSLContext | None = None) -> tuple[HepSink, Counters]:
    """A connected sink and its counters."""
    counters = Counters()
    sink = HepSink(HepTarget(parse_endpoint(endpoint), tls=tls), counters)
    sink.open()
    return sink, counters


def send_all(sink: HepSink, counters: Counters, payloads: list[bytes], stopped: Callable[[], bool] = bool) -> None:
    """Send and close, and see that the counters add up."""
    for payload in payloads:
        counters.received += 1
        sink.send(replace(SIP, payload=payload), stopped)
    sink.close(stopped)
    sink.close(stopped)
    assert counters.imbalance() == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_carries_frames_of_any_size(
    identity: Identity, server_tls: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    """All frames arrive whole and in order, to a collector whose certificate was checked."""
    server_tls.maximum_version = version
    collector = Collector([], server_tls)
    sink, counters = opened(collector.endpoint(), ssl.create_default_context(cafile=identity.cert))
    payloads = [sip_message(0), b"x" * 65_000, *(sip_message(number) for number in range(300))]
    send_all(sink, counters, payloads)
    assert collector.wait() == payloads
    assert counters.stored == 302


def test_tls_to_a_stranger_cannot_start(server_tls: ssl.SSLContext) -> None:
    """A certificate that nobody vouches for is refused, with the reason."""
    collector = Collector([], server_tls)
    with pytest.raises(CannotStart, match=r"certificate refused: self.signed"):
        opened(collector.endpoint(), ssl.create_default_context())
    collector.wait()
    assert isinstance(collector.failure, OSError)


def test_tls_to_a_port_without_it_cannot_start() -> None:
    """A collector that closes in the middle of the handshake is an error at the start."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            connection, _ = listening.accept()
            connection.close()

        refusing = threading.Thread(target=refuse)
        refusing.start()
        with pytest.raises(CannotStart, match="cannot send to tls:"):
            opened(f"tls:127.0.0.1:{listening.getsockname()[1]}", ssl.create_default_context())
        refusing.join(WAIT_S)


@pytest.mark.parametrize("secure", [False, True])
def test_a_broken_connection_loses_nothing_that_was_not_confirmed(
    identity: Identity, server_tls: ssl.SSLContext, secure: bool
) -> None:
    """A collector that is killed again and again gets every message that its system had not taken already."""
    collector = Collector([10_000, 20_000, 1], server_tls if secure else None)
    sink, counters = opened(collector.endpoint(), ssl.create_default_context(cafile=identity.cert) if secure else None)
    payloads = [sip_message(number) for number in range(5_000)]
    send_all(sink, counters, payloads)
    got = collector.wait()
    assert collector.connections == 4
    assert counters.stored == 5_000
    # What a system had confirmed and its process not read is gone, unseen: one stretch for each connection.
    missing = sorted(set(payloads) - set(got), key=payloads.index)
    assert len(missing) + len(set(got)) == 5_000
    gaps = sum(payloads.index(each) == 0 or payloads[payloads.index(each) - 1] not in missing for each in missing)
    assert gaps <= 3
    assert got[-1] == payloads[-1]


def test_frames_that_were_sent_to_a_dead_peer_are_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    """What was written before the break shows, and not confirmed, is not lost."""
    collector = Collector([1])
    sink, counters = opened(collector.endpoint())
    send_all(sink, counters, [sip_message(0)])  # it may be lost: read by a system whose process died
    assert counters.stored + counters.dropped.total() == 1
    _visit(collector)
    collector.wait()


def _visit(collector: Collector) -> None:
    """Let a collector that still waits for a connection have one."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", collector.listening.getsockname()[1])):
        pass


def test_a_collector_that_stays_away_drops_by_name(monkeypatch: pytest.MonkeyPatch, tcp_port: int) -> None:
    """When a collector does not come back in time, messages are dropped{disconnected}, and there is an end."""
    monkeypatch.setattr(hep_stream, "RECONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", tcp_port)) as listening:
        sink, counters = opened(f"tcp:127.0.0.1:{tcp_port}")
        connection, _ = listening.accept()
        connection.close()
    started_s = time.monotonic()
    send_all(sink, counters, [sip_message(number) for number in range(50)])
    assert time.monotonic() - started_s < WAIT_S
    assert counters.dropped["disconnected"] >= 49
    assert counters.stored <= 1


def test_a_collector_that_comes_back_gets_what_was_sent_meanwhile(tcp_port: int) -> None:
    """Messages wait for a collector that restarts."""
    with socket.create_server(("127.0.0.1", tcp_port)) as listening:
        sink, counters = opened(f"tcp:127.0.0.1:{tcp_port}")
        connection, _ = listening.accept()
        connection.close()
    received = bytearray()

    def restart() -> None:
        time.sleep(0.3)
        with socket.create_server(("127.0.0.1", tcp_port)) as listening:
            connection, _ = listening.accept()
            with connection:
                while data := connection.recv(65_536):
                    received.extend(data)

    collector = threading.Thread(target=restart)
    collector.start()
    payloads = [sip_message(number) for number in range(100)]
    send_all(sink, counters, payloads)
    collector.join(WAIT_S)
    messages: list[Message] = []
    while received:
        size = int.from_bytes(received[4:6], "big")
        decode_datagram(bytes(received[:size]), messages)
        del received[:size]
    assert [message.payload for message in messages] == payloads
    assert counters.stored == 100
    assert not counters.dropped


def test_a_stop_ends_the_wait_for_a_collector(tcp_port: int) -> None:
    """Who stops a replay does not wait a minute for a collector that has gone; what is left over is counted."""
    with socket.create_server(("127.0.0.1", tcp_port)) as listening:
        sink, counters = opened(f"tcp:127.0.0.1:{tcp_port}")
        connection, _ = listening.accept()
        connection.close()
    until_s = time.monotonic() + 0.3
    started_s = time.monotonic()
    send_all(sink, counters, [sip()] * 5, lambda: time.monotonic() > until_s)
    assert time.monotonic() - started_s < WAIT_S
    assert counters.dropped["stopped"] >= 4


def test_what_is_not_confirmed_at_the_end_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that reads nothing leaves frames unconfirmed, and they do not count as sent."""
    monkeypatch.setattr(hep_stream, "FINISH_S", 0.2)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        sink, counters = opened(f"tcp:127.0.0.1:{listening.getsockname()[1]}")
        connection, _ = listening.accept()
        with connection:
            send_all(sink, counters, [b"x" * 60_000] * 3)
    assert counters.dropped["unconfirmed"] >= 1
