# cython: language_level=3
"""The forms of addresses that nearly all traffic has: those that the regular expressions of wire/sip_uri.py take at once.

Each function says whether it could read the text; if not, the functions there do.
"""

from libc.stdint cimport uint64_t

from sipcap.compiled.text cimport Text, byte_at, find


cdef struct Span:
    Py_ssize_t begin
    Py_ssize_t end


cdef struct Address:
    Span user
    Span host
    Span port
    Span tag


cdef inline Py_ssize_t _word_end(Text text, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """The end of what holds none of ``@ : ; ? < > , [ ]`` and no blank."""
    while at < end and not _is_one_of(byte_at(text, at), 0xDC00100100002600, 0x28000001):
        at += 1
    return at


cdef inline bint _is_one_of(int byte, uint64_t low, uint64_t high) noexcept nogil:
    """Whether an ASCII character is in a set: bits of the characters 0 to 63, and of 64 to 127."""
    if byte < 0 or byte > 127:
        return False
    return (low if byte < 64 else high) >> (byte & 63) & 1


cdef inline Py_ssize_t user_host(Text text, Py_ssize_t at, Py_ssize_t end, Address *address) noexcept nogil:
    """Read ``sip:user@host:port;parameters``; returns where it ends, -1 if that is not what stands there."""
    cdef Py_ssize_t word
    if byte_at(text, at) != 115 or byte_at(text, at + 1) != 105 or byte_at(text, at + 2) != 112:  # sip
        return -1
    at += 4 if byte_at(text, at + 3) == 115 else 3  # sips
    if at >= end or byte_at(text, at) != 58:
        return -1
    at += 1
    word = _word_end(text, at, end)
    if word < end and byte_at(text, word) == 64:  # @
        if word == at:
            return -1
        address.user.begin, address.user.end = at, word
        at = word + 1
        word = _word_end(text, at, end)
    else:
        address.user.begin = address.user.end = at
    if word == at:
        return -1
    address.host.begin, address.host.end = at, word
    at = word
    address.port.begin = address.port.end = at
    if at < end and byte_at(text, at) == 58:
        at += 1
        address.port.begin = at
        while at < end and 48 <= byte_at(text, at) <= 57:
            at += 1
        address.port.end = at
        if address.port.begin == at:
            return -1
    if at < end and byte_at(text, at) == 59:
        while at < end and byte_at(text, at) not in (60, 62, 64, 63, 44):  # < > @ ? ,
            at += 1
    return at


cdef inline Py_ssize_t bracketed(Text text, Py_ssize_t at, Py_ssize_t end, Address *address) noexcept nogil:
    """Read ``"Name" <sip:user@host>``; returns where it ends, -1 if that is not what stands there."""
    if byte_at(text, at) == 34 and at < end:
        at = find(text, 34, at + 1, end)
        if at < 0 or byte_at(text, at - 1) == 92:  # an escaped quote
            return -1
        at += 1
        while at < end and byte_at(text, at) in (32, 9):
            at += 1
    else:
        while at < end and byte_at(text, at) not in (34, 60, 58):  # " < :
            at += 1
    if at >= end or byte_at(text, at) != 60:
        return -1
    at = user_host(text, at + 1, end, address)
    if at < 0 or at >= end or byte_at(text, at) != 62:
        return -1
    return at + 1


cdef inline bint tagged(Text text, Span value, Address *address) noexcept nogil:
    """Read a From or To whose one parameter, or the first of them, is the tag."""
    cdef Py_ssize_t at = bracketed(text, value.begin, value.end, address), end = value.end
    if at < 0:
        return False
    address.tag.begin = address.tag.end = at
    if at == end:
        return True
    # ;tag=
    if (end - at < 5 or byte_at(text, at) != 59 or byte_at(text, at + 1) != 116 or byte_at(text, at + 2) != 97
            or byte_at(text, at + 3) != 103 or byte_at(text, at + 4) != 61):
        return False
    at += 5
    address.tag.begin = at
    while at < end and byte_at(text, at) not in (59, 44, 34, 32, 9, 13, 10):
        at += 1
    address.tag.end = at
    return at == end or byte_at(text, at) == 59


cdef inline int port_number(Text text, Span port) noexcept nogil:
    """A port of digits; 0 if it is none."""
    cdef Py_ssize_t at = port.begin
    cdef int number = 0
    while at < port.end and byte_at(text, at) == 48:
        at += 1
    if port.end - at > 5:
        return 0
    while at < port.end:
        number = number * 10 + byte_at(text, at) - 48
        at += 1
    return number if number < 65_536 else 0
