# cython: language_level=3
"""A growing buffer that JSON is written into, as msgspec writes it."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from sipcap.compiled.text cimport Text


cdef struct Buffer:
    unsigned char *data
    Py_ssize_t size
    Py_ssize_t room


cdef inline int reserve(Buffer *buffer, Py_ssize_t size) except -1:
    """Make room for so many more bytes."""
    cdef Py_ssize_t wanted = buffer.size + size
    cdef unsigned char *data
    if wanted > buffer.room:
        wanted += wanted // 2
        data = <unsigned char *> realloc(buffer.data, wanted)
        if data == NULL:
            raise MemoryError
        buffer.data = data
        buffer.room = wanted
    return 0


cdef inline void release(Buffer *buffer) noexcept:
    free(buffer.data)
    buffer.data = NULL
    buffer.size = buffer.room = 0


cdef inline int put(Buffer *buffer, Text text) except -1:
    """Write bytes as they are."""
    if text.size:
        reserve(buffer, text.size)
        memcpy(buffer.data + buffer.size, text.data, text.size)
        buffer.size += text.size
    return 0


cdef inline int put_number(Buffer *buffer, long long number) except -1:
    """Write an integer."""
    cdef unsigned char digits[20]
    cdef int count = 0
    cdef unsigned long long left = <unsigned long long> number if number >= 0 else 0 - <unsigned long long> number
    reserve(buffer, 21)
    if number < 0:
        buffer.data[buffer.size] = 45
        buffer.size += 1
    while True:
        digits[count] = 48 + left % 10
        count += 1
        left //= 10
        if not left:
            break
    while count:
        count -= 1
        buffer.data[buffer.size] = digits[count]
        buffer.size += 1
    return 0


cdef inline int put_text(Buffer *buffer, Text text, Py_ssize_t begin, Py_ssize_t end) except -1:
    """Write ``text[begin:end]``, UTF-8, as the inside of a JSON string."""
    cdef Py_ssize_t at = max(begin, 0)
    cdef unsigned char *out
    cdef uint64_t word
    end = min(end, text.size)
    if at >= end:
        return 0
    reserve(buffer, 6 * (end - at))  # the most that becomes of a byte
    out = buffer.data + buffer.size
    while at < end:
        while end - at >= 8:  # eight bytes at a time, as long as they stand for themselves
            memcpy(&word, text.data + at, 8)
            if _has_odd_byte(word):
                break
            memcpy(out, &word, 8)
            out += 8
            at += 8
        while at < end and _is_plain_byte(text.data[at]):
            out[0] = text.data[at]
            out += 1
            at += 1
        while at < end and not _is_plain_byte(text.data[at]):
            out += _escape(out, text.data[at])
            at += 1
    buffer.size = out - buffer.data
    return 0


cdef inline bint _is_plain_byte(unsigned char byte) noexcept nogil:
    return byte >= 32 and byte != 34 and byte != 92


cdef inline bint _has_odd_byte(uint64_t word) noexcept nogil:
    """Whether one of eight bytes is below 32, a quote or a backslash."""
    cdef uint64_t ones = 0x0101010101010101, high = 0x8080808080808080
    cdef uint64_t quotes = word ^ ones * 34, slashes = word ^ ones * 92
    return ((word - ones * 32 & ~word) | (quotes - ones & ~quotes) | (slashes - ones & ~slashes)) & high != 0


cdef inline int _escape(unsigned char *out, unsigned char byte) noexcept:
    """Write the escape of a byte, 6 bytes at most; returns how many."""
    cdef const char *hexadecimal = "0123456789abcdef"
    out[0] = 92
    if byte == 34 or byte == 92:
        out[1] = byte
    elif byte == 10:
        out[1] = 110  # n
    elif byte == 13:
        out[1] = 114  # r
    elif byte == 9:
        out[1] = 116  # t
    elif byte == 8:
        out[1] = 98  # b
    elif byte == 12:
        out[1] = 102  # f
    else:
        out[1], out[2], out[3] = 117, 48, 48  # u00
        out[4] = hexadecimal[byte >> 4]
        out[5] = hexadecimal[byte & 15]
        return 6
    return 2
