"""``sipcap listen``: what its options do to the columns."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import RunSipcap
from tests.support.background import Start, imbalance, wait_for
from tests.support.messages import BASE_TS_US, hep3_with, sip
from tests.support.packets import sip_capture
from tests.support.receiving import send_udp
from tests.support.topoh import masked


def test_listen_topoh_options_unmask_call_ids(listen: Start, tmp_path: Path) -> None:
    """The key may stand in a file; what has another prefix stays as it is."""
    (tmp_path / "key").write_text("secret\n")
    process = listen("--topoh-unmask", "--topoh-key", "@key", "--topoh-prefix", "***")
    mine = masked(b"abc123@host", key="secret", prefix="***")
    send_udp(process.port, *(hep3_with(sip(headers={"Call-ID": callid})) for callid in (mine, "!!:3P**")))
    wait_for(lambda: process.output.count(b"\n") == 2, "two lines")
    assert [line["callid"] for line in process.lines] == ["abc123@host", "!!:3P**"]
    assert mine in process.lines[0]["msg"]


def test_replay_topoh_has_the_module_s_defaults(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Without key and prefix, those of topoh itself; without --topoh-unmask, nothing."""
    sip_capture(tmp_path / "c.pcap", [sip(headers={"Call-ID": masked(b"a")})], first_us=BASE_TS_US)
    assert b'"callid":"a"' in sipcap("replay", "c.pcap", "--topoh-unmask").stdout
    ended = sipcap("replay", "c.pcap", "--topoh-key", "x")
    assert b'"callid":"!!:3P**"' in ended.stdout
    assert b"--topoh-key has no effect without --topoh-unmask" in ended.stderr


@pytest.mark.parametrize(
    "args", [("--topoh-key", ""), ("--topoh-key", "@empty"), ("--max-age", "0"), ("--max-age", "x")]
)
def test_listen_values_that_mean_nothing_are_refused(sipcap: RunSipcap, tmp_path: Path, args: tuple[str, str]) -> None:
    """An empty key divides by zero in the module; no age at all is the time of arrival for everything."""
    (tmp_path / "empty").write_text("")
    assert sipcap("listen", "--topoh-unmask", "--duration", "0", *args).returncode == 2


def test_listen_max_age_gives_old_messages_the_arrival_time(listen: Start) -> None:
    """Off by default: see the test of hostile clocks; its own time stays in the envelope."""
    process = listen("--max-age", "3600")
    before_us = time.time_ns() // 1_000
    send_udp(process.port, hep3_with(sip()))
    wait_for(lambda: process.output.count(b"\n") == 1, "a line")
    (line,) = process.lines
    assert line["micro_ts"] >= before_us
    assert (line["original_ts_us"], line["node"]) == (BASE_TS_US, "homer01:2001")
    assert process.stop() == 0
    assert (process.summary["clock_skew"], imbalance(process.summary)) == (1, 0)


def test_listen_aleg_and_custom_headers_by_any_spelling(listen: Start) -> None:
    """The first of the list that is there, not of the message; blanks around names do no harm (spec 1.5)."""
    process = listen("--callid-aleg-header", "X-A; x-b ;", "--custom-header", "X-One", "--custom-header", "")
    headers = {"X-B": "leg-b", "x-a": "leg-a", "X-ONE": "1", "Port": "5062", "IP": "10.9.8.7"}
    send_udp(process.port, hep3_with(sip(headers=headers)), hep3_with(sip(headers={"X-B": "leg-b"})))
    wait_for(lambda: process.output.count(b"\n") == 2, "two lines")
    first, second = process.lines
    assert (first["callid_aleg"], second["callid_aleg"]) == ("leg-a", "leg-b")
    assert [first[f"custom_field{number}"] for number in (1, 2, 3)] == ["1", "", "5062"]


def test_listen_no_capture_bad_msgs_is_as_strict_as_the_module(listen: Start) -> None:
    """Each of the five headers must be there; by default, all are stored (spec 3.2)."""
    process = listen("--no-capture-bad-msgs")
    needed = ("Via", "From", "To", "Call-ID", "CSeq")
    send_udp(process.port, *(hep3_with(sip(headers={name: None})) for name in needed), hep3_with(sip()))
    wait_for(lambda: process.output.count(b"\n") == 1, "a line")
    assert process.stop() == 0
    assert (process.summary["rejected"], process.summary["stored"]) == ({"missing_header": 5}, 1)
