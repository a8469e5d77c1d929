"""Live HEP on several endpoints at once: nobody waits for anybody, and a stop loses nothing."""

from __future__ import annotations

import itertools
import socket
import time
from contextlib import ExitStack

import pytest

from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart
from sipcap.sources import hep
from sipcap.sources.addresses import parse_networks
from sipcap.sources.hep import HepOptions, HepSource
from sipcap.sources.hep_udp import UdpPort
from tests.support.messages import hep3_datagram, hep3_with, hep12, sip_message, time_block
from tests.support.receiving import PATIENCE_S, connect, opened, port_of, send_udp, take

NOBODY = HepOptions((), allow=parse_networks(["192.0.2.0/24"]))
UDP, TCP = "udp:127.0.0.1:0", "tcp:127.0.0.1:0"


def datagrams(count: int) -> list[bytes]:
    """So many different ones."""
    return [hep3_datagram(number) for number in range(count)]


def test_endpoints_of_all_kinds_are_heard_at_once() -> None:
    """UDP and TCP, IPv4 and IPv6, any address and a name: one source."""
    with opened(UDP, TCP, "udp:[::1]:0", "tcp:[::1]:0", "udp:*:0", "localhost:0") as source, ExitStack() as stack:
        names = [address.rpartition(":")[0] for address in source.addresses]
        assert names[:5] == ["udp:127.0.0.1", "tcp:127.0.0.1", "udp:[::1]", "tcp:[::1]", "udp:[::]"]
        for number, (host, index) in enumerate([("127.0.0.1", 0), ("::1", 2), ("127.0.0.1", 4), ("::1", 4)]):
            send_udp(port_of(source, index), hep3_datagram(number), host=host)
        send_udp(port_of(source, 5), hep3_datagram(4))
        for number, (host, index) in enumerate([("127.0.0.1", 1), ("::1", 3)], start=5):
            stack.enter_context(connect(port_of(source, index), host=host)).sendall(hep3_datagram(number))
        got = {message.payload for message in take(source, 7)}
    assert got == {sip_message(number) for number in range(7)}


def test_versions_are_told_apart() -> None:
    """HEPv1, v2 and v3 come on the same socket."""
    with opened(UDP) as source:
        block = time_block(1_700_000_000, 1, 77)
        send_udp(port_of(source), hep12(b"one"), hep12(b"two", version=2, block=block), hep3_with(b"three"))
        got = [(each.hep_version, each.payload) for each in take(source, 3)]
    assert got == [(1, b"one"), (2, b"two"), (3, b"three")]


def test_iteration_ticks_while_nothing_comes() -> None:
    """The caller can look at the clock ten times a second."""
    with opened(UDP, TCP) as source:
        begin_s = time.monotonic()
        assert list(itertools.islice(source, 3)) == [[], [], []]
        assert time.monotonic() - begin_s < PATIENCE_S


@pytest.mark.parametrize("endpoint", [UDP, TCP])
def test_iteration_ticks_in_a_flood_of_what_is_not_heard(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever floods us from an address that is not allowed cannot keep a stop from being noticed."""
    monkeypatch.setattr(hep, "FLUSH_INTERVAL_S", 600.0)  # a tick must come of what was refused
    with opened(endpoint, options=NOBODY) as source:
        batches = iter(source)
        for _ in range(20):
            if endpoint == UDP:
                send_udp(port_of(source), b"x", b"y")
            else:
                connect(port_of(source)).close()
            assert next(batches) == []
        source.stop()
        assert not any(batches)
        assert source.stats.rejected["not_allowed"] == source.stats.received >= 20


def test_iteration_ticks_while_frames_trickle_in() -> None:
    """Connections that always have a few bytes, and never a frame, do not hold up the caller."""
    with opened(TCP) as source, connect(port_of(source)) as client:
        batches = iter(source)
        next(batches)
        for byte in hep3_datagram(0)[:20]:
            client.send(bytes((byte,)))
            assert next(batches) == []
        source.stop()
        assert list(batches)


def test_stalled_client_delays_nobody() -> None:
    """While one peer is in the middle of a frame, others are served at once."""
    with opened(TCP, UDP) as source, connect(port_of(source)) as stalled, connect(port_of(source)) as other:
        stalled.sendall(hep3_datagram(0)[:-1])
        other.sendall(hep3_datagram(1))
        send_udp(port_of(source, 1), hep3_datagram(2))
        begin_s = time.monotonic()
        got = {message.payload for message in take(source, 2)}
        assert time.monotonic() - begin_s < 5.0
    assert got == {sip_message(1), sip_message(2)}
    assert source.stats.rejected == {"stream_cut": 1}
    assert source.stats.received == 3


def test_stalled_client_is_closed() -> None:
    """A frame that is not finished in time is counted, and its connection is given up."""
    with opened(TCP, options=HepOptions((), idle_s=0.05)) as source, connect(port_of(source)) as stalled:
        stalled.sendall(hep3_datagram(0)[:-1])
        assert take(source, 0, until=lambda: source.stats.rejected["stream_cut"] == 1) == []
        assert stalled.recv(1) == b""


def test_stalled_reader_of_ours_is_not_the_peers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that waits in the kernel while our caller is busy is not cut, however long that takes."""
    monkeypatch.setattr(hep, "_HOUSEKEEPING_S", 0.01)
    whole = hep3_datagram(0)
    with opened(TCP, options=HepOptions((), idle_s=0.3)) as source, connect(port_of(source)) as client:
        client.sendall(whole[:100])
        got = []
        for number, batch in enumerate(source):
            got += batch
            if number == 1:
                client.sendall(whole[100:])
                time.sleep(0.5)
            if got:
                source.stop()
        assert [message.payload for message in got] == [sip_message(0)]
    assert source.stats.rejected == {}


def test_thousand_connections_are_all_served() -> None:
    """A thousand agents at once, each with its message."""
    with opened(TCP) as source, ExitStack() as stack:
        for number in range(1_000):
            stack.enter_context(connect(port_of(source))).sendall(hep3_datagram(number))
        got = {message.payload for message in take(source, 1_000)}
    assert got == {sip_message(number) for number in range(1_000)}
    assert source.stats.rejected == {}


def test_connections_beyond_the_bound_are_refused_and_counted() -> None:
    """The bound holds for all endpoints together; those who are in stay in."""
    with opened(TCP, "tcp:[::1]:0", options=HepOptions((), max_connections=2)) as source, ExitStack() as stack:
        clients = [stack.enter_context(connect(port_of(source))), stack.enter_context(connect(port_of(source)))]
        batches = iter(source)
        next(batches)
        refused = stack.enter_context(connect(port_of(source, 1), host="::1"))
        next(batches)
        assert refused.recv(1) == b""
        clients[0].sendall(hep3_datagram(0))
        assert len(next(batches)) == 1
    assert source.stats.rejected == {"too_many_connections": 1}


def test_stop_delivers_what_the_kernel_holds() -> None:
    """Datagrams, frames and connections that came before the stop are delivered, even if none was read yet."""
    with opened(UDP, TCP, UDP) as source, ExitStack() as stack:
        send_udp(port_of(source), *datagrams(100))
        send_udp(port_of(source, 2), hep3_datagram(100))
        for number in range(101, 110):
            client = stack.enter_context(connect(port_of(source, 1)))
            client.sendall(hep3_datagram(number))
        source.stop()
        got = {message.payload for batch in source for message in batch}
    assert got == {sip_message(number) for number in range(110)}


def test_stop_delivers_what_stands_behind_refused_datagrams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that begins with batches of strangers is read to its end."""
    options = HepOptions((), allow=parse_networks(["127.0.0.2"]))
    monkeypatch.setattr(UdpPort.receive, "__defaults__", (16,))
    with opened(UDP, options=options) as source:
        send_udp(port_of(source), *datagrams(64))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as friend:
            friend.bind(("127.0.0.2", 0))
            friend.sendto(hep3_datagram(7), ("127.0.0.1", port_of(source)))
        source.stop()
        assert [message.payload for batch in source for message in batch] == [sip_message(7)]
    assert source.stats.rejected == {"not_allowed": 64}


def test_stop_ends_while_somebody_goes_on_sending() -> None:
    """What comes after the stop is not received, and does not count as dropped."""
    with opened(UDP) as source:
        send_udp(port_of(source), hep3_datagram(0))
        source.stop()
        got = []
        for batch in source:
            got += batch
            send_udp(port_of(source), hep3_datagram(1))
            assert len(got) < 10
        assert [message.payload for message in got] == [sip_message(0)]
    assert source.stats.kernel_dropped == 0


def test_stop_counts_what_it_has_no_time_for() -> None:
    """What cannot be delivered in time is dropped, and counted."""
    with opened(UDP, options=HepOptions((), drain_s=0.0)) as source:
        send_udp(port_of(source), *datagrams(100))
        source.stop()
        assert [message for batch in source for message in batch] == []
    assert (source.stats.received, source.stats.dropped) == (100, {"drain_timeout": 100})


@pytest.mark.parametrize("stopped", [True, False])
def test_kernel_drops_are_counted_at_the_end(stopped: bool) -> None:
    """What was lost in the last second is told too, with a drain and without."""
    with opened(UDP, options=HepOptions((), rcvbuf_bytes=4_096)) as source:
        batches = iter(source)
        assert next(batches) == []
        send_udp(port_of(source), *datagrams(300))
        if stopped:
            source.stop()
        got = sum(map(len, batches)) if stopped else len(next(batches))
    assert got + source.stats.kernel_dropped == 300
    assert got < 300


def test_kernel_drops_of_shared_sockets_are_counted_by_one_process() -> None:
    """Who is told that somebody else counts does not."""
    with opened(UDP, options=HepOptions((), rcvbuf_bytes=4_096)) as source:
        source.counts_kernel_drops = False
        send_udp(port_of(source), *datagrams(300))
        source.stop()
        assert 0 < sum(map(len, source)) < 300
    assert source.stats.kernel_dropped == 0


def test_open_says_what_it_hears_and_what_was_granted(log: pytest.LogCaptureFixture) -> None:
    """Each socket and the receive buffer stand in the log; with TCP alone there is no such buffer."""
    with opened("udp:127.0.0.1:0", TCP, options=HepOptions((), rcvbuf_bytes=8_192)) as source:
        port = port_of(source)
        assert f"listening on udp:127.0.0.1:{port}" in log.messages
        assert "receive buffer: 8192 bytes granted of 8192 asked for" in log.messages
    log.clear()
    with opened(TCP):
        assert not [text for text in log.messages if "buffer" in text]


def test_open_says_when_less_was_granted(log: pytest.LogCaptureFixture) -> None:
    """Where the system gives less than asked for, the log says what would help."""
    with opened(UDP, options=HepOptions((), rcvbuf_bytes=2**31 - 2)) as source:
        granted = UdpPort(source._bound[0].socket, source.stats, None).socket.getsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF
        )
    (line,) = [text for text in log.messages if "buffer" in text]
    assert f"{granted} bytes granted of {2**31 - 2}" in line
    assert ("net.core.rmem_max" in line) is (granted < 2**31 - 2)


def test_open_that_fails_gives_everything_back(udp_port: int) -> None:
    """If one endpoint cannot be bound, none stays bound (and no socket leaks, which would be an error here)."""
    free = Endpoint("udp", "127.0.0.1", udp_port, udp_port)
    for bad in (Endpoint("udp", "192.0.2.77", 1, 1), Endpoint("tls", "127.0.0.1", 0, 0), free):
        with pytest.raises(CannotStart):
            HepSource(HepOptions([free, bad])).open()
    with opened(f"127.0.0.1:{udp_port}"):
        pass


def test_close_may_be_called_twice() -> None:
    """Whoever cleans up need not ask whether somebody did."""
    with opened(UDP, TCP) as source:
        source.close()
