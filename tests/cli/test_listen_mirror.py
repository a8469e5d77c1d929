"""``sipcap listen --mode mirror``: what crosses a wire, in network namespaces."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.background import background, imbalance, wait_for
from tests.support.layered import CASES
from tests.support.live import JSON, listening, sip_frames, texts, wait_for_lines
from tests.support.messages import sip, sip_message
from tests.support.namespaces import Cable, cable
from tests.support.packets import ETHERNET, ethernet, fragments4, ip4, ip6, udp
from tests.support.programs import need

CHILDREN = pytest.mark.parametrize("children", ["1", "3"])


@pytest.fixture(scope="module")
def network() -> Iterator[Cable]:
    """A cable for the tests that leave it as it is."""
    with cable() as laid:
        yield laid


@pytest.fixture
def fragile() -> Iterator[Cable]:
    """A cable to be broken."""
    with cable() as laid:
        yield laid


def test_mirror_records_tell_the_packet_and_its_time(network: Cable, tmp_path: Path) -> None:
    """Addresses, ports and MACs are the packet's, and the time is when the kernel saw it."""
    with listening(network, tmp_path, "--mode", "mirror") as process:
        before_us = time.time_ns() // 1_000
        network.left.send_frames([ethernet(ip4(udp(sip(), 5061, 5062), tos=0xB8))])
        after_us = time.time_ns() // 1_000
        wait_for_lines(process, 1)
        (line,) = process.lines
        assert before_us <= line["micro_ts"] <= after_us
        assert (line["source_ip"], line["source_port"]) == ("192.0.2.1", 5061)
        assert (line["destination_ip"], line["destination_port"]) == ("192.0.2.2", 5062)
        assert (line["source_mac"], line["destination_mac"]) == ("02:00:00:00:00:01", "02:00:00:00:00:02")
        assert (line["tos"], line["msg"]) == (0xB8, sip().decode())
        assert process.stop() == 0
    assert (process.summary["received"], process.summary["stored"], imbalance(process.summary)) == (1, 1, 0)


TAGGED = [(), (7,), (100, 7)]


@pytest.mark.parametrize("iface", ["right", "any"])
@pytest.mark.parametrize("bpf", [(), ("--bpf",)])
def test_mirror_sees_through_vlan_tags(network: Cable, tmp_path: Path, iface: str, bpf: tuple[str, ...]) -> None:
    """The kernel takes the outer tag off and hides it from filters; records have the tag all the same."""
    args = ("--mode", "mirror", "--listen", "*:5060", *bpf)
    with listening(network, tmp_path, *args, iface=iface) as process:
        frames = [ethernet(ip4(udp(sip_message(number))), vlans=tags) for number, tags in enumerate(TAGGED)]
        network.left.send_frames(frames)
        wait_for_lines(process, len(TAGGED))
        assert process.stop() == 0
        found = {line["msg"].encode(): line.get("vlan") for line in process.lines}
    assert found == {sip_message(number): (tags or (None,))[-1] for number, tags in enumerate(TAGGED)}


def test_mirror_bpf_leaves_other_ports_to_the_kernel(network: Cable, tmp_path: Path) -> None:
    """Bare --bpf follows from --listen: RTP does not even count as a packet, SIP of either direction and range does."""
    ends = [(5059, 5059), (5060, 9), (9, 5070), (5080, 40_000), (5081, 5082), (40_000, 40_002)]
    args = ("--mode", "mirror", "--listen", "*:5060-5070", "--listen", "*:5080", "--bpf")
    with listening(network, tmp_path, *args) as process:
        network.left.send_frames(ethernet(ip4(udp(sip_message(end[0]), *end))) for end in ends)
        network.left.send_frames(ethernet(ip6(udp(sip_message(number), *ends[number]))) for number in (0, 1))
        wait_for_lines(process, 4)
        assert process.stop() == 0
        assert sorted(line["source_port"] for line in process.lines) == [9, 5060, 5060, 5080]
    assert process.summary["packets"] == 4


def test_mirror_ports_filter_without_bpf(network: Cable, tmp_path: Path) -> None:
    """--listen filters by itself; what it leaves out is told at the end."""
    with listening(network, tmp_path, "--mode", "mirror", "--listen", "*:5060") as process:
        network.left.send_frames([*sip_frames(1, port=5061), *sip_frames(1, first=1)])
        wait_for_lines(process, 1)
        assert process.stop() == 0
        assert texts(process) == [sip_message(1)]
    assert "ports 1)" in process.said  # the kernel may have told its neighbours of an address meanwhile


@pytest.mark.parametrize("iface", ["right", "any"])
def test_mirror_bpf_takes_any_filter(network: Cable, tmp_path: Path, iface: str) -> None:
    """--bpf with a value is a filter as tcpdump has them, on one interface and on all."""
    args = ("--mode", "mirror", "--bpf", "udp and src host 192.0.2.2")
    with listening(network, tmp_path, *args, iface=iface) as process:
        network.left.send_frames(sip_frames(4, flows=2))
        wait_for_lines(process, 2)
        assert process.stop() == 0
        assert sorted(texts(process)) == sorted([sip_message(1), sip_message(3)])
    assert process.summary["packets"] == 2


def test_mirror_bpf_knows_tags_that_the_kernel_has_taken_off(network: Cable, tmp_path: Path) -> None:
    """``vlan`` in a filter means the outer tag, wherever the kernel keeps it."""
    with listening(network, tmp_path, "--mode", "mirror", "--bpf", "vlan 7") as process:
        frames = [ethernet(ip4(udp(sip_message(number))), vlans=tags) for number, tags in enumerate([(), (7,), (8,)])]
        network.left.send_frames(frames)
        wait_for_lines(process, 1)
        assert process.stop() == 0
        assert texts(process) == [sip_message(1)]


@pytest.mark.parametrize("children", ["1", "2"])
def test_mirror_as_a_service_stores_what_crosses_the_wire(network: Cable, tmp_path: Path, children: str) -> None:
    """``sipcap run`` has the same modes."""
    args = ("run", *JSON, "--mode", "mirror", "--iface", "right", "--children", children)
    with background(tmp_path, *args, before=network.right.before) as process:
        wait_for(lambda: process.ended or "listening on mirror:right" in process.said, "listening")
        network.left.send_frames(sip_frames(100, flows=10))
        wait_for(lambda: _rows(tmp_path) == 100, "the rows")
        assert process.stop() == 0
    assert (process.summary["stored"], imbalance(process.summary)) == (100, 0)


def _rows(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(folder / "sipcap.db")) as database:
        try:
            return int(database.execute("SELECT count(*) FROM sip_capture").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # no table yet


@CHILDREN
def test_mirror_children_get_every_message_once(network: Cable, tmp_path: Path, children: str) -> None:
    """However many share an interface, each message comes out once."""
    with listening(network, tmp_path, "--mode", "mirror", "--children", children) as process:
        network.left.send_frames(sip_frames(600, flows=40))
        wait_for_lines(process, 600)
        assert process.stop() == 0
        assert sorted(texts(process)) == sorted(map(sip_message, range(600)))
    assert (process.summary["received"], process.summary["kernel_dropped"], imbalance(process.summary)) == (600, 0, 0)


LAYERED = [case for case in CASES.values() if case.link == ETHERNET]


@CHILDREN
@pytest.mark.parametrize("args", [("--iface", "right"), ("--iface", "right", "--bpf"), ("--iface", "any", "--bpf")])
def test_mirror_sees_through_all_layers(network: Cable, tmp_path: Path, children: str, args: tuple[str, ...]) -> None:
    """Fragments, tags, labels and tunnels: each message once, whoever puts the pieces together."""
    ports = ("--listen", "*:5060")
    with listening(network, tmp_path, "--mode", "mirror", *ports, *args, "--children", children, iface="") as process:
        for number, case in enumerate(LAYERED):
            network.left.send_frames(case.frames(sip_message(number)))
        wait_for_lines(process, len(LAYERED))
        assert process.stop() == 0
        assert sorted(texts(process)) == sorted(map(sip_message, range(len(LAYERED))))
    assert (process.summary["received"], imbalance(process.summary)) == (len(LAYERED), 0)


def test_mirror_counts_a_message_that_never_became_whole(network: Cable, tmp_path: Path) -> None:
    """A first fragment without the others is a message that was rejected, not one that nobody saw."""
    with listening(network, tmp_path, "--mode", "mirror") as process:
        network.left.send_frames([ethernet(fragments4(udp(sip_message(0)), [400])[0]), *sip_frames(1, first=1)])
        wait_for_lines(process, 1)
        assert process.stop() == 0
    assert (process.summary["received"], process.summary["stored"]) == (2, 1)
    assert sum(process.summary["rejected"].values()) == 1


@pytest.mark.parametrize(("direction", "seen"), [("in", 0), ("out", 1), ("both", 2)])
def test_mirror_direction_is_that_of_the_interface(network: Cable, tmp_path: Path, direction: str, seen: int) -> None:
    """``in`` is what it receives, ``out`` what it sends."""
    with listening(network, tmp_path, "--mode", "mirror", "--direction", direction) as process:
        network.left.send_frames(sip_frames(1))
        network.right.send_frames(sip_frames(1, first=1))
        wait_for_lines(process, 2 if direction == "both" else 1)
        assert process.stop() == 0
        assert texts(process) == [[sip_message(0)], [sip_message(1)], [sip_message(0), sip_message(1)]][seen]


@pytest.mark.parametrize("iface", ["lo", "any"])
@pytest.mark.parametrize("direction", ["both", "in", "out"])
def test_mirror_takes_packets_of_loopback_once(network: Cable, tmp_path: Path, iface: str, direction: str) -> None:
    """Loopback shows each packet going out and coming in; that is one packet."""
    args = ("--mode", "mirror", "--direction", direction)
    with listening(network, tmp_path, *args, iface=iface) as process:
        with network.right.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(20):
                sender.sendto(sip_message(number), ("127.0.0.1", 5060))
        wait_for_lines(process, 20)
        assert process.stop() == 0
        assert texts(process) == list(map(sip_message, range(20)))


def test_mirror_promisc_switches_the_interface_and_back(network: Cable, tmp_path: Path) -> None:
    """Promiscuous mode ends with the capture."""
    counts = []
    with listening(network, tmp_path, "--mode", "mirror", "--promisc") as process:
        counts.append(_promiscuity(network))
        assert process.stop() == 0
    counts.append(_promiscuity(network))
    assert counts == [1, 0]


def _promiscuity(network: Cable) -> int:
    import json
    import subprocess

    text = subprocess.check_output(["ip", "-n", network.right.namespace, "-d", "-j", "link", "show", "right"])
    (link,) = json.loads(text)
    return int(link["promiscuity"])


@CHILDREN
def test_mirror_stop_delivers_what_was_on_the_wire_before(network: Cable, tmp_path: Path, children: str) -> None:
    """SIGTERM behind a burst: all that the kernel had taken in comes out."""
    with listening(network, tmp_path, "--mode", "mirror", "--children", children) as process:
        network.left.send_frames(sip_frames(2_000, flows=40))
        assert process.stop() == 0
        assert len(set(texts(process))) == 2_000
    assert (process.summary["stored"], process.summary["kernel_dropped"]) == (2_000, 0)


def test_mirror_counts_what_the_kernel_had_no_room_for(network: Cable, tmp_path: Path) -> None:
    """While nobody reads, the ring fills up; each packet more is counted, and said."""
    with listening(network, tmp_path, "--mode", "mirror", "--rcvbuf", "4096") as process:
        process.send_signal(signal.SIGSTOP)
        sent = network.left.send_frames(sip_frames(8_000))
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: "dropped by the kernel" in process.said, "the warning")
        assert process.stop() == 0
        received, dropped = process.summary["received"], process.summary["kernel_dropped"]
        assert len(set(texts(process))) == received
    assert 0 < dropped < sent
    assert received + dropped == sent


@CHILDREN
def test_mirror_ends_with_an_error_when_its_interface_is_gone(fragile: Cable, tmp_path: Path, children: str) -> None:
    """What came before is written; then it says what happened and ends with exit code 5."""
    with listening(fragile, tmp_path, "--mode", "mirror", "--children", children) as process:
        fragile.left.send_frames(sip_frames(50, flows=20))
        wait_for_lines(process, 50)
        fragile.right.ip("link", "del", "right")
        assert process.wait() == 5
        assert "interface right is gone" in process.said
        assert "Traceback" not in process.said
    assert (process.summary["stored"], imbalance(process.summary)) == (50, 0)


def test_mirror_goes_on_when_its_interface_is_up_again(fragile: Cable, tmp_path: Path) -> None:
    """An interface that is switched off for a while is said, and captured from again."""
    with listening(fragile, tmp_path, "--mode", "mirror") as process:
        fragile.right.ip("link", "set", "right", "down")
        wait_for(lambda: "interface right is down" in process.said, "the warning")
        fragile.right.ip("link", "set", "right", "up")
        wait_for(lambda: "interface right is up again" in process.said, "the good news")
        fragile.left.send_frames(sip_frames(3))
        wait_for_lines(process, 3)
        assert process.stop() == 0


def test_mirror_of_an_unknown_interface_names_those_there_are(network: Cable, tmp_path: Path) -> None:
    """A misspelt name is exit code 3 and the right ones."""
    with background(tmp_path, "listen", "--mode", "mirror", "--iface", "rihgt", before=network.right.before) as process:
        assert process.wait() == 3
        assert "there is no interface 'rihgt'; there are lo, right, any" in process.said


def test_mirror_of_an_interface_that_is_down_says_how_to_start_it(fragile: Cable, tmp_path: Path) -> None:
    """No capture can begin on it."""
    fragile.right.ip("link", "set", "right", "down")
    with background(tmp_path, "listen", "--mode", "mirror", "--iface", "right", before=fragile.right.before) as process:
        assert process.wait() == 3
        assert "interface right is down; ip link set right up starts it" in process.said


@pytest.mark.parametrize("args", [("mirror", "--iface", "right"), ("mirror",), ("ipip",)])
def test_mirror_without_permission_says_the_command_that_grants_it(
    network: Cable, tmp_path: Path, args: tuple[str, ...]
) -> None:
    """Who may not capture gets exit code 3 and what to type, and no traceback."""
    need("setpriv")
    before = (*network.right.before, "setpriv", "--bounding-set", "-net_raw,-net_admin", "--inh-caps", "-all")
    with background(tmp_path, "listen", "-vv", "--mode", *args, before=before) as process:
        assert process.wait() == 3
        assert "sudo setcap cap_net_raw,cap_net_admin+eip /" in process.said
        assert "Traceback" not in process.said


@pytest.mark.parametrize("iface", ["right", "any"])
def test_mirror_with_a_filter_that_is_none_says_so(network: Cable, tmp_path: Path, iface: str) -> None:
    """Libpcap's reason is passed on, with exit code 2: the command line is wrong, as with replay."""
    args = ("listen", *JSON, "--mode", "mirror", "--iface", iface, "--bpf", "port sip sip")
    with background(tmp_path, *args, before=network.right.before) as process:
        assert process.wait() == 2
        assert "is no filter for" in process.said
        assert "syntax error" in process.said
