# cython: language_level=3
"""Which slot the value of a header goes to: spellings of names, looked up without making a string of them."""

from sipcap.compiled.text cimport Text, byte_at


cdef enum:
    MAX_NAMES = 127
    MAX_NAME_BYTES = 64
    BUCKETS = 256


cdef struct Names:
    int count
    unsigned char bucket[256]  # place of the first name with this hash + 1; 0 = none
    unsigned char following[127]  # of the next one with the same hash + 1
    int slot[127]
    int size[127]
    unsigned char lower[127][64]


cdef inline int lowered(int byte) noexcept nogil:
    return byte + 32 if 65 <= byte <= 90 else byte


cdef inline int _hash_of(Text text, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    return (<int> (end - begin) * 31 + lowered(byte_at(text, begin)) * 7 + lowered(byte_at(text, end - 1))) & 255


cdef inline bint add_name(Names *names, Text name, int slot) noexcept:
    """Add a name in lower case; False if there is no room for it."""
    cdef int place = names.count, index, key
    if place >= MAX_NAMES or not 0 < name.size <= MAX_NAME_BYTES:
        return False
    names.slot[place] = slot
    names.size[place] = <int> name.size
    for index in range(<int> name.size):
        names.lower[place][index] = <unsigned char> byte_at(name, index)
    key = _hash_of(name, 0, name.size)
    names.following[place] = names.bucket[key]
    names.bucket[key] = place + 1
    names.count += 1
    return True


cdef inline int slot_of(Names *names, Text text, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """The slot of the header named ``text[begin:end]``, in any case and with blanks around it; 0 = not wanted."""
    cdef int place, index, size
    while begin < end and byte_at(text, begin) in (32, 9, 13):
        begin += 1
    while begin < end and byte_at(text, end - 1) in (32, 9, 13):
        end -= 1
    if not 0 < end - begin <= MAX_NAME_BYTES:
        return 0
    size = <int> (end - begin)
    place = names.bucket[_hash_of(text, begin, end)]
    while place:
        place -= 1
        if names.size[place] == size:
            for index in range(size):
                if lowered(byte_at(text, begin + index)) != names.lower[place][index]:
                    break
            else:
                return names.slot[place]
        place = names.following[place]
    return 0
