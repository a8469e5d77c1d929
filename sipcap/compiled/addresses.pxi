"""IPv4 addresses as text, without making it anew for those that were seen."""

from libc.stdint cimport uint32_t

from sipcap.compiled.text cimport Text, copy_of, number_at


cdef enum:
    ADDRESSES = 4096  # that are kept; a power of 2


cdef class Addresses:
    """Keeps the text of the latest addresses, one for each value of a hash.

    Args:
        ip_text: packed address to text.
    """

    cdef object _ip_text
    cdef list _texts
    cdef uint32_t[ADDRESSES] _numbers

    def __init__(self, ip_text):
        self._ip_text = ip_text
        self._texts = [None] * ADDRESSES

    cdef object text_at(self, Text text, Py_ssize_t at):
        """The address that stands at a position of the text."""
        cdef uint32_t number = <uint32_t> number_at(text, at, 4, False)
        cdef uint32_t place = (number * <uint32_t> 2654435761) >> 20  # 12 bits: ADDRESSES
        found = self._texts[place]
        if found is None or self._numbers[place] != number:
            found = self._ip_text(copy_of(text, at, at + 4))
            self._numbers[place] = number
            self._texts[place] = found
        return found
