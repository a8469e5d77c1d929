"""``sipcap listen``: pipes, disks and terminals that it writes to."""

from __future__ import annotations

import os
import pty
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.background import Start, background, imbalance, wait_for
from tests.support.messages import (
    hep3_datagram,
    hep3_with,
    sip,
)
from tests.support.receiving import connect, send_udp


@pytest.mark.parametrize("children", ["1", "3"])
def test_listen_to_a_full_disk_is_5(listen: Start, children: str) -> None:
    """The reason is one line, and the counters stand before it."""
    with Path("/dev/full").open("wb") as full:
        process = listen("--children", children, stdout=full)
        send_udp(process.port, *map(hep3_datagram, range(10)))
        assert process.wait() == 5
    assert 0 < process.summary["received"] == process.summary["dropped"]["output"]
    assert "cannot write the output: No space left on device" in process.said.splitlines()[-1]


def test_listen_quiet_says_only_what_went_wrong(tmp_path: Path, udp_port: int) -> None:
    """-q leaves errors and warnings: a run that goes well says nothing."""
    with background(tmp_path, "listen", "-q", "--listen", f"127.0.0.1:{udp_port}", "--duration", "0.1") as process:
        assert process.wait() == 0
    assert process.said == ""


def test_listen_quiet_to_a_full_disk_is_one_line(tmp_path: Path, udp_port: int) -> None:
    """-q with an error: one line, however many messages were lost."""
    with (
        Path("/dev/full").open("wb") as full,
        background(tmp_path, "listen", "-qq", "--listen", f"127.0.0.1:{udp_port}", stdout=full) as process,
    ):
        while not process.ended:
            send_udp(udp_port, hep3_datagram(0))
            time.sleep(0.05)
        assert process.wait() == 5
    assert process.said == "sipcap: error: cannot write the output: No space left on device\n"


def test_listen_line_reaches_the_pipe_at_once(listen: Start) -> None:
    """A single message does not wait for others: a tenth of a second is promised, ten times that is accepted."""
    process = listen()
    send_udp(process.port, hep3_datagram(0))
    wait_for(lambda: process.output, "the first line")
    delays = []
    for number in range(1, 6):
        sent_s = time.monotonic()
        send_udp(process.port, hep3_datagram(number))
        wait_for(lambda: process.output.count(b"\n") == number + 1, "a line")  # noqa: B023  # it is called here
        delays.append(time.monotonic() - sent_s)
    assert min(delays) < 1.0


def test_listen_reader_that_pauses_bounds_the_memory_and_counts(listen: Start) -> None:
    """While nobody reads, memory stays bounded and the kernel's drops are counted; then it goes on."""
    reader, writer = os.pipe()
    process = listen("--rcvbuf", "1000000", stdout=writer)
    os.close(writer)
    large = hep3_with(b"OPTIONS sip:a SIP/2.0\r\n\r\n" + b"x" * 60_000)
    sent = 1_500  # 90 MB
    port = process.port
    for _ in range(sent):
        send_udp(port, large)
        time.sleep(0.0005)
    time.sleep(1.2)
    assert resident_bytes(process.pid) < 200 << 20
    lines = 0
    os.set_blocking(reader, True)
    process.send_signal(signal.SIGTERM)
    while piece := os.read(reader, 1 << 20):
        lines += piece.count(b"\n")
    os.close(reader)
    assert process.wait() == 0
    counted = process.summary
    assert counted["kernel_dropped"] > 0
    assert counted["received"] + counted["kernel_dropped"] == sent
    assert (lines, imbalance(counted)) == (counted["stored"], 0)


def resident_bytes(pid: int) -> int:
    """What a process occupies in memory."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) << 10


def test_listen_out_of_descriptors_refuses_without_spinning(listen: Start) -> None:
    """With no file descriptor left, connections are refused and counted, UDP goes on, and the processor rests."""
    process = listen("--listen", "udp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0", before=("prlimit", "--nofile=40:40"))
    udp, tcp = process.ports(2)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connect(tcp))
        send_udp(udp, hep3_datagram(0))
        wait_for(lambda: process.output.count(b"\n") == 1, "a line")
        before_s = cpu_s(process.pid)
        time.sleep(0.7)
        assert cpu_s(process.pid) - before_s < 0.35
    assert process.stop() == 0
    assert process.summary["rejected"]["too_many_connections"] > 50
    assert imbalance(process.summary) == 0


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hostile() -> bytes:
    """A message whose Call-ID would clear a terminal."""
    return hep3_with(sip(headers={"Call-ID": "a\x1b[2Jb"}))


def test_listen_lines_into_a_pipe(listen: Start) -> None:
    """--format line is one line a message for people, without colours and control characters."""
    process = listen("--format", "line")
    send_udp(process.port, hostile())
    wait_for(lambda: process.output.count(b"\n") == 1, "a line")
    text = process.output.decode()
    assert "10.1.1.1:5061 → 10.2.2.2:5062  INVITE" in text
    assert "\x1b" not in text
    assert "a␛[2Jb" in text


@pytest.mark.parametrize(("env", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_listen_on_a_terminal_shows_lines(listen: Start, env: dict[str, str], colored: bool) -> None:
    """On a terminal, the format is line, coloured unless NO_COLOR says otherwise, and the text is harmless."""
    master, slave = pty.openpty()
    process = listen("--count", "1", stdout=slave, env=env)
    os.close(slave)
    send_udp(process.port, hostile())
    assert process.wait() == 0
    text = os.read(master, 10_000).decode()
    os.close(master)
    assert ("\x1b[" in text) is colored
    assert "\x1b[2J" not in text
    assert "INVITE" in text


def test_listen_whose_terminal_goes_away_ends(listen: Start) -> None:
    """A terminal that is closed is a reader that is gone."""
    master, slave = pty.openpty()
    process = listen(stdout=slave)
    os.close(slave)
    _ = process.port
    os.close(master)
    assert process.wait() == 0


@pytest.mark.parametrize("children", ["1", "2"])
def test_listen_with_stdout_closed_from_the_start_ends_quietly(listen: Start, children: str) -> None:
    """A reader that never was ends it with 0, without a message to write."""
    reader, writer = os.pipe()
    os.close(reader)
    process = listen("--children", children, stdout=writer)
    os.close(writer)
    assert process.wait() == 0
    assert "Traceback" not in process.said


def test_listen_into_a_socket_that_is_closed_ends(listen: Start) -> None:
    """Some programs give their children a socket as stdout; its other end may go away without a message to write."""
    reader, writer = socket.socketpair()
    process = listen(stdout=writer.fileno())
    writer.close()
    _ = process.port
    reader.close()
    assert process.wait() == 0
