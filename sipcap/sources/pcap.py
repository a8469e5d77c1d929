"""Capture files and pipes as a source: the SIP, the HEP and the RTCP in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sipcap.counters import Counters
from sipcap.errors import CannotStart, InputError
from sipcap.sources.capture_bytes import is_pipe
from sipcap.sources.packet_decoder import PacketDecoder
from sipcap.sources.passed_over import TcpCounts
from sipcap.sources.pcap_reader import PacketReader, open_reader
from sipcap.sources.replayed import in_turn
from sipcap.wire.message import Message


@dataclass(frozen=True)
class PcapOptions:
    """What is read.

    Args:
        paths: capture files or pipes; ``-`` is stdin.
        ports: SIP is what has one of these ports; None: what looks like SIP.
        bpf: a capture filter that packets must pass.
        loops: how many times to read all paths, in their order.
    """

    paths: Sequence[str]
    ports: range | None = None
    bpf: str | None = None
    loops: int = 1


class PcapSource:
    """A ReplaySource (see ``replayed.py``) over captures, which are read and decoded here."""

    def __init__(self, options: PcapOptions) -> None:
        self.stats = Counters()
        self.skipped: Counter[str] = Counter()
        self._options = options
        self.tcp = TcpCounts()
        self._decoder = PacketDecoder(self.stats, self.skipped, options.ports, self.tcp)
        self._reader: PacketReader | None = None
        self._closed_bytes = 0
        self._stopping = False
        self._path = options.paths[0]
        self._left = 0  # captures that are still to be read in this loop

    @property
    def packet_times(self) -> list[int]:
        """When the packets of the last batch's messages were captured; see PacketDecoder."""
        return self._decoder.packet_times

    @property
    def is_live(self) -> bool:
        """Whether a pipe is being read: then a stop means reading on to its end (design 1.1)."""
        return is_pipe(self._path)

    @property
    def used_bytes(self) -> int:
        """How much of the files is behind us, as they are on the disk; every loop counts."""
        return self._closed_bytes + (0 if self._reader is None else self._reader.used_bytes)

    def open(self) -> None:
        """Open the first capture; the others when their turn comes, and so the first, too, if it cannot be read."""
        try:
            self._reader = open_reader(self._path, self._options.bpf)
        except InputError:
            if len(self._options.paths) == 1:
                raise

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield the messages of all captures, in their order; see Source.

        A capture that cannot be read to its end is said, and keeps no other from being read.

        Raises:
            InputError: at the end; a capture is none, cut short, or of a link type without IP.
        """
        paths = list(self._options.paths) * self._options.loops
        return in_turn(paths, self._read_capture, lambda: self._stopping)

    def _read_capture(self, path: str) -> Iterator[list[Message]]:
        self._path = path
        self._left = (self._left or len(self._options.paths)) - 1
        failure: InputError | CannotStart | None = None
        try:
            try:
                yield from self._read_packets(path)
            except (InputError, CannotStart) as error:
                failure = error
            # What is not whole may go on in the next capture: files are rotated in the middle of messages.
            if (not self._left or self._stopping or failure is not None) and (messages := self._decoder.finish()):
                yield messages
            if failure is not None:
                raise failure
        finally:
            self.close()

    def _read_packets(self, path: str) -> Iterator[list[Message]]:
        reader = self._reader = self._reader or open_reader(path, self._options.bpf)
        is_first = True
        try:
            while not self._stopping and (packets := reader.read()) is not None:
                self._count_skipped(reader.skipped)
                if is_first and packets:
                    is_first = False
                    if packets[0][0] < self._decoder.last_us and (messages := self._decoder.finish()):
                        yield messages  # nothing goes on in a capture from before
                yield self._decoder.decode(packets)
        finally:
            self._count_skipped(reader.skipped)

    def _count_skipped(self, skipped: Counter[str]) -> None:
        """Count the packets that the reader did not hand on."""
        if skipped:
            self.skipped.update(skipped)
            self.stats.packets += skipped.total()
            skipped.clear()

    def stop(self) -> None:
        """Take in nothing new."""
        self._stopping = True

    def close(self) -> None:
        """Close the capture that is open."""
        if self._reader is not None:
            self._closed_bytes += self._reader.used_bytes
            self._reader.close()
            self._reader = None
