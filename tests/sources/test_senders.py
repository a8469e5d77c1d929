"""Who sent what is refused: known to the log, whatever the listener."""

from __future__ import annotations

import pytest

from sipcap.counters import Counters
from sipcap.sources.addresses import parse_networks
from sipcap.sources.hep import HepOptions
from sipcap.sources.senders import Senders
from tests.support.messages import hep3_datagram
from tests.support.receiving import connect, opened, port_of, send_udp, take

KEY = b"key"


@pytest.mark.parametrize(
    ("endpoint", "sent", "reason"),
    [
        ("udp:127.0.0.1:0", b"junk", "magic"),
        ("udp:127.0.0.1:0", hep3_datagram(0), "auth_key"),
        ("tcp:127.0.0.1:0", hep3_datagram(0), "auth_key"),
        ("tcp:127.0.0.1:0", hep3_datagram(0)[:-1], "stream_cut"),
    ],
)
def test_sender_of_what_is_refused_is_known(endpoint: str, sent: bytes, reason: str) -> None:
    """Of a single one, too: there is no first time without."""
    with opened(endpoint, options=HepOptions((), auth_key=KEY)) as source:
        if endpoint.startswith("udp"):
            send_udp(port_of(source), sent)
        else:
            with connect(port_of(source)) as peer:
                peer.sendall(sent)
        take(source, 0, until=lambda: bool(source.stats.rejected))
        assert source.stats.rejected == {reason: 1}
        assert source.stats.last_senders == {reason: "127.0.0.1"}


@pytest.mark.parametrize("endpoint", ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"])
def test_sender_that_is_not_allowed_is_known(endpoint: str) -> None:
    """That is the address which --allow lacks."""
    with opened(endpoint, options=HepOptions((), allow=parse_networks(["192.0.2.0/24"]))) as source:
        if endpoint.startswith("udp"):
            send_udp(port_of(source), hep3_datagram(0))
        else:
            connect(port_of(source)).close()
        take(source, 0, until=lambda: bool(source.stats.rejected))
        assert source.stats.last_senders == {"not_allowed": "127.0.0.1"}


def test_sender_on_a_socket_of_both_families_is_as_allow_wants_it() -> None:
    """IPv4 comes as an IPv6 address there."""
    with opened("udp:*:0", options=HepOptions((), auth_key=KEY)) as source:
        send_udp(port_of(source), hep3_datagram(0))
        take(source, 0, until=lambda: bool(source.stats.rejected))
        assert source.stats.last_senders == {"auth_key": "127.0.0.1"}


def test_sender_in_a_burst_is_known_from_the_second_turn_on() -> None:
    """Of much at a time the addresses are asked for once something of it was refused, and then for a while."""
    with opened("udp:127.0.0.1:0", options=HepOptions((), auth_key=KEY)) as source:
        sent = 0

        def until() -> bool:
            nonlocal sent
            if source.stats.rejected.total() == sent and sent < 300:
                sent += 100
                send_udp(port_of(source), *map(hep3_datagram, range(100)))
            return source.stats.rejected.total() == 300

        take(source, 0, until=until)
        assert source.stats.last_senders == {"auth_key": "127.0.0.1"}


def test_senders_that_nobody_has_asked_for_are_not_made_up() -> None:
    """Another's address, of an earlier time, would mislead."""
    stats = Counters()
    senders = Senders(stats)
    frames = [b"one", b"two"]
    senders.note(frames, ["192.0.2.1", "192.0.2.2"])
    senders.settle({"magic": frames[0]})
    assert stats.last_senders == {"magic": "192.0.2.1"}
    assert senders.are_wanted
    senders.settle({"magic": b"three"})
    assert stats.last_senders == {}


def test_senders_of_equal_frames_are_those_of_the_last() -> None:
    """Very short datagrams are one object to Python, whoever sent them."""
    stats = Counters()
    senders = Senders(stats)
    frame = b"x"
    senders.note([frame, b"yy", frame], ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
    senders.settle({"short": frame})
    assert stats.last_senders == {"short": "192.0.2.3"}
