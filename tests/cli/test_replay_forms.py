"""``sipcap replay`` of packed captures, through tshark, and over TLS, as users start it."""

from __future__ import annotations

import gzip
import json
import os
import pty
import select
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support import packets as p
from tests.support.messages import BASE_TS_US, sip, sip_message
from tests.support.programs import need, run_tool
from tests.support.replays import records, start
from tests.support.tls import self_signed
from tests.support.tls_capture import capture_tls

COUNT = 24


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A capture of messages, one every millisecond."""
    payloads = (sip_message(number) for number in range(COUNT))
    return p.sip_capture(tmp_path / "calls.pcap", payloads, first_us=BASE_TS_US)


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_replay_of_a_packed_capture_is_that_of_the_plain_one(sipcap: RunSipcap, calls: Path, packer: str) -> None:
    """What gzip(1) and zstd(1) make is read, as a file and as stdin, and cut short it exits 4."""
    plain = sipcap("replay", str(calls)).stdout
    run_tool(need(packer), "-k", str(calls))
    (packed,) = [path for path in calls.parent.iterdir() if path != calls]
    data = packed.read_bytes()
    assert sipcap("replay", packed.name).stdout == plain
    assert sipcap("replay", "-", stdin=data).stdout == plain
    packed.write_bytes(data[:-1])
    done = sipcap("replay", packed.name)
    assert done.returncode == 4
    assert b"cut short after" in done.stderr
    assert plain.startswith(done.stdout)


def test_replay_of_a_damaged_packed_capture_names_file_and_damage(sipcap: RunSipcap, calls: Path) -> None:
    """The last line says which file, and how many packets have come out."""
    calls.write_bytes(gzip.compress(calls.read_bytes()) + b"no gzip")
    done = sipcap("replay", str(calls))
    assert done.returncode == 4
    assert len(records(done.stdout)) == COUNT
    assert b"calls.pcap: damaged gzip" in done.stderr.splitlines()[-1]
    assert b"after 24 packets" in done.stderr.splitlines()[-1]


def test_replay_through_tshark_gives_the_same_lines(sipcap: RunSipcap, calls: Path) -> None:
    """Both dissectors write the same records, from files and from stdin."""
    need("tshark")
    native = sipcap("replay", str(calls))
    for done in (
        sipcap("replay", "--dissector", "tshark", str(calls)),
        sipcap("replay", "--dissector", "tshark", "-", stdin=calls.read_bytes()),
    ):
        assert (done.returncode, done.stdout) == (0, native.stdout)
        assert b"received 24, stored 24, packets 24" in done.stderr
    done = sipcap(
        "replay", "--dissector", "tshark", "--loop", "2", "--display-filter", "sip.CSeq.method == BYE", "calls.pcap"
    )
    assert {row["method"] for row in records(done.stdout)} <= {"BYE", "200"}
    assert 0 < len(records(done.stdout)) < 2 * COUNT


def test_replay_through_tshark_opens_tls(sipcap: RunSipcap, tmp_path: Path) -> None:
    """With the key log of one side, what was said over TLS is stored as it was said."""
    need("tshark")
    if os.geteuid():
        pytest.skip("capturing on loopback needs root")
    capture = capture_tls(tmp_path, self_signed(tmp_path, "server"), [sip_message(0), sip_message(1)])
    done = sipcap(
        "replay", "--dissector", "tshark", "--keylog", str(capture.keylog), "--ports", str(capture.server_port),
        str(capture.path),
    )  # fmt: skip
    rows = records(done.stdout)
    assert [row["msg"].encode() for row in rows] == [sip_message(0), sip_message(1)]
    assert {(row["source_port"], row["destination_port"]) for row in rows} == {
        (capture.client_port, capture.server_port)
    }


def test_replay_without_tshark_exits_3_and_says_what_to_install(sipcap: RunSipcap, calls: Path) -> None:
    """A program that is not there is a line with the way to get it."""
    done = sipcap("replay", "--dissector", "tshark", str(calls), env={"PATH": "/nonexistent"})
    assert done.returncode == 3
    assert b"apt install tshark" in done.stderr


def test_replay_through_a_tshark_that_dies_exits_4(sipcap: RunSipcap, calls: Path, tmp_path: Path) -> None:
    """A tshark that breaks off is an error with its last words, behind what it gave."""
    tshark = need("tshark")
    folder = tmp_path / "bin"
    folder.mkdir()
    script = (
        '#!/bin/sh\ncase "$*" in *"-c 1"*) exit 0;; esac\n'  # the look at whether it can be used
        f'{tshark} "$@" | head -n 6\necho "tshark: out of luck" >&2\nkill -9 $$\n'
    )
    (folder / "tshark").write_text(script)
    (folder / "tshark").chmod(0o755)
    done = sipcap("replay", "--dissector", "tshark", str(calls), env={"PATH": f"{folder}:{os.environ['PATH']}"})
    assert done.returncode == 4
    assert len(records(done.stdout)) == 3
    assert b"out of luck" in done.stderr.splitlines()[-1]


def test_replay_through_tshark_of_a_cut_file_exits_4(sipcap: RunSipcap, calls: Path) -> None:
    """What is whole comes out, then tshark's reason."""
    need("tshark")
    calls.write_bytes(calls.read_bytes()[:-1])
    done = sipcap("replay", "--dissector", "tshark", str(calls))
    assert done.returncode == 4
    assert len(records(done.stdout)) == COUNT - 1
    assert b"cut short" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--keylog", "calls.pcap"), "--keylog needs --dissector tshark"),
        (("--display-filter", "sip"), "--display-filter needs --dissector tshark"),
        (("--dissector", "tshark", "--bpf", "udp"), "no --bpf"),
        (("--dissector", "wireshark"), "--dissector"),
        (("--dissector", "tshark", "--display-filter", "no such field"), "--display-filter"),
    ],
)
def test_replay_refuses_what_a_dissector_cannot(
    sipcap: RunSipcap, calls: Path, args: tuple[str, ...], text: str
) -> None:
    """Options that do not go together are a wrong command line."""
    if "tshark" in args:
        need("tshark")
    done = sipcap("replay", str(calls), *args)
    assert done.returncode == 2
    assert text in done.stderr.decode()


def test_ctrl_c_ends_a_replay_through_tshark(tmp_path: Path) -> None:
    """A stop ends both programs; what had come is written."""
    need("tshark")
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    os.write(writer, p.pcap([(BASE_TS_US, p.ethernet(p.ip4(p.udp(sip()))))]))
    with start("--dissector", "tshark", "--drain-timeout", "0.5", str(path)) as replay:
        assert replay.stdout is not None
        assert json.loads(replay.stdout.readline())["msg"].encode() == sip()
        replay.send_signal(signal.SIGINT)
        assert replay.wait(TIMEOUT_S) == 130
    os.close(writer)


def test_replay_over_tls_checks_the_collector(sipcap: RunSipcap, calls: Path, tmp_path: Path) -> None:
    """With the right authority everything arrives; with another one nothing starts, unless nobody asks."""
    collector = self_signed(tmp_path, "collector", "-nodes", "-addext", "subjectAltName=IP:127.0.0.1")
    stranger = self_signed(tmp_path, "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(collector.cert, collector.key)
    received: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def collect() -> None:
            for _ in range(3):
                connection, _ = listening.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as secure:
                        received.append(0)
                        while data := secure.recv(65_536):
                            received[-1] += data.count(b"HEP3")
                except OSError:
                    connection.close()  # it did not trust us

        collecting = threading.Thread(target=collect)
        collecting.start()
        to = ("replay", str(calls), "--speed", "max", "--to", f"tls:127.0.0.1:{listening.getsockname()[1]}")
        trusting = sipcap(*to, "--tls-ca", str(collector.cert))
        refusing = sipcap(*to, "--tls-ca", str(stranger.cert))
        careless = sipcap(*to, "--tls-insecure")
        collecting.join(TIMEOUT_S)
    assert (trusting.returncode, careless.returncode) == (0, 0)
    assert b"received 24, stored 24" in trusting.stderr
    assert refusing.returncode == 3
    assert b"certificate refused" in refusing.stderr
    assert [count for count in received if count] == [COUNT, COUNT]


def test_replay_of_what_does_not_fit_rejects_or_compresses(sipcap: RunSipcap, tmp_path: Path, tcp_port: int) -> None:
    """A message over 64 KB is rejected by name, exit 1; with --compress it goes out."""
    body = b"a=candidate\r\n" * 4_960
    path = p.sip_capture(tmp_path / "big.pcap", [sip(body=body)], first_us=BASE_TS_US)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(TIMEOUT_S)
        to = ("--to", f"127.0.0.1:{collector.getsockname()[1]}", "--auth-key", "k" * 1_000)
        refused = sipcap("replay", str(path), *to)
        sent = sipcap("replay", str(path), *to, "--compress")
        assert len(collector.recv(65_535)) < 10_000
    assert refused.returncode == 1
    assert b"rejected 1 (too_big 1)" in refused.stderr
    assert b"--compress may help" in refused.stderr
    assert (sent.returncode, sent.stdout) == (0, b"")
    warned = sipcap("replay", str(path), *to[:2], "--compress", "--hep-version", "2")
    assert b"--compress has no effect with --hep-version 2" in warned.stderr


def test_progress_of_a_packed_capture_comes_to_its_end(calls: Path) -> None:
    """The bar goes by the bytes of the file, so that a packed one does not run past it."""
    packed = calls.with_suffix(".gz")
    packed.write_bytes(gzip.compress(calls.read_bytes()))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*SIPCAP, "replay", str(packed), "--to", "udp:127.0.0.1:9", "--rate", "100"], env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs,
    ) as replay:  # fmt: skip
        os.close(theirs)
        said = b""
        while select.select([ours], [], [], TIMEOUT_S)[0]:
            try:
                piece = os.read(ours, 4_096)
            except OSError:
                break  # the other side has closed
            if not piece:
                break
            said += piece
        replay.wait(TIMEOUT_S)
    os.close(ours)
    assert b"100%" in said
    assert b"of 24 packets" in said
