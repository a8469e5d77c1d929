"""Twins of the loops that cut captures into frames: wire/pcap.py, wire/pcapng.py, sources/pcap_reader.py.

Captured bytes are looked at through text.pxd alone, which keeps within them. Lists stay checked: that costs nothing here.
"""

from cpython.long cimport PyLong_AsLongLongAndOverflow

from sipcap.compiled.text cimport Text, copy_of, number_at, text_of

cdef enum:
    PACKET = 6  # enhanced packet block
    PACKET_BYTES = 28  # of its head
    BLOCK_BYTES = 32  # of the head, and the length at the end

cdef long long _SAFE = 1 << 62


def cut_records(
    bytes data not None,
    Py_ssize_t at,
    Py_ssize_t room,
    list frames not None,
    interface,
    bint little,
    Py_ssize_t header_bytes,
    long long units,
    long long bound,
):
    """Twin of ``pcap.cut_records``."""
    cdef Text text = text_of(data)
    cdef Py_ssize_t begin
    cdef long long captured = 0
    if units <= 0 or header_bytes < 16:
        raise ValueError("no form of pcap")
    while room > 0 and 0 <= at <= text.size - header_bytes:
        captured = number_at(text, at + 8, 4, little)
        begin = at + header_bytes
        if captured > bound or captured > text.size - begin:
            break
        frames.append(
            (
                <long long> number_at(text, at, 4, little) * 1_000_000
                + <long long> number_at(text, at + 4, 4, little) // units,
                copy_of(text, begin, begin + captured),
                number_at(text, at + 12, 4, little),
                interface,
            )
        )
        at = begin + captured
        captured = 0
        room -= 1
    return at, captured


def cut_blocks(bytes data not None, Py_ssize_t at, Py_ssize_t room, list frames not None, list interfaces not None, bint little):
    """Twin of ``pcapng.cut_blocks``."""
    cdef Text text = text_of(data)
    cdef long long size, captured, behind, number, known = -1, count = len(interfaces)
    cdef unsigned long long time
    cdef long long divisor = 0, offset = 0
    cdef object interface = None
    while room > 0 and 0 <= at <= text.size - PACKET_BYTES:
        size = number_at(text, at + 4, 4, little)
        number = number_at(text, at + 8, 4, little)
        captured = number_at(text, at + 20, 4, little)
        behind = at + size
        if (
            number_at(text, at, 4, little) != PACKET
            or behind > text.size
            or captured + BLOCK_BYTES > size
            or size & 3
            or number >= count
            or <long long> number_at(text, behind - 4, 4, little) != size
        ):
            break
        if number != known:
            interface, known = interfaces[number], number
            divisor = _divisor(interface)
            offset = _small(interface.offset_us)
            if offset == _SAFE:
                divisor = 0
        time = number_at(text, at + 12, 4, little) << 32 | number_at(text, at + 16, 4, little)
        if divisor > 0 and time < <unsigned long long> _SAFE:
            ts_us = <long long> time // divisor + offset
        else:
            ts_us = int(time) * interface.multiplier // interface.divisor + interface.offset_us
        frames.append(
            (
                ts_us,
                copy_of(text, at + PACKET_BYTES, at + PACKET_BYTES + captured),
                number_at(text, at + 24, 4, little),
                interface,
            )
        )
        at = behind
        room -= 1
    return at


cdef long long _small(number) except? -1:
    """A Python number as it is; _SAFE if its size is as much or more."""
    cdef int overflow = 0
    cdef long long found = PyLong_AsLongLongAndOverflow(number, &overflow)
    return _SAFE if overflow or not -_SAFE < found < _SAFE else found


cdef long long _divisor(interface) except -1:
    """Units in a microsecond; 0 if it takes more than that to make microseconds of them."""
    cdef long long divisor = _small(interface.divisor)
    return divisor if interface.multiplier == 1 and 0 < divisor < _SAFE else 0


def packets_of(list frames not None):
    """Twin of ``pcap_reader.packets_of``."""
    cdef list packets = []
    cdef object known = None, link = None
    for frame in frames:
        ts_us, data, _, interface = frame
        if interface is not known:
            known, link = interface, interface.link
        if link is not None:
            packets.append((ts_us or 1, data, link))
    return packets
