# cython: language_level=3
from libc.stdint cimport uint32_t

from sipcap.compiled.text cimport Text

cdef enum:
    ADDRESSES = 4096  # that are kept; a power of 2


cdef class Addresses:
    cdef object _ip_text
    cdef list _texts
    cdef uint32_t[ADDRESSES] _numbers

    cdef object text_at(self, Text text, Py_ssize_t at)
