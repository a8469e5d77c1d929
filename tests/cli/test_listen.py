"""``sipcap listen``: from HEP on any socket to NDJSON."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.background import Start, imbalance, wait_for
from tests.support.messages import (
    BASE_TS_US,
    chunk,
    hep3,
    hep3_datagram,
    hep3_with,
    hep12,
    sip,
    sip_message,
    time_block,
    usual_chunks,
)
from tests.support.receiving import connect, send_udp
from tests.support.tls import client_context, self_signed


def test_listen_writes_one_json_object_a_message(listen: Start) -> None:
    """Columns, envelope and text of a message stand in its line; the summary counts it."""
    process = listen("--capture-node", "here")
    send_udp(process.port, hep3(*usual_chunks(), chunk(15, sip())))
    wait_for(lambda: process.output.count(b"\n") == 1, "a line")
    (line,) = process.lines
    assert (line["v"], line["kind"], line["method"], line["msg"]) == (1, "sip", "INVITE", sip().decode())
    assert (line["date"], line["micro_ts"], line["node"]) == ("2023-11-14 22:13:20", BASE_TS_US, "here:2001")
    assert (line["source_ip"], line["source_port"], line["hep_version"]) == ("10.1.1.1", 5061, 3)
    assert b": " not in process.output.partition(b'"msg"')[0]
    assert process.stop() == 0
    assert (process.summary["received"], process.summary["stored"], imbalance(process.summary)) == (1, 1, 0)
    assert process.summary == json.loads(process.said.splitlines()[-1])  # the last word, with --log-format json


def test_listen_reports_are_records_of_their_kind(listen: Start) -> None:
    """RTCP and logs leave as reports, and are counted as such."""
    process = listen()
    send_udp(process.port, hep3(*usual_chunks(payload_type=5), chunk(17, b"call-1"), chunk(15, b"{}")))
    wait_for(lambda: process.output.count(b"\n") == 1, "a line")
    assert (process.lines[0]["kind"], process.lines[0]["correlation_id"]) == ("report", "call-1")
    assert process.stop() == 0
    assert (process.summary["reported"], process.summary["stored"]) == (1, 0)


def test_listen_versions_and_rejections(listen: Start) -> None:
    """HEP 1, 2 and 3 are read from one socket; what is none is counted by its reason, and ends nothing."""
    process = listen()
    junk = [b"", b"HEP3", b"OPTIONS sip:a@b SIP/2.0\r\n\r\n", hep3(chunk(0, b"")), hep3_with(b"no SIP"), b"abc"]
    good = [hep12(sip()), hep12(sip(), version=2, block=time_block(1_700_000_000, 5, 3)), hep3_with(sip()) * 2]
    send_udp(process.port, *junk, *good)
    wait_for(lambda: process.output.count(b"\n") == 4, "four lines")
    assert [line["hep_version"] for line in process.lines] == [1, 2, 3, 3]
    assert process.stop() == 0
    counted = process.summary
    assert (counted["received"], counted["datagrams"], imbalance(counted)) == (10, 9, 0)
    rejected = counted["rejected"]
    assert {reason: rejected[reason] for reason in ("empty", "magic", "chunk_type", "not_sip")} == {
        "empty": 1, "magic": 1, "chunk_type": 1, "not_sip": 1,
    }  # fmt: skip


def test_listen_packet_that_ends_kamailio_is_a_message(listen: Start) -> None:
    """Without the chunks for protocol and type, Kamailio dies; here it is stored, and the next one too."""
    process = listen()
    for missing in (2, 11):
        chunks = [each for each in usual_chunks() if each[3] != missing]
        send_udp(process.port, hep3(*chunks, chunk(15, sip())))
    wait_for(lambda: process.output.count(b"\n") == 2, "two lines")


@pytest.mark.parametrize("year_us", [631_152_000_000_000, 2_208_988_800_000_000])
def test_listen_hostile_clock_takes_the_arrival_time(listen: Start, year_us: int) -> None:
    """1990 and 2040 become now; the sender's time stays in the envelope."""
    process = listen()
    before_us = time.time_ns() // 1_000
    send_udp(process.port, hep3(*usual_chunks(ts_us=year_us), chunk(15, sip())))
    wait_for(lambda: process.output.count(b"\n") == 1, "a line")
    (line,) = process.lines
    assert before_us <= line["micro_ts"] <= time.time_ns() // 1_000
    assert line["original_ts_us"] == year_us
    assert process.stop() == 0
    assert process.summary["clock_skew"] == 1


def test_listen_headers_of_the_users_choice(listen: Start) -> None:
    """--callid-aleg-header and --custom-header fill their columns."""
    process = listen("--callid-aleg-header", "X-A;X-B", "--custom-header", "X-One", "--custom-header", "")
    headers: dict[str, str | None] = {"X-B": "leg", "X-One": "1", "IP": "2", "Port": "3"}
    send_udp(process.port, hep3_with(sip(headers=headers)))
    wait_for(lambda: process.output.count(b"\n") == 1, "a line")
    (line,) = process.lines
    assert [line[f"custom_field{number}"] for number in (1, 2, 3)] == ["1", "", "3"]
    assert line["callid_aleg"] == "leg"


def test_listen_without_bad_messages_rejects_what_lacks_a_header(listen: Start) -> None:
    """--no-capture-bad-msgs does as the module does."""
    process = listen("--no-capture-bad-msgs")
    send_udp(process.port, hep3_with(sip(headers={"To": None})), hep3_with(sip()))
    wait_for(lambda: process.output.count(b"\n") == 1, "a line")
    assert process.stop() == 0
    assert process.summary["rejected"] == {"missing_header": 1}


def test_listen_auth_key_from_a_file(listen: Start, tmp_path: Path) -> None:
    """Only who knows the key is heard; wrong, missing and impossible (HEPv1) keys are counted."""
    (tmp_path / "key").write_text("s3cret\n")
    process = listen("--auth-key", "@key")
    keys = [b"s3cret", b"S3cret", b"", b"s3cret "]
    send_udp(process.port, *[hep3_with(sip(), chunk(14, key)) for key in keys], hep3_with(sip()), hep12(sip()))
    wait_for(lambda: process.output.count(b"\n") == 1, "a line")
    assert process.stop() == 0
    assert (process.summary["stored"], process.summary["rejected"]) == (1, {"auth_key": 5})
    assert "s3cret" not in process.said


def test_listen_allow_knows_ip4_peers_of_a_socket_for_both(listen: Start) -> None:
    """On ``*``, IPv4 peers appear as mapped IPv6; --allow means them all the same, for UDP and TCP."""
    process = listen("--listen", "udp:*:0", "--listen", "tcp:*:0", "--allow", "127.0.0.0/8")
    udp, tcp = process.ports(2)
    send_udp(udp, hep3_datagram(0))
    send_udp(udp, hep3_datagram(1), host="::1")
    with connect(tcp) as good, connect(tcp, host="::1") as bad:
        good.sendall(hep3_datagram(2))
        wait_for(lambda: process.output.count(b"\n") == 2, "two lines")
        assert bad.recv(1) == b""
    assert process.stop() == 0
    assert (process.summary["stored"], process.summary["rejected"]) == (2, {"not_allowed": 2})


def test_listen_on_everything_at_once(listen: Start, tmp_path: Path) -> None:
    """UDP, TCP and TLS, IPv4 and IPv6, in one process."""
    server = self_signed(tmp_path, "server")
    endpoints = ("udp:127.0.0.1:0", "tcp:127.0.0.1:0", "tls:127.0.0.1:0", "udp:[::1]:0", "tcp:[::1]:0")
    args = [word for endpoint in endpoints for word in ("--listen", endpoint)]
    process = listen(*args, "--tls-cert", str(server.cert), "--tls-key", str(server.key))
    udp, tcp, tls, udp6, tcp6 = process.ports(5)
    send_udp(udp, hep3_datagram(0))
    send_udp(udp6, hep3_datagram(1), host="::1")
    with connect(tcp) as first, connect(tcp6, host="::1") as second:
        first.sendall(hep3_datagram(2))
        second.sendall(hep3_datagram(3))
    with client_context().wrap_socket(connect(tls)) as third:
        third.sendall(hep3_datagram(4))
    wait_for(lambda: process.output.count(b"\n") == 5, "five lines")
    assert {line["msg"] for line in process.lines} == {sip_message(number).decode() for number in range(5)}
    assert process.stop() == 0


def test_listen_range_of_ports(listen: Start, udp_port: int) -> None:
    """Every port of a range is heard."""
    first = min(udp_port, 65_532)
    process = listen("--listen", f"127.0.0.1:{first}-{first + 2}")
    for number, port in enumerate(process.ports(3)):
        send_udp(port, hep3_datagram(number))
    wait_for(lambda: process.output.count(b"\n") == 3, "three lines")
