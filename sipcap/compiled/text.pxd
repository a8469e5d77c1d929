# cython: language_level=3
"""Bytes that are looked at through bounds: here alone a pointer into received bytes is followed, and in json_text.pxd.

A Text is what somebody else keeps alive. Every function takes positions and stays within the text, whatever they are.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_New
from libc.string cimport memchr, memcmp, memcpy

cdef struct Text:
    const unsigned char *data
    Py_ssize_t size


cdef inline Text text_of(bytes data) noexcept:
    cdef Text text
    text.data = <const unsigned char *> data
    text.size = len(data)
    return text


cdef inline Text text_of_memory(const unsigned char[::1] memory) noexcept:
    cdef Text text
    text.size = memory.shape[0]
    text.data = &memory[0] if text.size else NULL
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


cdef inline bint equals(Text text, Py_ssize_t begin, Py_ssize_t end, Text other) noexcept nogil:
    """Whether ``text[begin:end]`` is ``other``."""
    if begin < 0 or end > text.size or end - begin != other.size:
        return False
    if other.size and text.data[begin] != other.data[0]:  # most differ here, and a call costs more
        return False
    return memcmp(text.data + begin, other.data, other.size) == 0


cdef inline Py_ssize_t find_text(Text text, Text wanted, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Where a few bytes, two at least, stand first in ``text[begin:end]``; -1 if they do not.

    It goes by the second byte, which is the rarest of what is looked for here; memmem takes three times as long.
    """
    cdef int second = byte_at(wanted, 1)
    begin = max(begin, 0)
    end = min(end, text.size) - wanted.size + 2  # behind the last place of the second byte
    if second < 0:
        return -1
    begin = find(text, <unsigned char> second, begin + 1, end)
    while begin > 0:
        if equals(text, begin - 1, begin - 1 + wanted.size, wanted):
            return begin - 1
        begin = find(text, <unsigned char> second, begin + 1, end)
    return -1


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


cdef inline bytes copy_behind(bytes head, Text text, Py_ssize_t begin, Py_ssize_t end):
    """``head + text[begin:end]``, as far as it is there; one copy instead of two."""
    cdef Text found = part(text, begin, end)
    cdef bytes both = PyBytes_FromStringAndSize(NULL, len(head) + found.size)
    memcpy(PyBytes_AS_STRING(both), PyBytes_AS_STRING(head), len(head))
    memcpy(PyBytes_AS_STRING(both) + len(head), found.data, found.size)
    return both


cdef inline str ascii_of(Text text, Py_ssize_t begin, Py_ssize_t end):
    """``text[begin:end]``, which must be ASCII, as a string, as far as it is there."""
    cdef Text found = part(text, begin, end)
    cdef str string
    if not found.size:
        return ""
    string = PyUnicode_New(found.size, 127)
    memcpy(PyUnicode_1BYTE_DATA(string), found.data, found.size)
    return string


cdef inline bint is_plain(Text text) noexcept nogil:
    """Whether a text is ASCII, has no NUL, and does not begin with a blank or a line break."""
    cdef unsigned char bits = 0
    cdef Py_ssize_t at
    if byte_at(text, 0) in (-1, 13, 10, 9, 32):
        return False
    for at in range(text.size):
        bits |= text.data[at]
    return bits < 128 and find(text, 0, 0, text.size) < 0
