"""``sipcap replay`` to NDJSON, as users start it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S, RunSipcap
from tests.support import packets as p
from tests.support.messages import BASE_TS_US, chunk, hep3, sip, sip_message, usual_chunks
from tests.support.programs import need
from tests.support.replays import frame, records, start, to
from tests.support.tcp import TLS_DATA, TLS_HELLO, Side, Talk, cut

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "corpus" / "pcap"


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A capture of 24 messages, one every millisecond."""
    return p.sip_capture(tmp_path / "calls.pcap", (sip_message(number) for number in range(24)), first_us=BASE_TS_US)


@pytest.fixture
def collector() -> Iterator[socket.socket]:
    """A collector's UDP socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(TIMEOUT_S)
        yield bound


def test_replay_writes_one_record_a_message(sipcap: RunSipcap, calls: Path) -> None:
    """Every message of a capture is a line on stdout, in order, and the rest is said on stderr."""
    done = sipcap("replay", str(calls))
    rows = records(done.stdout)
    assert done.returncode == 0
    assert [row["msg"].encode() for row in rows] == [sip_message(number) for number in range(24)]
    assert [row["micro_ts"] for row in rows] == [BASE_TS_US + 1_000 * number for number in range(24)]
    assert done.stderr == b"sipcap: received 24, stored 24, packets 24, bytes %d\n" % sum(
        42 + len(sip_message(number)) for number in range(24)
    )


def test_replay_keeps_the_envelope(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Addresses, VLAN, TOS and MACs are in the record; what is not known is absent."""
    path = tmp_path / "one.pcapng"
    path.write_bytes(p.pcapng([(BASE_TS_US, p.ethernet(p.ip4(p.udp(sip()), tos=0x60), vlans=(100,)))]))
    (row,) = records(sipcap("replay", str(path)).stdout)
    assert (row["source_ip"], row["source_port"]) == (p.SOURCE, 5060)
    assert (row["destination_ip"], row["destination_port"]) == (p.DESTINATION, 5062)
    assert (row["vlan"], row["tos"]) == (100, 0x60)
    assert (row["source_mac"], row["destination_mac"]) == ("02:00:00:00:00:01", "02:00:00:00:00:02")
    assert (row["proto"], row["family"], row["type"], row["node"]) == (1, 2, 1, "homer01")
    assert "hep_version" not in row
    assert "capture_id" not in row


def test_replay_unwraps_hep_and_reports_what_is_no_sip(sipcap: RunSipcap, tmp_path: Path) -> None:
    """SIP in HEP is a sip record with the inner envelope, RTCP a report; nothing is dropped."""
    inner = [
        hep3(*usual_chunks(), chunk(15, sip())),
        hep3(*usual_chunks(payload_type=5), chunk(0x11, b"call"), chunk(15, b'{"ssrc":1}')),
    ]
    path = tmp_path / "hep.pcap"
    path.write_bytes(p.pcap((BASE_TS_US + 9, frame(each, 1, 9_060)) for each in inner))
    done = sipcap("replay", str(path))
    first, second = records(done.stdout)
    assert done.returncode == 0
    assert (first["kind"], first["micro_ts"], first["source_ip"]) == ("sip", BASE_TS_US, "10.1.1.1")
    assert (first["node"], first["hep_version"], first["capture_id"]) == ("homer01:2001", 3, 2_001)
    assert (second["kind"], second["type"], second["payload_type"]) == ("report", 3, 5)
    assert (second["correlation_id"], second["msg"]) == ("call", '{"ssrc":1}')
    assert b"stored 1, reported 1" in done.stderr


def test_replay_of_nothing_writes_nothing(sipcap: RunSipcap, tmp_path: Path) -> None:
    """No records are no bytes."""
    path = tmp_path / "empty.pcap"
    path.write_bytes(p.pcap([]))
    done = sipcap("replay", str(path))
    assert (done.returncode, done.stdout) == (0, b"")


def test_replay_reads_stdin(sipcap: RunSipcap, calls: Path) -> None:
    """A capture may come through a pipe, or as stdin's file."""
    from_pipe = sipcap("replay", "-", stdin=calls.read_bytes())
    with calls.open("rb") as file, start("-", stdin=file) as from_file:
        stdout, _ = from_file.communicate(timeout=TIMEOUT_S)
    assert from_pipe.stdout == stdout == sipcap("replay", str(calls)).stdout
    assert from_pipe.returncode == 0


def test_replay_of_a_live_pipe_writes_while_the_writer_still_runs(calls: Path) -> None:
    """A record comes out soon after its packet went in, not when the capture ends."""
    whole = calls.read_bytes()
    size = 16 + 42 + len(sip_message(0))
    with start("-", stdin=subprocess.PIPE) as replay:
        assert replay.stdin is not None
        assert replay.stdout is not None
        replay.stdin.write(whole[: 24 + size])
        replay.stdin.flush()
        replay.stdout.readline()  # started, too
        delays = []
        for _ in range(5):
            sent = time.monotonic()
            replay.stdin.write(whole[24 : 24 + size])
            replay.stdin.flush()
            assert json.loads(replay.stdout.readline())["msg"].encode() == sip_message(0)
            delays.append(time.monotonic() - sent)
        replay.stdin.close()
        assert replay.wait(TIMEOUT_S) == 0
    assert min(delays) < 0.1


def test_replay_behind_tcpdump(tmp_path: Path, calls: Path) -> None:
    """What tcpdump writes to a pipe can be read; its own file reader stands in for an interface."""
    dump = subprocess.Popen(
        [need("tcpdump"), "-r", str(calls), "-U", "-w", "-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with dump, start("-", stdin=dump.stdout) as replay:
        stdout, _ = replay.communicate(timeout=TIMEOUT_S)
    assert len(records(stdout)) == 24


def test_replay_into_head_ends_quietly(tmp_path: Path) -> None:
    """A reader that has enough is no error, and nothing is said."""
    path = p.sip_capture(tmp_path / "x.pcap", (sip_message(number) for number in range(5_000)), first_us=BASE_TS_US)
    with start(str(path)) as replay:
        assert replay.stdout is not None
        assert replay.stderr is not None
        for _ in range(3):
            replay.stdout.readline()
        replay.stdout.close()
        assert replay.stderr.read() == b""
        assert replay.wait(TIMEOUT_S) == 0


def test_replay_of_a_cut_file_writes_what_is_whole_and_exits_4(sipcap: RunSipcap, calls: Path) -> None:
    """All whole packets come out, then one line says where the file breaks off."""
    calls.write_bytes(calls.read_bytes()[:-1])
    done = sipcap("replay", str(calls))
    assert done.returncode == 4
    assert len(records(done.stdout)) == 23
    assert b"received 23, stored 23" in done.stderr
    assert b"calls.pcap: cut short after 23 packets" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("stdin", [b"", b"nonsense", b"x" * 100])
def test_replay_of_what_is_no_capture_exits_4(sipcap: RunSipcap, tmp_path: Path, stdin: bytes) -> None:
    """A file or pipe that is no capture is an error of one line."""
    path = tmp_path / "x"
    path.write_bytes(stdin)
    for done in (sipcap("replay", str(path)), sipcap("replay", "-", stdin=stdin)):
        assert done.returncode == 4
        assert done.stdout == b""
        assert b"Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith(b"sipcap: error: ")


def test_replay_of_wireless_frames_names_the_link_type(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A link type without IP is an error that names it."""
    path = tmp_path / "wlan.pcap"
    path.write_bytes(p.pcap([], link=127))
    done = sipcap("replay", str(path))
    assert done.returncode == 4
    assert b"link type 127 (radiotap (IEEE 802.11))" in done.stderr


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("missing.pcap",), "does not exist"),
        ((".",), "is a directory"),
        ((), "Missing argument"),
        (("F", "--speed", "0"), "number above 0"),
        (("F", "--speed", "fast"), "number above 0"),
        (("F", "--speed", "nan"), "number above 0"),
        (("F", "--rate", "0"), "--rate"),
        (("F", "--to", "x:1", "--rate", "5", "--speed", "2"), "exclude each other"),
        (("F", "--ports", "5060-"), "range of ports"),
        (("F", "--ports", "5060-5000"), "range of ports"),
        (("F", "--ports", "70000"), "range of ports"),
        (("F", "--bpf", "no such filter"), "no such filter"),
        (("F", "--to", "nowhere"), "ENDPOINT|endpoint"),
        (("F", "--to", "tls:127.0.0.1:9060", "--hep-version", "1"), "version 3 only"),
        (("F", "--to", "tls:127.0.0.1:9060", "--tls-key", "F"), "needs --tls-cert"),
        (("F", "--to", "tls:127.0.0.1:9060", "--tls-ca", "F", "--tls-insecure"), "exclude each other"),
        (("F", "--to", "127.0.0.1:9060-9061"), "not one place"),
        (("F", "--to", "*:9060"), "not one place"),
        (("F", "--to", "tcp:127.0.0.1:9060", "--hep-version", "2"), "version 3 only"),
        (("F", "--hep-version", "4"), "--hep-version"),
        (("F", "--loop", "0"), "--loop"),
        (("-", "--loop", "2"), "stdin"),
        (("F", "--capture-id", "4294967296"), "--capture-id"),
    ],
)
def test_replay_refuses_a_wrong_command_line(sipcap: RunSipcap, calls: Path, args: tuple[str, ...], text: str) -> None:
    """What cannot work is exit code 2 and a line that says why, before anything is read or sent."""
    done = sipcap("replay", *(str(calls) if arg == "F" else arg for arg in args))
    assert done.returncode == 2
    assert any(each in done.stderr.decode() for each in text.split("|"))
    assert done.stdout == b""


def test_a_bad_filter_for_a_pipe_is_a_wrong_command_line_too(sipcap: RunSipcap, calls: Path) -> None:
    """A pipe's filter is compiled when its link type is known; the exit code is the same."""
    done = sipcap("replay", "-", "--bpf", "no such filter", stdin=calls.read_bytes())
    assert done.returncode == 2
    assert b"no such filter" in done.stderr


def test_replay_warns_of_options_without_effect(sipcap: RunSipcap, calls: Path) -> None:
    """Records are written at full speed, whatever pace is asked for."""
    done = sipcap("replay", str(calls), "--speed", "0.001", "--capture-id", "5")
    assert done.returncode == 0
    assert b"--speed has no effect without --to" in done.stderr
    assert b"--capture-id has no effect without --to" in done.stderr
    assert b"warning" not in sipcap("replay", str(calls), "--speed", "max").stderr


def test_replay_filters_by_port_and_by_bpf(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Both filters choose packets, also together."""
    path = tmp_path / "ports.pcap"
    path.write_bytes(p.pcap((BASE_TS_US, p.ethernet(p.ip4(p.udp(sip(), port, 9)))) for port in range(5060, 5070)))

    def ports(*args: str) -> list[int]:
        return [row["source_port"] for row in records(sipcap("replay", str(path), *args).stdout)]

    assert ports("--ports", "5062-5064") == [5062, 5063, 5064]
    assert ports("--ports", "5069") == [5069]
    assert ports("--bpf", "udp src port 5061") == [5061]
    assert ports("--bpf", "udp src portrange 5060-5062", "--ports", "5062-5064") == [5062]


def test_replay_of_something_rejected_exits_1(sipcap: RunSipcap, tmp_path: Path) -> None:
    """What is no SIP on a SIP port is counted, and the exit code tells."""
    path = p.sip_capture(tmp_path / "x.pcap", [sip(), b"nonsense"], first_us=BASE_TS_US)
    done = sipcap("replay", str(path), "--ports", "5060")
    assert done.returncode == 1
    assert len(records(done.stdout)) == 1
    assert b"rejected 1 (not_sip 1)" in done.stderr


def test_replay_accounts_for_every_packet(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Packets are those with messages, those without by reason, and those of TCP, whose connections are named apart."""
    talks = [
        Talk().open().ask(*cut(sip(), 30)).close(),
        Talk(Side("192.0.2.7", 1, 1)).open().ask(TLS_HELLO).answer(*[TLS_DATA] * 9).close(),
        Talk(Side("192.0.2.8", 1, 1)).open().ask(b"SSH-2.0-x\r\n" + b"x" * 9_000).close(),
    ]
    segments = [frame for talk in talks for frame in talk.frames()]
    datagrams = [p.ethernet(p.ip4(p.udp(payload))) for payload in (sip(), sip(), b"\x80\0 no SIP")]
    path = tmp_path / "x.pcap"
    path.write_bytes(p.pcap(sorted(segments) + [(BASE_TS_US, each) for each in datagrams]))
    done = sipcap("replay", str(path))
    said = done.stderr.decode()
    assert len(records(done.stdout)) == 3
    assert f"packets {2 + 1 + len(segments)}" in said
    assert "packets without a message: 1 (other 1)\n" in said
    assert f"packets of TCP connections: {len(segments)}; connections without SIP: 2 (tcp 1, tls 1)\n" in said
    fields = [json.loads(line) for line in sipcap("--log-format", "json", "replay", str(path)).stderr.splitlines()]
    assert [line["skipped"] for line in fields if "skipped" in line] == [{"other": 1}]
    assert [line["connections"] for line in fields if "connections" in line] == [{"tcp": 1, "tls": 1}]


def test_replay_with_now_restamps(sipcap: RunSipcap, calls: Path) -> None:
    """Records carry the time of replaying."""
    before_us = time.time_ns() // 1_000
    times = [row["micro_ts"] for row in records(sipcap("replay", str(calls), "--now").stdout)]
    assert before_us <= times[0] <= times[-1] <= time.time_ns() // 1_000


def test_replay_with_loop_reads_again(sipcap: RunSipcap, calls: Path) -> None:
    """Three loops are three times the records."""
    done = sipcap("replay", str(calls), "--loop", "3")
    assert len(records(done.stdout)) == 72


def test_replay_passes_extraction_options(sipcap: RunSipcap, tmp_path: Path) -> None:
    """The options of ``listen`` that say how columns are made work here too."""
    message = sip(headers={"X-Leg": "aleg", "X-Extra": "extra"})
    path = p.sip_capture(tmp_path / "x.pcap", [message, sip(headers={"To": None})], first_us=BASE_TS_US)
    done = sipcap(
        "replay", str(path), "--capture-node", "edge", "--callid-aleg-header", "X-Leg", "--custom-header", "X-Extra",
        "--no-capture-bad-msgs",
    )  # fmt: skip
    (row,) = records(done.stdout)
    assert (row["node"], row["callid_aleg"], row["custom_field1"]) == ("edge", "aleg", "extra")
    assert b"rejected 1 (missing_header 1)" in done.stderr


def test_a_signal_lets_a_pipe_come_to_its_end(calls: Path) -> None:
    """Ctrl-C on a whole pipeline loses nothing: what the capturing program still writes is read."""
    whole = calls.read_bytes()
    with start("-", stdin=subprocess.PIPE) as replay:
        assert replay.stdin is not None
        assert replay.stdout is not None
        replay.stdin.write(whole[:1_000])
        replay.stdin.flush()
        first = replay.stdout.readline()
        replay.send_signal(signal.SIGINT)
        time.sleep(0.3)
        replay.stdin.write(whole[1_000:])
        replay.stdin.close()
        rest = replay.stdout.read()
        assert replay.wait(TIMEOUT_S) == 130
    assert len(records(first + rest)) == 24


def test_a_signal_ends_a_silent_pipe_after_the_drain_timeout() -> None:
    """A writer that never ends does not keep it."""
    with start("-", "--drain-timeout", "0.2", stdin=subprocess.PIPE) as replay:
        assert replay.stdin is not None
        replay.stdin.write(p.pcap([(BASE_TS_US, frame(sip()))]))
        replay.stdin.flush()
        assert replay.stdout is not None
        replay.stdout.readline()
        replay.send_signal(signal.SIGTERM)
        assert replay.wait(TIMEOUT_S) == 143


def test_a_second_signal_leaves_at_once() -> None:
    """Who asks twice does not wait for the drain."""
    with start("-", stdin=subprocess.PIPE) as replay:
        assert replay.stdin is not None
        replay.stdin.write(p.pcap([(BASE_TS_US, frame(sip()))]))
        replay.stdin.flush()
        assert replay.stdout is not None
        replay.stdout.readline()
        replay.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert replay.poll() is None
        replay.send_signal(signal.SIGTERM)
        assert replay.wait(5) == 143


def test_a_signal_during_output_keeps_lines_whole(tmp_path: Path) -> None:
    """Whatever has been written when a signal comes, no line is cut."""
    path = p.sip_capture(tmp_path / "x.pcap", (sip_message(number) for number in range(5_000)), first_us=BASE_TS_US)
    with start(str(path), "--loop", "1000") as replay:
        assert replay.stdout is not None
        first = replay.stdout.readline()
        replay.send_signal(signal.SIGTERM)
        rest = replay.stdout.read()
        assert replay.wait(TIMEOUT_S) == 143
    assert (first + rest).endswith(b"}\n")
    assert len(records(first + rest)) > 1


def test_a_full_disk_is_said_and_exits_5(calls: Path) -> None:
    """Records that cannot be written are no success."""
    with Path("/dev/full").open("wb") as full, start(str(calls), stdout=full) as replay:
        _, stderr = replay.communicate(timeout=TIMEOUT_S)
    assert replay.returncode == 5
    assert b"No space left" in stderr
    assert b"dropped 24 (output 24)" in stderr


def test_lines_are_for_people(sipcap: RunSipcap, tmp_path: Path) -> None:
    """--format line writes time, addresses, method or status, users and Call-ID."""
    evil = sip(headers={"Call-ID": "x\x1b]0;title\x07y"})
    answer = sip(start_line="SIP/2.0 180 Ringing")
    rtcp = hep3(*usual_chunks(payload_type=5), chunk(0x11, b"call"), chunk(15, b'{"a":\n1}'))
    path = tmp_path / "x.pcap"
    path.write_bytes(p.pcap((BASE_TS_US, frame(each)) for each in (sip(), evil, answer, rtcp)))
    done = sipcap("replay", str(path), "--format", "line")
    assert done.stdout.decode().splitlines() == [
        "2023-11-14 22:13:20.123456  192.0.2.1:5060 → 192.0.2.2:5062  INVITE"
        "  alice@atlanta.com → bob@biloxi.com  abc123@host",
        "2023-11-14 22:13:20.123456  192.0.2.1:5060 → 192.0.2.2:5062  INVITE"
        "  alice@atlanta.com → bob@biloxi.com  x␛]0;title␇y",
        "2023-11-14 22:13:20.123456  192.0.2.1:5060 → 192.0.2.2:5062  180 Ringing (INVITE)"
        "  alice@atlanta.com → bob@biloxi.com  abc123@host",
        '2023-11-14 22:13:20.123456  10.1.1.1:5061 → 10.2.2.2:5062  RTCP  call  {"a":␊1}',
    ]
    colored = sipcap("--color", "always", "replay", str(path), "--format", "line").stdout
    assert b"\x1b[2m2023-11-14" in colored
    assert b"\x1b]" not in colored


def _on_terminal(*args: str, stdout_too: bool) -> tuple[bytes, bytes]:
    """Run with stderr (and stdout) on a terminal: what the terminal saw, and what stdout got otherwise."""
    ours, theirs = pty.openpty()
    seen = bytearray()
    with start(*args, stderr=theirs, stdout=theirs if stdout_too else subprocess.PIPE) as replay:
        os.close(theirs)
        until_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until_s:
            ready, _, _ = select.select([ours], [], [], 0.2)
            try:
                data = os.read(ours, 65_536) if ready else b""
            except OSError:  # the other side is closed
                break
            seen += data
        stdout = b"" if replay.stdout is None else replay.stdout.read()
        replay.wait(TIMEOUT_S)
    os.close(ours)
    return bytes(seen), stdout


def test_the_progress_bar_is_on_stderr_only_and_only_on_a_terminal(calls: Path, collector: socket.socket) -> None:
    """A terminal on stderr shows a bar, -q hides it, and records are never mixed with it."""
    seen, stdout = _on_terminal(str(calls), stdout_too=False)
    assert b"messages of" in seen
    assert len(records(stdout)) == 24
    assert b"messages of" not in _on_terminal(str(calls), "-q", stdout_too=False)[0]
    assert b"messages of" in _on_terminal(str(calls), "--to", to(collector), stdout_too=True)[0]


def test_a_terminal_gets_lines_without_a_bar(calls: Path) -> None:
    """On a terminal, messages are lines and nothing moves between them."""
    seen, _ = _on_terminal(str(calls), stdout_too=True)
    assert b"messages of" not in seen
    assert b"INVITE" in seen
    assert b'{"v"' not in seen


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("hep3-homer.pcap", {"sip": 6, "report": 2}),
        ("ipip-heplify.pcap", {"sip": 8}),
        ("sngrep-aaa.pcap", {"sip": 81, "report": 1}),
    ],
)
def test_replay_of_the_corpus(sipcap: RunSipcap, name: str, kinds: dict[str, int]) -> None:
    """Other projects' captures come out whole."""
    path = CORPUS / name
    if not path.exists():
        pytest.skip("corpus is not here")
    done = sipcap("replay", str(path))
    rows = records(done.stdout)
    assert done.returncode == 0
    assert {kind: sum(row["kind"] == kind for row in rows) for kind in kinds} == kinds
    assert len(rows) == sum(kinds.values())
    assert all(row["method"] and row["callid"] for row in rows if row["kind"] == "sip")


def test_replay_of_several_files_reads_on_behind_a_bad_one(sipcap: RunSipcap, calls: Path, tmp_path: Path) -> None:
    """One file that is no capture keeps no other from being read; each is named, and the exit code is 4."""
    bad = [tmp_path / "a.pcap", tmp_path / "b.pcap"]
    for path in bad:
        path.write_bytes(b"no capture")
    alone = sipcap("replay", str(calls))
    done = sipcap("replay", *map(str, (bad[0], calls, bad[1], calls)))
    assert done.returncode == 4
    assert done.stdout == alone.stdout * 2
    assert all(str(path).encode() in done.stderr for path in bad)
