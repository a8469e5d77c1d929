# cython: language_level=3
"""Bytes that are looked at through bounds: nothing in this folder follows a pointer by itself.

A Text is what somebody else keeps alive. Every function takes positions and stays within the text, whatever they are.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memchr, memcmp

cdef extern from "string.h" nogil:
    void *memmem(const void *, size_t, const void *, size_t)  # GNU, BSD, musl


cdef struct Text:
    const unsigned char *data
    Py_ssize_t size


cdef inline Text text_of(bytes data) noexcept:
    cdef Text text
    text.data = <const unsigned char *> data
    text.size = len(data)
    return text


cdef inline int byte_at(Text text, Py_ssize_t at) noexcept nogil:
    """The byte at a position; -1 outside of the text."""
    if at < 0 or at >= text.size:
        return -1
    return text.data[at]


cdef inline Py_ssize_t find(Text text, unsigned char wanted, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Where a byte stands first in ``text[begin:end]``; -1 if it does not."""
    cdef const void *found
    begin = max(begin, 0)
    end = min(end, text.size)
    if begin >= end:
        return -1
    found = memchr(text.data + begin, wanted, end - begin)
    return -1 if found == NULL else <const unsigned char *> found - text.data


cdef inline Py_ssize_t find_text(Text text, Text wanted, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Where ``wanted`` stands first in ``text[begin:end]``; -1 if it does not."""
    cdef const void *found
    begin = max(begin, 0)
    end = min(end, text.size)
    if begin >= end:
        return -1
    found = memmem(text.data + begin, end - begin, wanted.data, wanted.size)
    return -1 if found == NULL else <const unsigned char *> found - text.data


cdef inline bint equals(Text text, Py_ssize_t begin, Py_ssize_t end, Text other) noexcept nogil:
    """Whether ``text[begin:end]`` is ``other``."""
    if begin < 0 or end > text.size or end - begin != other.size:
        return False
    return memcmp(text.data + begin, other.data, other.size) == 0


cdef inline unsigned long long number_at(Text text, Py_ssize_t at, int size, bint little) noexcept nogil:
    """The unsigned number of ``size`` bytes (8 at most) at a position; bytes outside of the text count as 0."""
    cdef unsigned long long number = 0
    cdef int index
    for index in range(size):
        number = number << 8 | <unsigned long long> max(byte_at(text, at + (size - 1 - index if little else index)), 0)
    return number


cdef inline Text part(Text text, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """``text[begin:end]`` as a text of its own, as far as it is there."""
    cdef Text found
    begin = min(max(begin, 0), text.size)
    end = min(max(end, begin), text.size)
    found.data = text.data + begin
    found.size = end - begin
    return found


cdef inline bytes copy_of(Text text, Py_ssize_t begin, Py_ssize_t end):
    """``text[begin:end]`` as bytes, as far as it is there."""
    cdef Text found = part(text, begin, end)
    return PyBytes_FromStringAndSize(<const char *> found.data, found.size)
