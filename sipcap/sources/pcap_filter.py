"""Capture filters (pcap-filter(7)), compiled by libpcap for each link type of a capture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import cypcap  # type: ignore[import-untyped]  # it ships no types

from sipcap.errors import BadFilterError
from sipcap.limits import MAX_CAPTURED_BYTES
from sipcap.wire.capture_frames import Frame, Interface

_DLT: Final = {100: 11, 101: 12}
"""Link types of files for which libpcap has another number on Linux: ATM, raw IP."""


class FrameFilter:
    """Tells which frames pass.

    Args:
        expression: as tcpdump takes it.
    """

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._programs: dict[int, cypcap.BpfProgram] = {}

    def compile(self, interface: Interface) -> Any:
        """The program for an interface's frames; raises BadFilterError."""
        link_type = interface.link_type
        program = self._programs.get(link_type)
        if program is not None:
            return program
        try:
            program = cypcap.compile(
                _DLT.get(link_type, link_type),
                MAX_CAPTURED_BYTES,
                self._expression,
                optimize=True,
                netmask=cypcap.NETMASK_UNKNOWN,
            )
        except cypcap.Error as error:
            name = f"link type {link_type}" if interface.link is None else interface.link.name
            raise BadFilterError(f"{self._expression!r} is no filter for {name}: {error.args[-1]}") from None
        self._programs[link_type] = program
        return program

    def passing(self, frames: Sequence[Frame]) -> list[Frame]:
        """The frames that get through, and those in which no IP is found: they are not asked.

        Raises:
            BadFilterError: the filter cannot be compiled for one of their link types.
        """
        kept = []
        for frame in frames:
            _, data, length, interface = frame
            if interface.link is None or self.compile(interface).offline_filter(
                cypcap.Pkthdr(0.0, len(data), length),  # no filter asks for the time
                data,
            ):
                kept.append(frame)
        return kept
