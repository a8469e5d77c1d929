"""Packets of one capture, a file or a pipe, pcap or pcapng, plain or packed.

One reader for all of them, without libpcap: that refuses pcapng with interfaces that differ, knows neither gzip nor
zstd, and blocks on pipes; and through cypcap it is no faster (1.3 µs a packet each, 2026-11-25, 650 bytes).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sipcap.compiled import twins
from sipcap.errors import CannotStart, DecodeError, InputError
from sipcap.limits import FLUSH_INTERVAL_S
from sipcap.sources.capture_bytes import CaptureBytes, is_pipe
from sipcap.sources.packet_decoder import Packet
from sipcap.wire.capture_framer import CaptureFramer
from sipcap.wire.capture_frames import Frame

if TYPE_CHECKING:
    from sipcap.sources.pcap_filter import FrameFilter

_LOGGER = logging.getLogger("sipcap")

BATCH_PACKETS: Final = 256
"""Packets handed on together: a millisecond of decoding, which is how late it makes a message that is due."""

_LINK_NAMES: Final = {
    9: "PPP", 50: "PPP", 51: "PPPoE", 105: "IEEE 802.11", 119: "Prism", 127: "radiotap (IEEE 802.11)",
    147: "USER0", 187: "Bluetooth HCI", 189: "USB", 195: "IEEE 802.15.4", 220: "USB", 249: "USB",
}  # fmt: skip
"""Link types that people meet and that hold no plain IP, by name."""

_TROUBLES: Final = {
    "version": "it is of a version that is not known",
    "order": "a section whose byte order is none",
    "length": "a length that cannot be",
    "interface": "a packet of an interface that was not described",
    "options": "options that do not fit their block",
}
"""What the reasons of the framer mean."""


def packets_of(frames: list[Frame]) -> list[Packet]:
    """The packets of those frames in which IP can be found; time 0, which would say "no time", becomes 1."""
    return [(ts_us or 1, data, interface.link) for ts_us, data, _, interface in frames if interface.link is not None]


_module = twins()
_packets: Final[Callable[[list[Frame]], list[Packet]]] = packets_of if _module is None else _module.packets_of


class PacketReader:
    """Gives the packets of one capture that pass its filter.

    ``skipped`` counts the others by reason: ``bpf``, and ``link_type`` for those of interfaces in whose frames no IP
    is found.

    Args:
        path: a file or a pipe; ``-`` is stdin.
        bpf: a filter, compiled for each link type in the capture.
    """

    def __init__(self, path: str, bpf: str | None = None) -> None:
        self.skipped: Counter[str] = Counter()
        self._bytes = CaptureBytes(path)
        self._name = self._bytes.name
        self._is_live = is_pipe(path)
        self._framer = CaptureFramer()
        self._bpf = bpf
        self._filter: FrameFilter | None = None
        self._ahead: list[Frame] = []  # what was read to see the first interface
        self._foreign: set[int] = set()
        self._has_ip = False
        self._count = 0
        self._ended = False

    def open(self) -> None:
        """Open the capture; of a file, look at its first interface, too.

        Raises:
            InputError: it is no capture that can be read, or no IP is found in it.
            BadFilterError: the filter is none for it. Of pipes, ``read`` raises both.
        """
        self._bytes.open()
        if self._bpf is not None:
            from sipcap.sources.pcap_filter import FrameFilter  # noqa: PLC0415  # libpcap is not needed otherwise

            self._filter = FrameFilter(self._bpf)
        while not (self._is_live or self._ended or self._framer.interfaces):
            self._receive()
            self._ahead = self._frames()
        self._look_at_interfaces()
        if self._ended and not self._framer.interfaces:
            self._check_end()

    def _look_at_interfaces(self) -> None:
        """Compile the filter for those that have come up to now, and refuse a file that has one alone, without IP."""
        interfaces = self._framer.interfaces
        if self._filter is not None:
            for interface in interfaces:
                if interface.link is not None:
                    self._filter.compile(interface)
        if self._framer.is_pcap and interfaces and interfaces[0].link is None:
            raise InputError(f"{self._name}: {_foreign_text(interfaces[0].link_type)}")

    def read(self) -> list[Packet] | None:
        """The next packets, [] if none came in a tenth of a second, None at the end.

        Raises:
            InputError: the capture is cut short or broken; what was whole has been returned before.
            BadFilterError: the filter is none for one of the interfaces.
        """
        frames = self._ahead or self._frames()
        self._ahead = []
        if not frames and not self._ended:
            self._receive()
            frames = self._frames()
        if not frames and self._ended:
            self._check_end()
            return None
        if self._is_live:
            self._look_at_interfaces()
        return self._packets_of(frames)

    def _packets_of(self, frames: list[Frame]) -> list[Packet]:
        if self._filter is not None:
            kept = self._filter.passing(frames)
            if len(kept) < len(frames):
                self.skipped["bpf"] += len(frames) - len(kept)
                self._has_ip = True  # as far as we know: the filter is not asked about others
        else:
            kept = frames
        self._count += len(frames)
        packets = _packets(kept)
        self._has_ip = self._has_ip or bool(packets)
        if len(packets) < len(kept):
            self.skipped["link_type"] += len(kept) - len(packets)
            self._tell_of_foreign({interface.link_type for _, _, _, interface in kept if interface.link is None})
        return packets

    def _tell_of_foreign(self, link_types: set[int]) -> None:
        for number in sorted(link_types - self._foreign):
            if not all(interface.link is None for interface in self._framer.interfaces):
                _LOGGER.warning("%s: packets are left out: %s", self._name, _foreign_text(number))
        self._foreign |= link_types

    def _receive(self) -> None:
        """Take in more, if there is more."""
        try:
            data = self._bytes.read(FLUSH_INTERVAL_S)
        except InputError as error:
            raise InputError(f"{error} (after {self._count} packets)") from None
        if data:
            self._framer.receive_data(data)
        elif data is not None:
            self._ended = True

    def _frames(self) -> list[Frame]:
        try:
            return self._framer.frames(BATCH_PACKETS)
        except DecodeError as error:
            if error.reason == "magic":
                text = "no capture that can be read: unknown file format"
            else:
                text = f"cannot be read further after {self._count} packets: {_TROUBLES[error.reason]}"
            raise InputError(f"{self._name}: {text}") from None

    def _check_end(self) -> None:
        """Complain of an end that comes too early, or of a capture without anything that could be used."""
        if self._bytes.is_empty:
            raise InputError(f"{self._name}: empty")
        if self._framer.pending or self._bytes.is_cut:
            raise InputError(f"{self._name}: cut short after {self._count} packets")
        if self._foreign and not self._has_ip:
            raise InputError(f"{self._name}: {_foreign_text(min(self._foreign))}")

    @property
    def used_bytes(self) -> int:
        """How much of the file is behind us."""
        return self._bytes.used_bytes(self._framer.buffered)

    def close(self) -> None:
        """Close the capture; may be called twice."""
        self._bytes.close()


def open_reader(path: str, bpf: str | None) -> PacketReader:
    """Make the reader of a capture and open it; ``-`` is stdin."""
    reader = PacketReader(path, bpf)
    try:
        reader.open()
    except (InputError, CannotStart):
        reader.close()
        raise
    return reader


def _foreign_text(link_type: int) -> str:
    name = _LINK_NAMES.get(link_type, "of unknown name")
    return f"link type {link_type} ({name}) is not supported: no IP is found in it"
