"""HEP over TLS: handshakes good and bad, fragments, certificates."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart
from sipcap.sources.hep import HepOptions, HepSource
from tests.support.messages import chunk, hep3, hep3_datagram, sip_message, usual_chunks
from tests.support.receiving import PATIENCE_S, connect, opened, port_of, take
from tests.support.tls import Identity, client_context, self_signed

FRAMES = [hep3_datagram(number) for number in range(12)]
ENDPOINT = "tls:127.0.0.1:0"


@pytest.fixture
def options(server: Identity) -> HepOptions:
    """A TLS server that trusts everybody."""
    return HepOptions((), tls_cert=server.cert, tls_key=server.key)


@contextlib.contextmanager
def in_thread(work: Callable[[], None]) -> Iterator[list[BaseException]]:
    """Run a client beside the source; what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield raised
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def send_tls(port: int, data: bytes, context: ssl.SSLContext) -> None:
    """Send over TLS, and read whatever the server has against it."""
    with context.wrap_socket(connect(port)) as client:
        client.sendall(data)
        client.unwrap().close()


def payloads(source: HepSource, number: int) -> list[bytes]:
    """What came of so many messages."""
    return [message.payload for message in take(source, number)]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_frames_come_through_every_version(options: HepOptions, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 carry frames, several to a record and one over several."""
    context = client_context()
    context.minimum_version = context.maximum_version = version
    large = hep3(*usual_chunks(), chunk(15, b"x" * 60_000))
    with (
        opened(ENDPOINT, options=options) as source,
        in_thread(lambda: send_tls(port_of(source), b"".join([*FRAMES, large, FRAMES[0]]), context)),
    ):
        assert payloads(source, 14) == [*map(sip_message, range(12)), b"x" * 60_000, sip_message(0)]
        assert source.stats.imbalance() == len(source.stats.rejected) + 14


def test_frames_come_through_byte_by_byte(options: HepOptions) -> None:
    """TLS records cut into single bytes (the handshake, too) do no harm, and keep nobody else waiting."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing)
    with opened(ENDPOINT, options=options) as source, connect(port_of(source)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def flush() -> None:
            for byte in outgoing.read():
                client.send(bytes((byte,)))

        def drip() -> None:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    flush()
                    incoming.write(client.recv(65_536))
            tls.write(FRAMES[0])
            flush()

        with in_thread(drip) as raised:
            assert payloads(source, 1) == [sip_message(0)]
        assert raised == []


def test_client_without_tls_is_closed_and_named_once(options: HepOptions, log: pytest.LogCaptureFixture) -> None:
    """Plain HEP on a TLS port gives one line in the log, however often it comes, and no message."""
    with opened(ENDPOINT, options=options) as source:
        clients = [connect(port_of(source)) for _ in range(3)]
        for client in clients:
            client.sendall(FRAMES[0])
        closed: list[socket.socket] = []

        def read() -> None:
            for client in clients:
                with contextlib.suppress(ConnectionResetError):  # what it sent is thrown away unread
                    while client.recv(1_000):
                        pass
                closed.append(client)

        with in_thread(read) as raised:
            assert take(source, 0, until=lambda: closed == clients) == []
        assert raised == []
        for client in clients:
            client.close()
    assert sum("TLS with 127.0.0.1 failed" in text for text in log.messages) == 1


def test_stop_delivers_what_the_kernel_holds(options: HepOptions) -> None:
    """Frames that came over TLS before the stop are delivered, even if none was read yet."""
    greeted, sent = threading.Event(), threading.Event()
    with opened(ENDPOINT, options=options) as source:

        def send() -> None:
            with client_context().wrap_socket(connect(port_of(source))) as client:
                client.sendall(FRAMES[0])
                assert greeted.wait(PATIENCE_S)
                client.sendall(b"".join(FRAMES[1:] * 10))
                sent.set()
                client.recv(1)

        with in_thread(send) as raised:
            batches = iter(source)
            got: list[bytes] = []
            while not got:
                got += [message.payload for message in next(batches)]
            greeted.set()
            assert sent.wait(PATIENCE_S)
            source.stop()
            got += [message.payload for batch in batches for message in batch]
            source.close()
        assert raised == []
    assert got == [sip_message(0), *list(map(sip_message, range(1, 12))) * 10]


@pytest.mark.parametrize("who", ["agent", "stranger", None])
def test_client_certificate_decides(
    options: HepOptions, authority: Identity, who: str | None, request: pytest.FixtureRequest
) -> None:
    """With a client CA, only agents that it vouches for are heard; others are told so."""
    identity: Identity | None = request.getfixturevalue(who) if who else None
    demanding = replace(options, tls_client_ca=authority.cert)
    context = client_context(identity)
    ended: list[bool] = []
    with opened(ENDPOINT, options=demanding) as source:

        def send() -> None:
            try:
                with context.wrap_socket(connect(port_of(source))) as client:
                    client.sendall(FRAMES[0])
                    client.recv(1)  # TLS 1.3 says here that the certificate is not good
            finally:
                ended.append(True)

        with in_thread(send) as raised:
            if who == "agent":
                assert payloads(source, 1) == [sip_message(0)]
                source.close()
            else:
                assert take(source, 0, until=lambda: bool(ended)) == []
    assert [isinstance(error, OSError) for error in raised] == ([] if who == "agent" else [True])


def test_handshake_that_stalls_is_closed_and_delays_nobody(options: HepOptions) -> None:
    """A peer that stops inside the handshake is closed, while others are served."""
    impatient = replace(options, idle_s=0.0)
    with opened(ENDPOINT, "tcp:127.0.0.1:0", options=impatient) as source:
        with connect(port_of(source)) as silent, connect(port_of(source, 1)) as plain:
            silent.send(b"\x16\x03\x01")
            plain.sendall(FRAMES[0])
            closed: list[bytes] = []
            with in_thread(lambda: closed.append(silent.recv(1_000))) as raised:
                messages = take(source, 0, until=lambda: bool(closed or raised))
        assert [message.payload for message in messages] == [sip_message(0)]
        assert source.stats.rejected == {}


@pytest.mark.parametrize("broken", ["missing", "empty", "not PEM", "other key", "encrypted key", "no key"])
def test_certificate_that_cannot_be_used_is_an_error_of_one_line(
    broken: str, server: Identity, stranger: Identity, tmp_path: Path
) -> None:
    """Whatever is wrong with the files: cannot start, one line, and nobody is asked for a password."""
    odd = tmp_path / "odd.pem"
    odd.write_text("" if broken == "empty" else "hello")
    cert, key = {
        "missing": (None, None),
        "empty": (odd, None),
        "not PEM": (server.cert, odd),
        "other key": (server.cert, stranger.key),
        "encrypted key": (server.cert, None),
        "no key": (server.cert, None),
    }[broken]
    if broken == "encrypted key":
        locked = self_signed(tmp_path, "locked", "-passout", "pass:secret")
        cert, key = locked.cert, locked.key
    source = HepSource(HepOptions([Endpoint("tls", "127.0.0.1", 0, 0)], tls_cert=cert, tls_key=key))
    with pytest.raises(CannotStart) as caught:
        source.open()
    assert "\n" not in str(caught.value)
    assert "TLS" in str(caught.value) or "--tls-cert" in str(caught.value)


def test_client_ca_that_cannot_be_used_is_an_error_of_one_line(options: HepOptions, tmp_path: Path) -> None:
    """A CA file without certificates does not silently trust everybody, or nobody."""
    odd = tmp_path / "odd.pem"
    odd.write_text("")
    source = HepSource(replace(options, endpoints=[Endpoint("tls", "127.0.0.1", 0, 0)], tls_client_ca=odd))
    with pytest.raises(CannotStart, match="client CA"):
        source.open()


def test_agents_that_come_and_go_leave_nothing_behind(options: HepOptions) -> None:
    """Connections that end well, in the handshake, or by a reset all give their place back."""
    with opened(ENDPOINT, options=replace(options, max_connections=3)) as source:

        def visit() -> None:
            for number in range(8):
                with connect(port_of(source)) as rude:
                    rude.send(b"\x16\x03" if number % 2 else b"")
                time.sleep(0.02)
                send_tls(port_of(source), FRAMES[number], client_context())

        with in_thread(visit) as raised:
            assert payloads(source, 8) == [sip_message(number) for number in range(8)]
        assert raised == []


def test_tls_sender_of_what_is_refused_is_known(options: HepOptions) -> None:
    """As over TCP."""
    with opened(ENDPOINT, options=replace(options, auth_key=b"key")) as source:
        port = port_of(source)
        with in_thread(lambda: send_tls(port, FRAMES[0], client_context())) as raised:
            take(source, 0, until=lambda: bool(source.stats.rejected))
        assert raised == []
        assert source.stats.last_senders == {"auth_key": "127.0.0.1"}
