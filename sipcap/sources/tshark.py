"""Captures through tshark: for TLS with its keys, and for encapsulations that the native reader does not know.

The design names pyshark for this. It was tried (0.6, 2026-11-25) and is not used: at the end of tshark's output it
kills tshark without asking how it ended, so that a capture that is cut short, or a tshark that crashed, looks like one
that is over; it keeps tshark's own words to itself; it needs asyncio's child watchers, which Python 3.14 has no more.
``tshark -T ek -x``, which it reads as well, is read here.
"""

from __future__ import annotations

import logging
import os
import select
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

from sipcap.counters import Counters
from sipcap.errors import BadFilterError, CannotStart, InputError
from sipcap.limits import FLUSH_INTERVAL_S, MAX_TSHARK_LINE_BYTES
from sipcap.sources.capture_bytes import STDIN, is_pipe
from sipcap.sources.passed_over import TcpCounts
from sipcap.sources.replayed import in_turn
from sipcap.sources.tshark_lines import LAYERS
from sipcap.sources.tshark_packets import TsharkPackets
from sipcap.sources.tshark_totals import TOTALS
from sipcap.wire.message import Message

_LOGGER = logging.getLogger("sipcap")
_MESSAGES: Final = (
    "sip || udp.payload[0:4] == 48:45:50:33 || (udp.payload[1:1] >= c8 && udp.payload[1:1] <= cf && !tls && !dtls)"
)
"""What tshark is asked for. It does not know HEP: HEPv3 comes as its datagram and is unwrapped here, and so is what may
be RTCP (RFC 5761 4), which it knows of only where it has seen the SDP."""

_READ_BYTES: Final = 1 << 18
_EMPTY_CAPTURE: Final = bytes.fromhex("d4c3b2a1020004000000000000000000000004000100000000")[:24]
_CHECK_S: Final = 30.0
_END_S: Final = 10.0
_NOISE: Final = "Running as user"


@dataclass(frozen=True)
class TsharkOptions:
    """What is read, and how.

    Args:
        paths: capture files or pipes; ``-`` is stdin.
        ports: SIP is what has one of these ports, over TLS too; None: what tshark takes for SIP.
        loops: how many times to read all paths, in their order.
        keylog: a file with TLS secrets, as SSLKEYLOGFILE makes it.
        display_filter: packets must match it.
        program: what to run.
    """

    paths: Sequence[str]
    ports: range | None = None
    loops: int = 1
    keylog: str | None = None
    display_filter: str | None = None
    program: str = "tshark"


class TsharkSource:
    """A ReplaySource (see ``replayed.py``) over what tshark finds.

    Packets without a message do not come out of tshark, which says at the end how many there were. A message in several
    packets has the time of the last one, with which tshark shows it; to the native reader it is that of the first.
    """

    def __init__(self, options: TsharkOptions) -> None:
        self.stats = Counters()
        self.skipped: Counter[str] = Counter()
        self.tcp = TcpCounts()  # tshark keeps its connections to itself
        self.packet_times: list[int] = []
        self.used_bytes = 0
        self._options = options
        self._path = options.paths[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._packets = TsharkPackets(self.stats, self.skipped, options.ports)

    @property
    def is_live(self) -> bool:
        """Whether a pipe is being read; see ReplaySource."""
        return is_pipe(self._path)

    def open(self) -> None:
        """See whether tshark is there and takes the filter.

        Raises:
            CannotStart: it cannot be run.
            BadFilterError: the display filter is none.
        """
        argv = [*self._argv(STDIN), "-c", "1"]
        try:
            done = subprocess.run(  # noqa: S603  # no shell; the program is ours to choose
                argv, input=_EMPTY_CAPTURE, capture_output=True, timeout=_CHECK_S, check=False
            )
        except FileNotFoundError:
            raise CannotStart(f"{self._options.program} is not installed: apt install tshark") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotStart(f"{self._options.program} cannot be run: {error}") from None
        if done.returncode:
            why = _last_words(done.stderr)
            if self._options.display_filter is not None:
                raise BadFilterError(f"{self._options.display_filter!r} is no display filter: {why}")
            raise CannotStart(f"{self._options.program} cannot be used: {why}")

    def _argv(self, path: str) -> list[str]:
        options = self._options
        wanted = _MESSAGES if options.display_filter is None else f"({options.display_filter}) && ({_MESSAGES})"
        # -l: a line as soon as it is there. Raw bytes (-x) of the layers that are read here only.
        argv = [options.program, "-n", "-l", "-r", path, "-T", "ek", "-x", "-J", LAYERS, "-Y", wanted]
        argv += ["-z", TOTALS if options.display_filter is None else f"{TOTALS},{options.display_filter}"]
        if options.keylog is not None:
            argv += ["-o", f"tls.keylog_file:{options.keylog}"]
        if options.ports is not None:
            ports = f"{options.ports[0]}-{options.ports[-1]}"
            for table in ("udp.port", "tcp.port", "tls.port"):
                # On TCP, TLS is told by its first bytes, before this says what else it could be.
                if table != "tcp.port" or options.keylog is None:
                    argv += ["-d", f"{table}=={ports},sip"]
        return argv

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield the messages of all captures, in their order; see ``in_turn``.

        Raises:
            InputError: at the end; tshark could not read a capture, or did not come to its end.
        """
        paths = list(self._options.paths) * self._options.loops
        yield from in_turn(paths, self._read_capture, lambda: self._stopping)
        if self.skipped["tls"] and not self._packets.has_opened_tls:
            _LOGGER.warning(
                "nothing could be read of TLS: --keylog FILE has its secrets, --ports says where SIP is in it"
            )

    def _read_capture(self, path: str) -> Iterator[list[Message]]:
        self._path = path
        with tempfile.TemporaryFile() as words:
            try:
                yield from self._read_lines(self._start(path, words))
                if not self._stopping:
                    self._check_end(path, words)
            finally:
                self.close()
                self._packets.finish()
        if not self.is_live and path != STDIN:
            self.used_bytes += os.stat(path).st_size  # noqa: PTH116  # a path that may be bytes of any kind

    def _start(self, path: str, words: IO[bytes]) -> int:
        """Run tshark; returns where its lines come from."""
        source = None if path == STDIN else subprocess.DEVNULL
        # A group of its own: Ctrl-C on the terminal is ours to handle (design 1.1).
        self._process = subprocess.Popen(  # noqa: S603
            self._argv(path), stdin=source, stdout=subprocess.PIPE, stderr=words, process_group=0
        )
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def _read_lines(self, lines_fd: int) -> Iterator[list[Message]]:
        """Yield the messages of all lines, [] as a tick."""
        pieces: list[bytes] = []
        size = 0
        poller = select.poll()
        poller.register(lines_fd, select.POLLIN)
        while not self._stopping:
            if not poller.poll(FLUSH_INTERVAL_S * 1_000):
                yield self._hand_on([])
                continue
            piece = os.read(lines_fd, _READ_BYTES)
            if not piece:
                break
            whole, line_end, rest = piece.rpartition(b"\n")
            if line_end:
                lines = b"".join((*pieces, whole)).split(b"\n")
                pieces, size = [rest], len(rest)
                yield self._hand_on(lines)
            else:
                pieces.append(piece)
                size += len(piece)
                if size > MAX_TSHARK_LINE_BYTES:
                    raise InputError(f"{self._path}: tshark wrote a line of more than {MAX_TSHARK_LINE_BYTES} bytes")

    def _hand_on(self, lines: Sequence[bytes]) -> list[Message]:
        messages, self.packet_times = self._packets.read(lines)
        return messages

    def _check_end(self, path: str, words: IO[bytes]) -> None:
        """See how tshark ended; raises InputError."""
        assert self._process is not None
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            raise InputError(f"{path}: tshark does not end") from None
        if not code:
            return
        words.seek(0)
        how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
        raise InputError(f"{'stdin' if path == STDIN else path}: tshark: {_last_words(words.read()) or how}")

    def stop(self) -> None:
        """Take in nothing new."""
        self._stopping = True

    def close(self) -> None:
        """End tshark if it runs; may be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.kill()  # it only reads
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


def _last_words(stderr: bytes) -> str:
    """What tshark says is wrong, in one line."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    said = [line.removeprefix("tshark: ") for line in lines if line and not line.startswith(_NOISE)]
    return said[0] if said else ""
