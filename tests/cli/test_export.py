"""``sipcap export`` as users start it."""

from __future__ import annotations

import os
import pty
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from sipcap.ndjson import encode_records
from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.exporting.test_forms import record_of

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "corpus" / "pcap"
LINES = encode_records(record_of(number) for number in range(10))


@pytest.mark.parametrize("name", ["sngrep-aaa.pcap", "ipip-heplify.pcap", "hep3-homer.pcap"])
def test_export_of_a_replayed_capture_replays_the_same(sipcap: RunSipcap, tmp_path: Path, name: str) -> None:
    """The way pcap → NDJSON → pcap → NDJSON ends where it began."""
    if not CORPUS.exists():
        pytest.skip("the corpus is not here")
    first = sipcap("replay", "-q", str(CORPUS / name)).stdout
    assert first
    assert sipcap("export", "-q", "--keep-hep", "--to", "again.pcap", stdin=first).returncode == 0
    assert sipcap("replay", "-q", "again.pcap").stdout == first


@pytest.mark.parametrize(
    ("args", "magic"),
    [
        ((), b"\xd4\xc3\xb2\xa1"),
        (("--as", "pcapng"), b"\x0a\x0d\x0d\x0a"),
        (("--as", "hep"), b"HEP3"),
        (("--as", "text"), b"2023-11-14 "),
    ],
)
def test_export_to_a_pipe_is_of_the_wanted_form(sipcap: RunSipcap, args: tuple[str, ...], magic: bytes) -> None:
    """On stdout is the file, on stderr the summary."""
    done = sipcap("export", *args, stdin=LINES)
    assert (done.returncode, done.stderr) == (0, b"sipcap: received 10, stored 10\n")
    assert done.stdout.startswith(magic)


@pytest.mark.parametrize(
    ("name", "magic"),
    [("x.pcap", b"\xd4\xc3\xb2\xa1"), ("x.pcapng", b"\x0a\x0d\x0d\x0a"), ("x.hep", b"HEP3"), ("x.txt", b"2023")],
)
def test_export_takes_the_form_from_the_name_of_the_file(
    sipcap: RunSipcap, tmp_path: Path, name: str, magic: bytes
) -> None:
    """The file is new, and readable by its owner alone."""
    (tmp_path / "in.ndjson").write_bytes(LINES)
    assert sipcap("export", "in.ndjson", "--to", name).returncode == 0
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_export_of_nothing_is_an_empty_capture(sipcap: RunSipcap) -> None:
    """A header and no packets: every reader takes it."""
    done = sipcap("export")
    assert done.returncode == 0
    assert len(done.stdout) == 24


def test_export_names_bad_lines_and_records_that_do_not_fit(sipcap: RunSipcap) -> None:
    """Exit code 1; the others are there."""
    bad = record_of(1)
    bad.source_port = 70_000
    done = sipcap("export", stdin=LINES + b"nonsense\n" + encode_records([bad]))
    assert done.returncode == 1
    assert b"stdin:11: not JSON" in done.stderr
    assert b"received 12, stored 10, rejected 2 (bad_line 1, field 1)" in done.stderr


def test_export_of_a_newer_record_writes_what_stands_before_it(sipcap: RunSipcap) -> None:
    """Exit code 4."""
    done = sipcap("export", "--as", "text", stdin=LINES + b'{"v":2,"micro_ts":1,"msg":""}\n')
    assert done.returncode == 4
    assert done.stdout.count(b"homer01") == 10


def test_export_takes_a_handmade_line(sipcap: RunSipcap) -> None:
    """Nothing but a time and a message: the addresses are 0.0.0.0."""
    done = sipcap("export", "--as", "text", stdin=b'{"micro_ts":1,"msg":"OPTIONS sip:a SIP/2.0\\r\\n\\r\\n"}\n')
    assert done.stdout == b"1970-01-01 00:00:00.000001 IP :0 -> :0 \nOPTIONS sip:a SIP/2.0\n\n"
    assert sipcap("export", stdin=b'{"micro_ts":1,"msg":"OPTIONS sip:a SIP/2.0\\r\\n\\r\\n"}\n').returncode == 0


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--as", "hep", "--keep-hep"), 2),
        (("--as", "gif"), 2),
        (("missing.ndjson",), 2),
        (("--to", "no/such/folder/x.pcap"), 3),
        (("--to", "/dev/full"), 5),
    ],
)
def test_export_that_cannot_be_done_has_its_exit_code(sipcap: RunSipcap, args: tuple[str, ...], code: int) -> None:
    """And one line that says why, without a traceback."""
    done = sipcap("export", *args, stdin=LINES)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


def test_export_refuses_to_write_packets_to_a_terminal(tmp_path: Path) -> None:
    """Text may go there."""
    ours, theirs = pty.openpty()
    done = subprocess.run([*SIPCAP, "export"], stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE,
                          env=environment(), cwd=tmp_path, timeout=TIMEOUT_S, check=False)  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2


def test_export_ends_quietly_when_its_reader_goes_away(tmp_path: Path) -> None:
    """As ``| head`` does: exit code 0."""
    with subprocess.Popen([*SIPCAP, "-q", "export", "--as", "text"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment(), cwd=tmp_path, bufsize=0) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(LINES)
        process.stdin.flush()
        assert process.stdout.read(4) == b"2023"
        process.stdout.close()
        try:
            for _ in range(2_000):
                process.stdin.write(LINES)
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr.read() == b""


def test_export_of_a_live_pipe_writes_soon_and_reads_on_after_a_signal(tmp_path: Path) -> None:
    """What comes is out in a moment; a stop waits for the end of the pipe, so that nothing is lost."""
    with subprocess.Popen([*SIPCAP, "export", "--as", "hep"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment(), cwd=tmp_path) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(LINES)
        process.stdin.flush()
        assert process.stdout.read(4) == b"HEP3"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.stdin.write(LINES)
        process.stdin.close()
        process.stdout.read()
        assert process.wait(TIMEOUT_S) == 0
        assert b"received 20, stored 20" in process.stderr.read()
