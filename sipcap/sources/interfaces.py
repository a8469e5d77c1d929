"""Network interfaces: which there are, how their frames begin, what they lose, and who may look at them."""

from __future__ import annotations

import fcntl
import os
import shlex
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cypcap  # type: ignore[import-untyped]  # it ships no types

from sipcap.errors import BadFilterError, CannotStart
from sipcap.sources.kernel_filter import Program, cooked, or_llc, taking_whole
from sipcap.sources.port_filter import port_expression
from sipcap.wire.link import LINK_TYPES, LinkType

ANY: Final = "any"
"""All interfaces at once."""

AUTO: Final = "auto"
"""Instead of a filter: the one that follows from the ports."""

_ETHERNET, _COOKED = 1, 113
_DEVICES: Final = Path("/sys/class/net")
_LOST: Final = ("rx_missed_errors", "rx_fifo_errors")
"""What libpcap takes as dropped by the interface: the card had no room."""

_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP: Final = 1
_IFREQ: Final = struct.Struct("=16sH14x")


@dataclass(frozen=True)
class Interface:
    """Where packets are captured.

    ``index`` is 0 for all interfaces. ``link_type`` is libpcap's number. Frames of a link without a header of
    ``LINK_TYPES`` come ``cooked``: the kernel gives the IP packet, and what it knows of the frame beside it.
    """

    name: str
    index: int
    link_type: int

    @property
    def link(self) -> LinkType:
        """How its frames begin."""
        return LINK_TYPES[self.link_type]

    @property
    def is_cooked(self) -> bool:
        """Whether the kernel takes off the link header; see ``Interface``."""
        return self.link_type != _ETHERNET

    @property
    def has_header(self) -> bool:
        """Whether a cooked frame gets the header of Linux cooked captures in front, which tells its type and sender."""
        return self.link_type == _COOKED

    @property
    def has_loopback(self) -> bool:
        """Whether what this machine sends to itself may come from here."""
        return self.index == 0 or "loopback" in _kind(self.name)


def _kind(name: str) -> str:
    """772 is the hardware type of loopback (linux/if_arp.h)."""
    try:
        return "loopback" if (_DEVICES / name / "type").read_text().strip() == "772" else ""
    except OSError:
        return "loopback" if name == "lo" else ""


def find_interface(name: str) -> Interface:
    """Look an interface up, and ask libpcap how its frames begin.

    Raises:
        CannotStart: there is none of this name, it is down, we may not look, or no IP is found in its frames.
    """
    index = interface_index(name)
    if index and not is_up(name):
        raise CannotStart(f"interface {name} is down; ip link set {name} up starts it")
    handle = _libpcap(name)
    try:
        number = int(handle.datalink())
    finally:
        handle.close()
    if number not in (_ETHERNET, _COOKED, 12, 101):
        raise CannotStart(f"interface {name}: link type {number} is not supported: no IP is found in it")
    return Interface(name, index, number)


def interface_index(name: str) -> int:
    """The index of an interface, 0 for all of them; raises CannotStart, naming those that there are."""
    if name == ANY:
        return 0
    try:
        return socket.if_nametoindex(name)
    except (OSError, ValueError):
        names = ", ".join([*(each for _, each in socket.if_nameindex()), ANY])
        raise CannotStart(f"there is no interface {name!r}; there are {names}") from None


def _libpcap(name: str) -> cypcap.Pcap:
    handle: cypcap.Pcap | None = None
    try:
        handle = cypcap.create(name)
        handle.activate()
    except cypcap.Error as error:
        if handle is not None:
            handle.close()
        if error.args[0] == cypcap.ErrorCode.PERM_DENIED:
            raise no_permission("packets") from None
        raise CannotStart(f"cannot capture on {name}: {error.args[-1]}") from None
    return handle


def no_permission(what: str) -> CannotStart:
    """What to say to who may not capture: the one command that lets him."""
    program = shlex.quote(os.path.realpath(sys.executable))
    grant = f"sudo setcap cap_net_raw,cap_net_admin+eip {program}"
    return CannotStart(f"no permission to capture {what}; as root, or once for this Python: {grant}")


def compile_filter(interface: Interface, expression: str | None, ports: Sequence[range]) -> Program | None:
    """Let libpcap compile a filter for an interface.

    Args:
        interface: where it will run.
        expression: in libpcap's language; ``AUTO`` is the one that follows from ``ports``; None: there is no filter.
        ports: SIP's, for ``AUTO``.

    Raises:
        BadFilterError: it is none for this interface.
    """
    if expression is None:
        return None
    ethernet = interface.link_type in (_ETHERNET, _COOKED)
    follows_from_ports = expression == AUTO
    if follows_from_ports:
        expression = port_expression(ports, ethernet=ethernet, tags=interface.link_type == _ETHERNET)
    handle = _libpcap(interface.name)
    try:
        # The handle must be live: only then VLAN tags that the kernel has taken off are looked for where it keeps them.
        code = handle.compile(expression, netmask=cypcap.NETMASK_UNKNOWN)
        program = taking_whole(tuple(instruction) for instruction in code)
    except cypcap.Error as error:
        text = f"{expression!r} is no filter for {interface.name} ({interface.link.name}): {error.args[-1]}"
        raise BadFilterError(text) from None
    finally:
        handle.close()
    if interface.has_header:
        program = cooked(program)
    return or_llc(program, is_cooked=interface.is_cooked) if ethernet and follows_from_ports else program


def is_up(name: str) -> bool:
    """Whether an interface is switched on; false, too, if it is gone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, _IFREQ.pack(os.fsencode(name)[:15], 0))
        except OSError:
            return False
    return bool(_IFREQ.unpack(answer)[1] & _IFF_UP)


def lost_by_interfaces(name: str) -> int:
    """Packets that an interface, or all of them, had no room for since it began."""
    folders = _DEVICES.iterdir() if name == ANY else [_DEVICES / name]
    return sum(_number(folder / "statistics" / counter) for folder in folders for counter in _LOST)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0  # an interface that has just gone, or a system without /sys
