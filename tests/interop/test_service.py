"""Done when (issue 5): three listeners, two capture modes and three routes with real traffic, and steered.

The service, Kamailio, sngrep and the callees are in one namespace; the caller is at the other end of a cable, which
the service mirrors. MariaDB and PostgreSQL are reached by their Unix sockets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import RunSipcap
from tests.service.control.test_programs import kamcmd
from tests.support.background import wait_for
from tests.support.controlling import read_all
from tests.support.databases import ServedDatabase
from tests.support.namespaces import Cable, cable
from tests.support.servers import running
from tests.support.services import Service, service

from . import kamailio, sipp, sngrep
from .headers import first
from .sipp import MESSAGES_A_CALL, Place, Sent
from .test_live import tunnelling

_CALLS = 10
_TRACED = 2001
_HEP_PORT = 9060
_CONFIG = """
[sipcap]
capture_on = 1
db_url = {mariadb}
control_socket = control.sock
binrpc_socket = binrpc.sock
metrics_listen = 127.0.0.1:9096
spool = spool
batch_interval = 0.1
[listen:hep]
listen = udp:*:{port}, tcp:*:{port}
children = 2
[listen:span]
mode = mirror
iface = right
listen = *:1024-65535
bpf = auto
[listen:tunnels]
mode = ipip
listen = 0.0.0.0:1024-65535
[capture_mode:other]
db_url = {postgresql}
table_name = other_a|other_b
mt_mode = hash
[route:invites]
methods = INVITE
capture_mode = other
table = calls_%Y%m%d
[route:byes]
methods = BYE
source = 10.77.0.0/24
capture_mode = other
[route:traced]
capture_id = {traced}
hep_type = 1
table = traced
"""

pytestmark = pytest.mark.usefixtures("kamailio_here", "sipp_here", "live_capture_here")


@dataclass
class Node:
    """A capture node, and the databases that it stores into."""

    capture: Service
    network: Cable
    mariadb: ServedDatabase
    postgresql: ServedDatabase

    def stored(self) -> dict[str, list[str]]:
        """The messages of each kind of table: a date is a star."""
        found: dict[str, list[str]] = {}
        for database in (self.mariadb, self.postgresql):
            for table in database.tables() - {"sipcap_batches", "logs_capture"}:
                rows = [row["msg"] for row in database.rows(table)]
                name = "other" if table.startswith("other_") else re.sub(r"\d{8}$", "*", table)
                found.setdefault(f"{database.kind} {name}", []).extend(rows)
        return found

    def metrics(self) -> Counter[str]:
        """The samples of the metrics page, those with the same name together."""
        with self.network.right.open_socket(2, 1) as client:
            client.connect(("127.0.0.1", 9096))
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            text = read_all(client).partition(b"\r\n\r\n")[2].decode()
        found: Counter[str] = Counter()
        for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
            found[sample.name] += int(sample.value)
        return found


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """One that runs."""
    with ExitStack() as stack:
        servers = [stack.enter_context(running(kind)) for kind in ("mysql", "postgresql")]
        if not all(server.is_private for server in servers):
            pytest.skip("servers of others are reached over a network that is not here")
        maria, postgresql = (ServedDatabase(server) for server in servers)
        text = _CONFIG.format(
            mariadb=maria.server.url(maria.name, query=f"socket={maria.server.folder}/socket"),
            postgresql=postgresql.server.url(postgresql.name, query=f"socket={postgresql.server.folder}"),
            port=_HEP_PORT, traced=_TRACED,
        )  # fmt: skip
        network = stack.enter_context(cable())
        capture = stack.enter_context(service(tmp_path, text, before=network.right.before))
        yield Node(capture, network, maria, postgresql)
        for database in (maria, postgresql):
            database.close()


def _where(message: Sent, *, is_traced: bool, is_on_cable: bool) -> str:
    """Where the routes send a message."""
    method = first(message.payload, "CSeq").split()[1]
    if method == b"INVITE":
        return "postgresql calls_*"
    if method == b"BYE" and is_on_cable:
        return "postgresql other"
    return "mysql traced" if is_traced else "mysql sip_capture"


class _Expected:
    """What the peers say that they have sent and received, by the table that it belongs to."""

    def __init__(self) -> None:
        self.tables: dict[str, list[str]] = {}
        self.messages = 0
        self.logs = 0

    def add(self, messages: list[Sent], times: int = 1, *, is_traced: bool = False, is_on_cable: bool = False) -> None:
        assert len(messages) >= _CALLS * MESSAGES_A_CALL
        for message in messages * times:
            table = _where(message, is_traced=is_traced, is_on_cable=is_on_cable)
            self.tables.setdefault(table, []).append(message.payload.decode())
            self.messages += 1


def _traced_calls(node: Node, folder: Path, expected: _Expected) -> None:
    """Calls on loopback through a Kamailio that traces them: each message as it comes and as it goes on."""
    before = node.network.right.before
    here = Place("127.0.0.1", before)
    with (
        sipp.answering(folder, here) as callee,
        kamailio.tracing(
            folder / "hop", version=3, collector=_HEP_PORT, next_hop=callee.port, capture_id=_TRACED, before=before
        ) as hop,
    ):
        sent = sipp.call(folder, hop, _CALLS, place=here)
        wait_for(lambda: len(callee.messages(hop)) >= _CALLS * MESSAGES_A_CALL, "the callee's log")
        expected.add(sent, is_traced=True)
        expected.add(callee.messages(hop), is_traced=True)
        expected.logs += sum(not message.payload.startswith(b"SIP/") for message in sent)
        _wait(node, expected)


def _watched_calls(node: Node, folder: Path, expected: _Expected) -> None:
    """Calls on loopback that sngrep sees and sends."""
    here = Place("127.0.0.1", node.network.right.before)
    with (
        sipp.answering(folder, here) as callee,
        sngrep.watching(folder, callee.port, _HEP_PORT, before=here.before),
    ):
        expected.add(sipp.call(folder, callee.port, _CALLS, place=here))
        _wait(node, expected)


def _mirrored_calls(node: Node, folder: Path, expected: _Expected, times: int = 1) -> None:
    """Calls over the cable."""
    left, right = (Place(side.ip4, side.before) for side in (node.network.left, node.network.right))
    with sipp.answering(folder, right) as callee:
        sent = sipp.call(folder, callee.port, _CALLS, host=right.host, place=left)
        expected.add(sent, times, is_on_cable=True)
        _wait(node, expected)


def _tunnelled_calls(node: Node, folder: Path, expected: _Expected) -> None:
    """Calls over the cable that are sent again in IP in IP: the mirror shows both, and the tunnel has an end here."""
    with tunnelling(node.network):
        _mirrored_calls(node, folder, expected, 3)


def _wait(node: Node, expected: _Expected) -> None:
    """Wait until everything is stored."""
    wait_for(
        lambda: (
            node.capture.counters["stored"] >= expected.messages and node.capture.counters["reported"] >= expected.logs
        ),
        f"{expected.messages} messages",
    )


@pytest.mark.timeout(240)
def test_service_with_real_traffic_stores_it_where_routes_say_and_is_steered(
    node: Node, tmp_path: Path, sipcap: RunSipcap
) -> None:
    """What SIPp logged is in both databases; status and kamcmd switch it; the metrics page says the same."""
    expected = _Expected()
    traffic: list[Callable[[Node, Path, _Expected], None]] = [
        _traced_calls, _watched_calls, _mirrored_calls, _tunnelled_calls,
    ]  # fmt: skip
    for number, calls in enumerate(traffic):
        calls(node, tmp_path / f"calls{number}", expected)
    _compare(node, expected)
    assert len(expected.tables) == 4
    assert len(node.mariadb.rows("logs_capture")) == expected.logs

    def status(*words: str) -> bytes:
        return sipcap("status", *words, "--socket", "control.sock").stdout

    assert (status("check"), status("off"), kamcmd(tmp_path, "sipcapture.status", "check")) == (
        b"Enabled\n", b"Disabled\n", "Disabled\n",
    )  # fmt: skip
    unseen = _passing_calls(node, tmp_path / "off")
    assert kamcmd(tmp_path, "sipcapture.status", "on") == "Enabled\n"
    assert status("check") == b"Enabled\n"
    _mirrored_calls(node, tmp_path / "on", expected)
    _compare(node, expected)
    counted = node.capture.settle()
    assert counted["filtered"] == {"capture_off": unseen}
    assert (counted["stored"], counted["reported"]) == (expected.messages, expected.logs)
    assert (counted["kernel_dropped"], counted["dropped"], counted["rejected"]) == (0, {}, {})
    page = node.metrics()
    for name in ("received", "stored", "reported", "filtered", "rejected", "dropped", "kernel_dropped"):
        value = counted[name]
        assert page[f"sipcap_{name}_total"] == (sum(value.values()) if isinstance(value, dict) else value)
    node.capture.stop()


def _compare(node: Node, expected: _Expected) -> None:
    """Fail with the start lines of what is missing and what is too much, by table."""
    stored = {name: Counter(rows) for name, rows in node.stored().items()}
    wanted = {name: Counter(rows) for name, rows in expected.tables.items()}
    odd = [
        f"{what} in {name}: {text.splitlines()[0]} ({number} times)"
        for name in sorted(stored.keys() | wanted.keys())
        for what, left, right in (("missing", wanted, stored), ("strange", stored, wanted))
        for text, number in (left.get(name, Counter()) - right.get(name, Counter())).items()
    ]
    assert not odd, "\n".join(odd)


def _passing_calls(node: Node, folder: Path) -> int:
    """Calls over the cable that nobody stores; how many messages they had."""
    before = node.capture.counters["filtered"].get("capture_off", 0)
    left, right = (Place(side.ip4, side.before) for side in (node.network.left, node.network.right))
    with sipp.answering(folder, right) as callee:
        sent = sipp.call(folder, callee.port, _CALLS, host=right.host, place=left)
    wait_for(lambda: node.capture.counters["filtered"]["capture_off"] >= before + len(sent), "what is let pass")
    return len(sent)
