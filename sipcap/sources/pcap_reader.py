"""Packets of one capture file or pipe, read through libpcap.

A file is read where it stands. A pipe is read in a thread of its own: libpcap blocks until the next packet
comes, and the packets before it must not wait for that.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import cypcap  # type: ignore[import-untyped]  # it ships no types

from sipcap.errors import CannotStart, InputError
from sipcap.limits import FLUSH_INTERVAL_S
from sipcap.wire.link import LINK_TYPES, LinkType

STDIN: Final = "-"

BATCH_PACKETS: Final = 256
"""Packets handed on together: a millisecond of decoding, which is how late it makes a message that is due."""

PIPE_PACKETS: Final = 2_048
"""Packets of a pipe that wait to be decoded; more stay in the pipe, and its writer waits."""

GATHER_S: Final = 0.02
"""How long the first packet of a pipe waits for company: a fifth of what design 1.5 allows."""

_LINK_NAMES: Final = {
    9: "PPP", 50: "PPP", 51: "PPPoE", 105: "IEEE 802.11", 119: "Prism", 127: "radiotap (IEEE 802.11)",
    147: "USER0", 187: "Bluetooth HCI", 189: "USB", 195: "IEEE 802.15.4", 220: "USB", 249: "USB",
}  # fmt: skip
"""Link types that people meet and that hold no plain IP, by name."""

Packet = tuple[cypcap.Pkthdr, bytes]


class BadFilterError(CannotStart):
    """The capture filter cannot be compiled for this capture."""


class PacketReader(Protocol):
    """Gives the packets of one capture."""

    @property
    def link(self) -> LinkType:
        """Known as soon as ``read`` has returned a packet."""

    @property
    def bpf(self) -> cypcap.BpfProgram | None:
        """The compiled filter, None without one."""

    def open(self) -> None:
        """Open the capture; raises InputError or BadFilterError, now or at the first ``read``."""

    def read(self) -> list[Packet] | None:
        """The next packets, [] if none came in a tenth of a second, None at the end.

        Raises:
            InputError: the capture is cut short or broken; what was whole has been returned before.
        """

    def close(self) -> None:
        """Give everything back; may be called twice."""


def open_reader(path: str, bpf: str | None) -> PacketReader:
    """Choose the reader for a file or a pipe and open it; ``-`` is stdin."""
    reader: PacketReader = PipeReader(path, bpf) if is_pipe(path) else FileReader(path, bpf)
    reader.open()
    return reader


def is_pipe(path: str) -> bool:
    """Tell whether reading may have to wait for a writer: a pipe, a socket, a terminal."""
    try:
        mode = Path("/dev/stdin" if path == STDIN else path).stat().st_mode
    except OSError:
        return False  # opening it will say why
    return not stat.S_ISREG(mode)


class FileReader:
    """Reads a capture file; ``-`` is stdin."""

    def __init__(self, path: str, bpf: str | None) -> None:
        self._path = path
        self._name = "stdin" if path == STDIN else path
        self._filter = bpf
        self._capture: cypcap.Pcap | None = None
        self._count = 0
        self.failure: InputError | None = None
        """Why the capture broke off."""
        self.link: LinkType = LINK_TYPES[1]
        self.bpf: cypcap.BpfProgram | None = None

    def open(self) -> None:
        """Open the file, look at its link type, compile the filter; see PacketReader."""
        try:
            capture = cypcap.open_offline(self._path)
        except cypcap.Error as error:
            text = _text(error)
            what = "empty" if text.endswith("only got 0") else f"no capture that can be read: {text}"
            raise InputError(f"{self._name}: {what}") from None
        self._capture = capture
        number = int(capture.datalink())
        if number not in LINK_TYPES:
            name = _LINK_NAMES.get(number, "of unknown name")
            raise InputError(f"{self._name}: link type {number} ({name}) is not supported: no IP is found in it")
        self.link = LINK_TYPES[number]
        if self._filter is not None:
            # Not given to libpcap to apply: it would search a file without a match to its end, deaf to signals.
            try:
                self.bpf = capture.compile(self._filter)
            except cypcap.Error as error:
                raise BadFilterError(f"{self._filter!r} is no filter for {self.link.name}: {_text(error)}") from None

    def read(self) -> list[Packet] | None:
        """Read up to ``BATCH_PACKETS``; see PacketReader."""
        packets = list(islice(self.packets(), BATCH_PACKETS))
        if not packets and self.failure is not None:
            raise self.failure
        return packets or None

    def packets(self) -> Iterator[Packet]:
        """The packets to the end, or to where the capture breaks off: then ``failure`` says why."""
        capture = self._capture
        if capture is None or self.failure is not None:
            return
        try:
            for packet in capture:
                self._count += 1
                yield packet
        except cypcap.Error as error:
            text = _text(error)
            what = "cut short" if text.startswith("truncated") else "cannot be read further"
            self.failure = InputError(f"{self._name}: {what} after {self._count} packets: {text}")

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.close()
            self._capture = None


class PipeReader:
    """Reads a pipe in a thread; packets wait ``GATHER_S`` at most."""

    def __init__(self, path: str, bpf: str | None) -> None:
        self._file = FileReader(path, bpf)
        self._packets: list[Packet] = []
        self._changed = threading.Condition()
        self._ended = False
        self._failure: InputError | CannotStart | None = None

    @property
    def link(self) -> LinkType:
        """The link type; see PacketReader."""
        return self._file.link

    @property
    def bpf(self) -> cypcap.BpfProgram | None:
        """The compiled filter; see PacketReader."""
        return self._file.bpf

    def open(self) -> None:
        """Start the thread, which waits for the capture's header too."""
        threading.Thread(target=self._run, name="pcap", daemon=True).start()

    def _run(self) -> None:
        file = self._file
        try:
            file.open()
            for packet in file.packets():
                self._put(packet)
            self._failure = file.failure
        except (InputError, CannotStart) as error:
            self._failure = error
        with self._changed:
            file.close()
            self._ended = True
            self._changed.notify_all()

    def _put(self, packet: Packet) -> None:
        with self._changed:
            self._packets.append(packet)
            if len(self._packets) in (1, BATCH_PACKETS):
                self._changed.notify_all()
            while len(self._packets) >= PIPE_PACKETS:
                self._changed.wait()

    def read(self) -> list[Packet] | None:
        """Take what has come; see PacketReader."""
        with self._changed:
            self._changed.wait_for(lambda: self._packets or self._ended, FLUSH_INTERVAL_S)
            if self._packets:
                self._changed.wait_for(lambda: len(self._packets) >= BATCH_PACKETS or self._ended, GATHER_S)
            packets, self._packets = self._packets, []
            self._changed.notify_all()
            if packets or not self._ended:
                return packets
            if self._failure is not None:
                raise self._failure
            return None

    def close(self) -> None:
        """Nothing: the thread closes what it reads, or ends with the process while it waits for a packet."""


def _text(error: cypcap.Error) -> str:
    return str(error.args[-1])
