"""Filters that the kernel runs before a packet costs anything: classic BPF programs, most of them made by libpcap.

Source: linux/filter.h; the offsets of ancillary data are part of the kernel's interface.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from sipcap.errors import CannotStart

Instruction = tuple[int, int, int, int]
"""Code, jumps if true and if false, constant."""

Program = list[Instruction]

NOTHING: Final[Program] = [(0x06, 0, 0, 0)]
"""ret #0: takes no packet."""

MAX_INSTRUCTIONS: Final = 4_096
"""BPF_MAXINSNS: the kernel refuses longer programs."""

COOKED_HEADER_BYTES: Final = 16

_SO_ATTACH_FILTER: Final = 26
_INSTRUCTION: Final = struct.Struct("=HBBI")

# BPF codes: class in the low three bits, size in the next two, mode above.
_LD_WORD, _LD_HALF, _LD_WORD_INDIRECT, _LDX_HEADER_LENGTH = 0x20, 0x28, 0x40, 0xB1
_LDX_MEMORY, _LDX_CONSTANT, _ST, _ADD_X, _MOD, _JEQ, _JGT, _RET = 0x61, 0x01, 0x02, 0x0C, 0x94, 0x15, 0x25, 0x06
_LD_CLASSES: Final = (0, 1)
_RET_CLASS: Final = 6
_PACKET_MODES: Final = (0x20, 0x40, 0xA0)  # absolute, indirect, length of an IPv4 header

_ANCILLARY: Final = 0xFFFF_F000
"""SKF_AD_OFF: loads from here on read what the kernel knows about a packet."""
_PROTOCOL, _PACKET_TYPE, _HARDWARE_TYPE = _ANCILLARY, _ANCILLARY + 4, _ANCILLARY + 28

_OUTGOING: Final = 4  # PACKET_OUTGOING
_ARPHRD_LOOPBACK: Final = 772
_LLC: Final = 4  # ETH_P_802_2
_MAX_LENGTH: Final = 1_500
_TAKE_ALL: Final = 0x40000


def attach(bound: socket.socket, program: Sequence[Instruction]) -> None:
    """Give a socket its filter, in place of the one that it has.

    Raises:
        CannotStart: the program is longer than the kernel allows.
    """
    if len(program) > MAX_INSTRUCTIONS:
        raise CannotStart(f"the filter is too long for the kernel: {len(program)} instructions of {MAX_INSTRUCTIONS}")
    code = array("B", b"".join(_INSTRUCTION.pack(*instruction) for instruction in program))
    address, _ = code.buffer_info()
    bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), address))


def directed(program: Sequence[Instruction], direction: str, *, has_loopback: bool) -> Program:
    """Put a check of the direction in front of a program.

    What loopback carries is shown twice, on its way out and on its way in. It is taken once: on its way out if only
    that is asked for, else on its way in.

    Args:
        program: what follows.
        direction: ``in``, ``out`` or ``both``, as the interface sees it.
        has_loopback: whether packets may come from a loopback interface.
    """
    if direction == "in":
        return [(_LD_WORD, 0, 0, _PACKET_TYPE), (_JEQ, 0, 1, _OUTGOING), (_RET, 0, 0, 0), *program]
    if direction == "out":
        return [(_LD_WORD, 0, 0, _PACKET_TYPE), (_JEQ, 1, 0, _OUTGOING), (_RET, 0, 0, 0), *program]
    if has_loopback:
        return [
            (_LD_WORD, 0, 0, _PACKET_TYPE), (_JEQ, 0, 3, _OUTGOING),
            (_LD_WORD, 0, 0, _HARDWARE_TYPE), (_JEQ, 0, 1, _ARPHRD_LOOPBACK), (_RET, 0, 0, 0),
            *program,
        ]  # fmt: skip
    return list(program)


def or_llc(program: Sequence[Instruction], *, is_cooked: bool) -> Program:
    """Let frames with LLC (and SNAP, and IP behind it) through as well: they have a length where others have a type.

    libpcap could be told so, but then forgets VLAN tags that the kernel has taken off (1.10.6).
    """
    if is_cooked:
        return [(_LD_WORD, 0, 0, _PROTOCOL), (_JEQ, 0, 1, _LLC), (_RET, 0, 0, _TAKE_ALL), *program]
    return [(_LD_HALF, 0, 0, 12), (_JGT, 1, 0, _MAX_LENGTH), (_RET, 0, 0, _TAKE_ALL), *program]


def everything() -> Program:
    """A program that takes every packet whole."""
    return [(_RET, 0, 0, _TAKE_ALL)]


def cooked(program: Iterable[Instruction]) -> Program:
    """Make a program for Linux cooked frames (SLL) fit a socket that shows packets without a link header.

    Such a socket shows the bytes from the IP header on. Protocol and packet type, which the cooked header has,
    the kernel knows by itself.

    Raises:
        CannotStart: the filter looks at the link-layer address, which the kernel does not show here.
    """
    return [_cooked_load(each) if _loads_packet(each) else each for each in program]


def _loads_packet(instruction: Instruction) -> bool:
    code, _, _, where = instruction
    return code & 7 in _LD_CLASSES and code & 0xE0 in _PACKET_MODES and where < _ANCILLARY


def _cooked_load(instruction: Instruction) -> Instruction:
    code, if_true, if_false, where = instruction
    if where >= COOKED_HEADER_BYTES:
        return code, if_true, if_false, where - COOKED_HEADER_BYTES
    known = {14: _PROTOCOL, 0: _PACKET_TYPE}
    if where not in known:
        raise CannotStart("this filter looks at link-layer addresses: name the interface with --iface")
    return _LD_WORD, if_true, if_false, known[where]


def taking_whole(program: Iterable[Instruction]) -> Program:
    """Let a program take packets whole: libpcap's stop at the length for which they were compiled."""
    return [
        (_RET, 0, 0, _TAKE_ALL) if code & 7 == _RET_CLASS and code == _RET and where else (code, jt, jf, where)
        for code, jt, jf, where in program
    ]


def share_of_flows(index: int, number: int, *, outer_header: bool, inner_version: int) -> Program:
    """Take one of ``number`` shares of IP in IP: all that goes between two inner addresses is in the same one.

    Args:
        index: which share, from 0.
        number: how many there are.
        outer_header: whether an IPv4 header stands in front of the inner packet; IPv6 sockets do not show theirs.
        inner_version: 4 or 6.
    """
    source, destination = (12, 16) if inner_version == 4 else (20, 36)  # of IPv6, the last 4 bytes of each
    return [
        (_LDX_HEADER_LENGTH, 0, 0, 0) if outer_header else (_LDX_CONSTANT, 0, 0, 0),
        (_LD_WORD_INDIRECT, 0, 0, source), (_ST, 0, 0, 0),
        (_LD_WORD_INDIRECT, 0, 0, destination), (_LDX_MEMORY, 0, 0, 0), (_ADD_X, 0, 0, 0),
        (_MOD, 0, 0, number), (_JEQ, 0, 1, index),
        (_RET, 0, 0, _TAKE_ALL), (_RET, 0, 0, 0),
    ]  # fmt: skip
