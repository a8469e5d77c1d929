"""Packets of a pipe, each soon after it was written.

libpcap blocks until the next packet comes, and the packets before it must not wait for that: so it reads in a
thread. cypcap holds the interpreter while libpcap opens a capture: so a second thread hands it the pipe's
bytes, beginning with a whole header.
"""

from __future__ import annotations

import os
import select
import stat
import struct
import threading
from pathlib import Path
from typing import Final

from sipcap.errors import CannotStart, InputError
from sipcap.limits import FLUSH_INTERVAL_S
from sipcap.sources.packet_decoder import Packet
from sipcap.sources.pcap_reader import BATCH_PACKETS, STDIN, FileReader, PacketReader

PIPE_PACKETS: Final = 2_048
"""Packets that wait to be decoded; more stay in the pipe, and its writer waits."""

GATHER_S: Final = 0.02
"""How long the first packet waits for company: a fifth of what design 1.5 allows."""

_CHUNK_BYTES: Final = 1 << 16
_PCAP_HEADER_BYTES: Final = 24
_PCAPNG_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
_MAX_BLOCK_BYTES: Final = 1 << 20
"""A longer first block of pcapng is none, and libpcap may say so."""


def open_reader(path: str, bpf: str | None) -> PacketReader:
    """Choose the reader for a file or a pipe and open it; ``-`` is stdin."""
    reader: PacketReader = PipeReader(path, bpf) if is_pipe(path) else FileReader(path, bpf)
    try:
        reader.open()
    except (InputError, CannotStart):
        reader.close()
        raise
    return reader


def is_pipe(path: str) -> bool:
    """Tell whether reading may have to wait for a writer: a pipe, a socket, a terminal."""
    try:
        mode = (os.fstat(0) if path == STDIN else Path(path).stat()).st_mode
    except OSError:
        return False  # opening it will say why
    return not stat.S_ISREG(mode)


class PipeReader:
    """Reads a pipe; packets wait ``GATHER_S`` at most. ``-`` is stdin."""

    def __init__(self, path: str, bpf: str | None) -> None:
        self._path = path
        self._name = "stdin" if path == STDIN else path
        self._filter = bpf
        self._file: FileReader | None = None
        self._packets: list[Packet] = []
        self._changed = threading.Condition()
        self._ended = False
        self._failure: InputError | CannotStart | None = None
        self._read_failure: InputError | None = None

    @property
    def filtered(self) -> int:
        """Packets that did not pass the filter; see PacketReader."""
        return 0 if self._file is None else self._file.filtered

    def open(self) -> None:
        """Start the thread; it waits for the writer and for the capture's header, too."""
        threading.Thread(target=self._run, name="pcap", daemon=True).start()

    def _run(self) -> None:
        failure: InputError | CannotStart | None = None
        file: FileReader | None = None
        try:
            file = self._open_file()
            for packet in file.packets():
                if packet is not None:
                    self._put(packet)
            failure = self._read_failure or file.failure
        except (InputError, CannotStart) as error:
            failure = error
        if file is not None:
            file.close()
        with self._changed:
            self._failure = failure
            self._ended = True
            self._changed.notify_all()

    def _open_file(self) -> FileReader:
        try:
            source = 0 if self._path == STDIN else os.open(self._path, os.O_RDONLY)
            head = _read_header(source)
        except OSError as error:
            raise InputError(f"{self._name}: {error.strerror}") from None
        pcap_end, our_end = os.pipe()
        threading.Thread(target=self._relay, args=(source, our_end, head), name="relay", daemon=True).start()
        file = FileReader(f"/dev/fd/{pcap_end}", self._filter, self._name)
        try:
            file.open()
        except (InputError, CannotStart):
            file.close()
            raise
        finally:
            os.close(pcap_end)
        self._file = file
        return file

    def _relay(self, source: int, sink: int, head: bytes) -> None:
        """Copy ``head`` and then all of ``source`` to ``sink``, and close both (but not stdin)."""
        data = head
        while data:
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(sink, view) :]
            except BrokenPipeError:
                break  # libpcap has closed its end, and said why
            try:
                data = _read(source)
            except OSError as error:
                self._read_failure = InputError(f"{self._name}: {error.strerror}")
                break
        os.close(sink)
        if source:
            os.close(source)

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


def _read(source: int) -> bytes:
    """Read what is there; waits if there is nothing, also where somebody made the pipe non-blocking."""
    while True:
        try:
            return os.read(source, _CHUNK_BYTES)
        except BlockingIOError:
            select.select([source], [], [])


def _read_header(source: int) -> bytes:
    """The first bytes of a capture: at least what libpcap reads to open it, unless the pipe ends before."""
    head = b""
    while not _is_whole_header(head) and (data := _read(source)):
        head += data
    return head


def _is_whole_header(head: bytes) -> bool:
    """Whether the file header is there; of pcapng, the first two blocks: section and interface."""
    if len(head) < _PCAP_HEADER_BYTES or not head.startswith(_PCAPNG_MAGIC):
        return len(head) >= _PCAP_HEADER_BYTES
    lengths = struct.Struct("<I" if head[8:12] == b"\x4d\x3c\x2b\x1a" else ">I")
    end = 0
    for _ in range(2):
        if len(head) < end + 8:
            return False
        end += lengths.unpack_from(head, end + 4)[0]
        if end > _MAX_BLOCK_BYTES:
            return True
    return len(head) >= end
