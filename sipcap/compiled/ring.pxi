"""Twins of the loops in sources/packet_ring.py: packets of one block of a TPACKET_V3 ring.

The ring is looked at through text.pxd alone, which keeps within it, whatever the kernel should say.
"""

from sipcap.compiled.text cimport Text, copy_behind, copy_of, equals, number_at, text_of, text_of_memory

cdef enum:
    VLAN_VALID = 0x10
    VLAN_TYPE_VALID = 0x40
    VLAN = 0x8100
    RING_HEADER_BYTES = 38  # of tpacket3_hdr, as far as it is read
    SENDER = 48  # where sockaddr_ll stands
    SENDER_BYTES = 20


def framed(const unsigned char[::1] memory, Py_ssize_t begin, link, bint little):
    """Twin of ``packet_ring.framed``; None if the block is none."""
    cdef Text text = text_of_memory(memory)
    cdef long long at, offset, kept
    cdef unsigned int status
    cdef list packets = []
    cdef long long left = number_at(text, begin + 12, 4, little)
    at = begin + <long long> number_at(text, begin + 16, 4, little)
    while left > 0:
        kept = number_at(text, at + 12, 4, little)
        offset = at + <long long> number_at(text, at + 24, 2, little)
        if at < 0 or at + RING_HEADER_BYTES > text.size or offset + kept > text.size:
            return None
        status = number_at(text, at + 20, 4, little)
        if status & VLAN_VALID:
            data = copy_of(text, offset, min(offset + 12, offset + kept)) + _tag(text, at, status, little)
            data += copy_of(text, offset + 12, offset + kept)
        else:
            data = copy_of(text, offset, offset + kept)
        packets.append((_time_us(text, at, little), data, link))
        at += <long long> number_at(text, at, 4, little)
        left -= 1
    return packets


def cooked(const unsigned char[::1] memory, Py_ssize_t begin, link, bint little, bint with_header):
    """Twin of ``packet_ring.cooked``; None if the block is none, or holds what may begin with a VLAN id."""
    cdef Text text = text_of_memory(memory)
    cdef long long at, offset, kept, sender
    cdef unsigned int status
    cdef list packets = []
    cdef bytes known = b"", head = b""
    cdef long long left = number_at(text, begin + 12, 4, little)
    at = begin + <long long> number_at(text, begin + 16, 4, little)
    while left > 0:
        kept = number_at(text, at + 12, 4, little)
        offset = at + <long long> number_at(text, at + 24, 2, little)
        sender = at + SENDER
        if at < 0 or sender + SENDER_BYTES > text.size or offset + kept > text.size:
            return None
        if with_header:
            status = number_at(text, at + 20, 4, little)
            if kept >= 4 and number_at(text, offset + 2, 2, False) == number_at(text, sender + 2, 2, False):
                return None
            if status & VLAN_VALID:
                head, known = _head(text, at, status, little), b""
            elif not equals(text, sender, sender + SENDER_BYTES, text_of(known)):
                head, known = _head(text, at, status, little), copy_of(text, sender, sender + SENDER_BYTES)
        data = copy_behind(head, text, offset, offset + kept)
        packets.append((_time_us(text, at, little), data, link))
        at += <long long> number_at(text, at, 4, little)
        left -= 1
    return packets


cdef bytes _head(Text text, Py_ssize_t at, unsigned int status, bint little):
    """The header of Linux cooked captures for the packet whose header stands there, with the tag taken off."""
    cdef Py_ssize_t sender = at + SENDER
    cdef bytes protocol = copy_of(text, sender + 2, sender + 4)
    cdef bytes tag = _tag(text, at, status, little) if status & VLAN_VALID else b""
    numbers = (0, number_at(text, sender + 10, 1, little), *_big(number_at(text, sender + 8, 2, little)))
    length = number_at(text, sender + 11, 1, little)
    address = copy_of(text, sender + 12, sender + 20)
    return bytes((*numbers, 0, length)) + address + (tag + protocol if tag else protocol)


cdef inline long long _time_us(Text text, Py_ssize_t at, bint little) noexcept:
    """When the packet came whose header stands there."""
    return (
        <long long> number_at(text, at + 4, 4, little) * 1_000_000
        + <long long> number_at(text, at + 8, 4, little) // 1_000
    )


cdef bytes _tag(Text text, Py_ssize_t at, unsigned int status, bint little):
    """The tag that the kernel took off: type, then priority and id."""
    cdef unsigned int kind = number_at(text, at + 36, 2, little) if status & VLAN_TYPE_VALID else VLAN
    cdef unsigned int number = number_at(text, at + 32, 4, little)
    return bytes((*_big(kind), *_big(number)))


cdef tuple _big(unsigned int number):
    """The two bytes of a 16-bit number, the higher one first."""
    return number >> 8 & 0xFF, number & 0xFF
