"""``sipcap run`` with HEP, IP in IP and a mirror port at once, two capture modes and three routes."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support.background import wait_for
from tests.support.captured import locked, messages_in, texts
from tests.support.live import sip_frames
from tests.support.messages import hep3_datagram, sip_message
from tests.support.namespaces import cable
from tests.support.packets import ip4, udp
from tests.support.receiving import send_udp
from tests.support.services import LISTEN, USUAL, service

TEXT = f"""{USUAL}
[listen:hep]
listen = udp:*:9060
children = 2
[listen:span]
mode = mirror
iface = right
listen = *:5060-5061
bpf = auto
[listen:tunnels]
mode = ipip
listen = 0.0.0.0:5080
[capture_mode:other]
db_url = sqlite:///other.db
table_name = other_a|other_b
mt_mode = hash
[route:registrations]
methods = REGISTER
table = registrations
[route:options]
methods = OPTIONS
capture_mode = other
[route:tunnelled]
source = 198.51.100.0/24
capture_mode = other
table = tunnelled
"""


_KINDS = {"REGISTER": "registrations", "OPTIONS": "options"}


def test_run_three_listeners_two_modes_and_three_routes(tmp_path: Path) -> None:
    """Everything that is sent, in whatever form, is stored where its route says, once."""
    with cable() as network, service(tmp_path, TEXT, before=network.right.before) as running:
        network.left.send_frames(sip_frames(40))
        with network.left.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
            for number in range(40, 80):
                agent.sendto(hep3_datagram(number), (network.right.ip4, 9060))
        with network.left.open_socket(socket.AF_INET, socket.SOCK_RAW, 4) as tunnel:
            for number in range(80, 120):
                inner = ip4(udp(sip_message(number), 5080), source="198.51.100.7")
                tunnel.sendto(inner, (network.right.ip4, 0))
        running.settle(120)
        stats = running.stats()
        counted = running.stop()
    received = {each["name"]: [worker["counters"] for worker in each["workers"]] for each in stats["listeners"]}
    stored = {name: sum(each["stored"] for each in counters) for name, counters in received.items()}
    assert stored == {"hep": 40, "span": 40, "tunnels": 40}
    assert counted["stored"] == 120
    own, other = tmp_path / "sipcap.db", tmp_path / "other.db"
    where: dict[str, list[str]] = {"registrations": [], "options": [], "tunnelled": [], "rest": []}
    for number in range(120):
        text = sip_message(number).decode()
        kind = next((kind for method, kind in _KINDS.items() if f"CSeq: 1 {method}" in text), "")
        where[kind or ("tunnelled" if number >= 80 else "rest")].append(text)
    assert messages_in(own, "registrations") == sorted(where["registrations"])
    assert sorted(messages_in(other, "other_a") + messages_in(other, "other_b")) == sorted(where["options"])
    assert messages_in(other, "tunnelled") == sorted(where["tunnelled"])
    assert messages_in(own) == sorted(where["rest"])
    assert all(where.values())


def test_run_goes_on_when_an_interface_comes_back(tmp_path: Path) -> None:
    """A mirror port that is gone costs the other listeners nothing, and is captured again as soon as it is there."""
    text = f"{USUAL}{LISTEN}[listen:span]\nmode = mirror\niface = right\n"
    with cable() as network, service(tmp_path, text, before=network.right.before) as running:
        left, right = network.left, network.right
        left.send_frames(sip_frames(5))
        running.wait_for_stored(5)
        right.ip("link", "del", right.name)
        wait_for(lambda: "listener span" in running.process.said and "tried again" in running.process.said, "the loss")
        left.ip("link", "add", left.name, "type", "veth", "peer", "name", right.name, "netns", right.namespace)
        for side in (left, right):
            side.ip("link", "set", side.name, "up")
        count = running.process.said.count("listening on mirror:right")
        wait_for(lambda: running.process.said.count("listening on mirror:right") > count, "the interface")
        wait_for(lambda: len(running.workers) == 2, "the worker")
        left.send_frames(sip_frames(5, first=5))
        running.wait_for_stored(10)
        running.stop()
    assert messages_in(tmp_path / "sipcap.db") == texts(range(10))


def test_run_database_that_is_away_holds_up_no_other(tmp_path: Path) -> None:
    """While one is locked its records wait in the spool, and the other's are stored at once."""
    text = f"""{USUAL}{LISTEN}
[capture_mode:other]
db_url = sqlite:///other.db
[route:some]
methods = INVITE
capture_mode = other
"""
    with service(tmp_path, text) as running:
        send_udp(running.process.port, *map(hep3_datagram, range(20)))
        running.wait_for_stored(20)
        with locked(tmp_path / "other.db"):
            send_udp(running.process.port, *map(hep3_datagram, range(20, 2_000)))
            own = [text for text in texts(range(2_000)) if "CSeq: 1 INVITE" not in text]
            wait_for(lambda: messages_in(tmp_path / "sipcap.db") == own, "the rows of the other")
        running.wait_for_stored(2_000)
        counted = running.stop()
    assert (counted["stored"], counted["kernel_dropped"]) == (2_000, 0)
    found = sorted(messages_in(tmp_path / "sipcap.db") + messages_in(tmp_path / "other.db"))
    assert found == texts(range(2_000))
