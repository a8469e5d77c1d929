"""Packets of one capture file, read through libpcap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol

import cypcap  # type: ignore[import-untyped]  # it ships no types

from sipcap.errors import CannotStart, InputError
from sipcap.sources.packet_decoder import Packet
from sipcap.wire.link import LINK_TYPES, LinkType

STDIN: Final = "-"

BATCH_PACKETS: Final = 256
"""Packets handed on together: a millisecond of decoding, which is how late it makes a message that is due."""

_LINK_NAMES: Final = {
    9: "PPP", 50: "PPP", 51: "PPPoE", 105: "IEEE 802.11", 119: "Prism", 127: "radiotap (IEEE 802.11)",
    147: "USER0", 187: "Bluetooth HCI", 189: "USB", 195: "IEEE 802.15.4", 220: "USB", 249: "USB",
}  # fmt: skip
"""Link types that people meet and that hold no plain IP, by name."""


class BadFilterError(CannotStart):
    """The capture filter cannot be compiled for this capture."""


class PacketReader(Protocol):
    """Gives the packets of one capture that pass its filter."""

    @property
    def filtered(self) -> int:
        """How many packets have not passed the filter so far."""

    def open(self) -> None:
        """Open the capture; raises InputError or BadFilterError, now or at the first ``read``."""

    def read(self) -> list[Packet] | None:
        """The next packets, [] if none came in a tenth of a second, None at the end.

        Raises:
            InputError: the capture is cut short or broken; what was whole has been returned before.
        """

    def close(self) -> None:
        """Give everything back; may be called twice."""


class FileReader:
    """Reads a capture file.

    Args:
        path: what libpcap opens; ``-`` is stdin.
        bpf: a filter to compile.
        name: what to call the file in errors, if not by its path.
    """

    def __init__(self, path: str, bpf: str | None, name: str = "") -> None:
        self._path = path
        self._name = name or ("stdin" if path == STDIN else path)
        self._filter = bpf
        self._capture: cypcap.Pcap | None = None
        self._count = 0
        self.failure: InputError | None = None
        """Why the capture broke off."""
        self.filtered = 0
        """Packets that did not pass the filter; see PacketReader."""
        self._link: LinkType = LINK_TYPES[1]
        self._bpf: cypcap.BpfProgram | None = None

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
        self._link = LINK_TYPES[number]
        if self._filter is not None:
            # Not given to libpcap to apply: it would search a file without a match to its end, deaf to signals.
            try:
                self._bpf = capture.compile(self._filter)
            except cypcap.Error as error:
                raise BadFilterError(f"{self._filter!r} is no filter for {self._link.name}: {_text(error)}") from None

    def read(self) -> list[Packet] | None:
        """Read up to ``BATCH_PACKETS``; see PacketReader."""
        before = self._count
        packets = [packet for packet in islice(self.packets(), BATCH_PACKETS) if packet is not None]
        if self._count == before:
            if self.failure is not None:
                raise self.failure
            return None
        return packets

    def packets(self) -> Iterator[Packet | None]:
        """The packets to the end, or to where the capture breaks off: then ``failure`` says why.

        None stands for one that the filter does not let through.
        """
        capture, bpf, link = self._capture, self._bpf, self._link
        if capture is None or self.failure is not None:
            return
        try:
            for header, data in capture:
                self._count += 1
                if bpf is not None and not bpf.offline_filter(header, data):
                    self.filtered += 1
                    yield None
                else:
                    # Exact: a double has 53 bits, microseconds until 2106 need 52. 0 would say "no time".
                    yield Packet(int(header.ts * 1_000_000 + 0.5) or 1, data, link)
        except cypcap.Error as error:
            text = _text(error)
            what = "cut short" if text.startswith("truncated") else "cannot be read further"
            self.failure = InputError(f"{self._name}: {what} after {self._count} packets: {text}")

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.close()
            self._capture = None


def _text(error: cypcap.Error) -> str:
    return str(error.args[-1])
