"""Twin of ``_decode_usual_head`` in wire/hep3.py, and of the loop over it in sources/hep_gate.py.

Received bytes are looked at through text.pxd alone, which keeps within them.
"""

from sipcap.compiled.text cimport Text, byte_at, copy_of, find, number_at, part, text_of

cdef enum:
    HEP_HEADER_BYTES = 6  # of a frame, and of a chunk
    AUTH_KEY = 14
    PAYLOAD = 15
    CORRELATION_ID = 17


cdef class UsualFrames:
    """Makes messages of HEPv3 frames whose chunks 1 to 12 stand first and in order.

    Args:
        message_type: ``Message``.
        ip_text: packed address to text.
        magics: how a frame begins.
        fields: chunks that go into ``extra``: name, form and size by number.
        min_sizes: bytes that a chunk must have, by number.
    """

    cdef object _message_type, _ip_text
    cdef Addresses _addresses
    cdef tuple _magics
    cdef dict _fields, _min_sizes
    cdef readonly Py_ssize_t taken
    """Frames that needed no reference, for tests."""

    def __init__(self, message_type, ip_text, tuple magics not None, dict fields not None, dict min_sizes not None):
        self._message_type, self._ip_text, self._addresses = message_type, ip_text, Addresses(ip_text)
        self._magics, self._fields, self._min_sizes = magics, fields, min_sizes
        self.taken = 0

    def head(self, bytes data not None, Py_ssize_t offset, Py_ssize_t end):
        """Decode the frame ``data[offset:end]``; None if it is not as usual."""
        return self._decode(data, offset, end, b"")

    def decode(self, datagrams, list messages not None, reference):
        """Decode datagrams in their order.

        Args:
            datagrams: as they were received.
            messages: where the messages go, with their frames.
            reference: does with one datagram all that the loop does.

        Returns:
            Bytes of all datagrams.
        """
        cdef Py_ssize_t size = 0, total
        cdef Text text
        for data in datagrams:
            size += len(data)
            message = None
            if type(data) is bytes:
                text = text_of(data)
                total = number_at(text, 4, 2, False)
                if total == text.size and copy_of(text, 0, 4) in self._magics:
                    message = self._decode(<bytes> data, 0, total, <bytes> data)
            if message is None:
                reference(data)
            else:
                messages.append(message)
        return size

    cdef object _decode(self, bytes data, Py_ssize_t offset, Py_ssize_t end, bytes frame):
        cdef Text text = part(text_of(data), 0, end)
        cdef Py_ssize_t at = offset + HEP_HEADER_BYTES
        cdef int size = 4, family = 2, first = 3
        cdef long long seconds
        cdef Py_ssize_t protocol, source, destination, ports, times, kind, capture
        if number_at(text, at + 14, 4, False) == 5:
            size, family, first = 16, 10, 5
        # Chunks follow each other: where the data of each begins, and that its header is the one before that.
        protocol = at + 13
        source = protocol + 7
        destination = source + size + 6
        ports = destination + size + 6
        times = ports + 16
        kind = times + 20
        capture = kind + 7
        at = capture + 4
        if (
            at > end
            or not _is_chunk(text, offset + 12, 1, 1)
            or not _is_chunk(text, protocol, 2, 1)
            or not _is_chunk(text, source, first, size)
            or not _is_chunk(text, destination, first + 1, size)
            or not _is_chunk(text, ports, 7, 2)
            or not _is_chunk(text, ports + 8, 8, 2)
            or not _is_chunk(text, times, 9, 4)
            or not _is_chunk(text, times + 10, 10, 4)
            or not _is_chunk(text, kind, 11, 1)
            or not _is_chunk(text, capture, 12, 4)
        ):
            return None
        seconds = number_at(text, times, 4, False)
        message = self._message_type(
            b"",
            seconds * 1_000_000 + <long long> number_at(text, times + 10, 4, False) if seconds else 0,
            self._address(text, source, size),
            <int> number_at(text, ports, 2, False),
            self._address(text, destination, size),
            <int> number_at(text, ports + 8, 2, False),
            byte_at(text, protocol),
            family,
            byte_at(text, kind),
            3,
            number_at(text, capture, 4, False),
            None,
            None,
            None,
            frame,
        )
        if not self._read_chunks(text, at, message):
            return None
        self.taken += 1
        return message

    cdef bint _read_chunks(self, Text text, Py_ssize_t at, object message) except -1:
        """Read the chunks behind the first ones into the message; False if one of them is for the reference."""
        cdef Py_ssize_t begin, length
        cdef unsigned int number
        while at < text.size:
            number = number_at(text, at, 4, False)
            length = number_at(text, at + 4, 2, False)
            begin = at + HEP_HEADER_BYTES
            at += length
            if length < HEP_HEADER_BYTES or at > text.size:
                return False
            if number == PAYLOAD:
                message.payload = copy_of(text, begin, at)
            elif number == AUTH_KEY:
                message.auth_key = copy_of(text, begin, at)
            elif number == CORRELATION_ID:
                message.correlation_id = _words(text, begin, at)
            elif not self._set_extra(text, number, begin, at, message):
                return False
        return True

    cdef bint _set_extra(self, Text text, unsigned int number, Py_ssize_t begin, Py_ssize_t end, message) except -1:
        """Keep a number or a text under its name; False if it is something else."""
        field = self._fields.get(number)
        if field is None or end - begin < <Py_ssize_t> self._min_sizes.get(number, 0):
            return False
        name, form, size = field
        if form == "text":
            value = _words(text, begin, end)
        elif form == "uint":
            value = number_at(text, begin, min(<Py_ssize_t> size, end - begin, 8), False)
        else:
            return False
        if message.extra is None:
            message.extra = {}
        message.extra[name] = value
        return True

    cdef object _address(self, Text text, Py_ssize_t at, int size):
        return self._addresses.text_at(text, at) if size == 4 else self._ip_text(copy_of(text, at, at + 16))


cdef str _words(Text text, Py_ssize_t begin, Py_ssize_t end):
    """``text[begin:end]`` up to a NUL, decoded."""
    cdef Py_ssize_t nul = find(text, 0, begin, end)
    return copy_of(text, begin, nul if nul >= 0 else end).decode("utf-8", "replace")


cdef inline bint _is_chunk(Text text, Py_ssize_t at, int number, int size) noexcept:
    """Whether the data at a position is that of a chunk of this number and size."""
    return (
        number_at(text, at - 6, 4, False) == <unsigned> number
        and number_at(text, at - 2, 2, False) == <unsigned> size + HEP_HEADER_BYTES
    )
