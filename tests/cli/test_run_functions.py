"""``sipcap run --config`` with routes, forwarding and a hook: the module's functions in one service."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support.background import imbalance, wait_for
from tests.support.messages import chunk, hep3_with, reply, sip
from tests.support.receiving import send_udp
from tests.support.records import rows_of, tables_of
from tests.support.services import LISTEN, USUAL, service

ROUTES = """\
[capture_mode:mode1]
db_url = sqlite:///one.db
table_name = others

[route:registrations]
methods = REGISTER
table = sip_capture_registration_%Y%m%d
capture_mode = mode1

[route:trunk]
header = X-Trunk: ^carrier[12]$
forward = udp:127.0.0.1:{port}

[route:calls]
methods = INVITE, BYE
source = 10.1.0.0/16
table = sip_capture_call_%Y%m%d
"""
HANGS = """\
def on_request(request):
    if b"BYE" in request.message:
        sum(range(10**13))
    return 0 if b"OPTIONS" in request.message else 1
"""


def methods_in(path: Path, table: str) -> list[str]:
    """What is stored there."""
    return sorted(method for (method,) in rows_of(path, table, ["method"])) if path.exists() else []


def test_run_routes_choose_tables_modes_and_collectors(tmp_path: Path) -> None:
    """First match wins; replies go with their requests; what is forwarded goes byte for byte, and is stored too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(20)
        routes = ROUTES.format(port=collector.getsockname()[1])
        with service(tmp_path, USUAL + LISTEN + routes) as running:
            trunk = hep3_with(sip("INVITE", {"X-Trunk": "carrier1"}), chunk(33, b"\0\5", vendor=9))
            plain = (sip(), sip("REGISTER"), reply(headers={"CSeq": "1 REGISTER"}), sip("OPTIONS"))
            send_udp(running.process.port, trunk, *map(hep3_with, plain))
            assert collector.recv(65_535) == trunk
            running.wait_for_stored(5)
            counted = running.stop()
    assert (counted["stored"], counted["forwarded"], counted["forward_dropped"], imbalance(counted)) == (5, 1, 0, 0)
    assert methods_in(tmp_path / "one.db", "sip_capture_registration_20231114") == ["200", "REGISTER"]
    assert methods_in(tmp_path / "sipcap.db", "sip_capture_call_20231114") == ["INVITE"]
    assert methods_in(tmp_path / "sipcap.db", "sip_capture") == ["INVITE", "OPTIONS"]
    assert tables_of(tmp_path / "one.db") == {"sip_capture_registration_20231114"}


def test_run_hook_that_hangs_costs_its_worker_which_is_started_again(tmp_path: Path) -> None:
    """The message that it hung at is lost with the worker and counted; what comes behind is stored."""
    (tmp_path / "hook.py").write_text(HANGS)
    keys = "event_callback = hook.py:on_request\nhook_timeout = 1\n"
    with service(tmp_path, USUAL + keys + LISTEN) as running:
        send_udp(running.process.port, *map(hep3_with, (sip(), sip("OPTIONS"))))
        running.wait_for_stored(1)
        send_udp(running.process.port, hep3_with(sip("BYE")))
        wait_for(lambda: running.stats()["listeners"][0]["workers"][0]["restarts"] == 1, "another worker")
        send_udp(running.process.port, hep3_with(sip("UPDATE")))
        running.wait_for_stored(2)
        assert "in on_request" in running.process.said
        counted = running.stop()
    assert methods_in(tmp_path / "sipcap.db", "sip_capture") == ["INVITE", "UPDATE"]
    assert counted["filtered"] == {"hook": 1}
    assert (counted["received"], counted["dropped"]) == (4, {"worker_killed": 1})
    assert imbalance(counted) == 0


def test_run_hook_that_ends_its_process_loses_no_count(tmp_path: Path) -> None:
    """What the worker had just read counts as lost, though it had no time to say so."""
    (tmp_path / "hook.py").write_text("import os\ndef on_request(request):\n    os._exit(7)\n")
    with service(tmp_path, USUAL + "event_callback = hook.py:on_request\n" + LISTEN) as running:
        for number in range(1, 4):
            send_udp(running.process.port, hep3_with(sip("BYE")))
            wait_for(lambda: running.counters["dropped"].get("worker_killed") == number, f"{number} lost")  # noqa: B023
        counted = running.stop()
    assert (counted["received"], counted["stored"], counted["dropped"]) == (3, 0, {"worker_killed": 3})
