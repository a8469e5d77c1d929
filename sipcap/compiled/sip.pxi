"""SIP messages to records, and to lines, without the strings in between: the twin of sipcap/extract.py."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memset

from sipcap.compiled.json_text cimport Buffer, put, put_number, put_text, release
from sipcap.compiled.text cimport Text, text_of

cdef enum:
    MAX_KEPT_ROOM = 4_194_304  # bytes of the buffer that are kept between batches


cdef class SipTwin(SipReader):
    """Makes what ``Extractor`` makes, of usual messages.

    Args:
        record_type: ``SipRecord``.
        unset: its value for what is not known.
        columns: names of its columns, each with whether it is a number.
        envelope: names of the fields behind ``capture_id``, in their order.
        settings: of the reader.
    """

    cdef object _record_type, _unset
    cdef bint[COLUMNS] _is_number
    cdef list _keys, _extra_keys
    cdef Buffer _buffer
    cdef bint _is_busy  # the functions of the reference may let another thread in, which must not find half a message

    def __cinit__(self):
        memset(&self._buffer, 0, sizeof(self._buffer))
        self._is_busy = False

    def __dealloc__(self):
        release(&self._buffer)

    def __init__(self, *, record_type, unset, list columns not None, tuple envelope not None, **settings):
        cdef int index
        super().__init__(**settings)
        if len(columns) != COLUMNS:
            raise ValueError("other columns than those that are written here")
        self._record_type, self._unset = record_type, unset
        self._keys = []
        before = '{"v":1,"kind":"sip",'
        for index, (name, is_number) in enumerate(columns):
            self._is_number[index] = is_number
            self._keys.append(f'{before}"{name}":{"" if is_number else chr(34)}'.encode())
            before = "," if is_number else '",'
        self._extra_keys = [(name, f',"{name}":'.encode()) for name in envelope]

    def record(self, message, received_us):
        """The record of a message; None if the reference must make it."""
        if self._is_busy:
            return None
        self._is_busy = True
        try:
            return self._record(message) if self._read(message, received_us) else None
        finally:
            self._is_busy = False

    def lines(self, messages, long long received_us, other, seen=None):
        """The records of messages as lines.

        Args:
            messages: in their order.
            received_us: the time of those without one, microseconds since 1970.
            other: makes the line of a message that the reference must read; b"" if there is none.
            seen: lists of the methods of requests, status codes, user agents and source addresses, to be added to.

        Returns:
            The lines, and how many of them were made here.
        """
        if self._is_busy:
            return b"".join(map(other, messages)), 0
        self._is_busy = True
        try:
            return self._lines(messages, received_us, other, seen)
        finally:
            self._is_busy = False

    cdef tuple _lines(self, messages, long long received_us, other, seen):
        cdef Py_ssize_t count = 0
        cdef bytes line, data
        self._buffer.size = 0
        for message in messages:
            if self._read(message, received_us) and self._write(message):
                count += 1
                if seen is not None:
                    self._note(message, seen)
            else:
                line = other(message)
                put(&self._buffer, text_of(line))
        data = PyBytes_FromStringAndSize(<const char *> self._buffer.data, self._buffer.size)
        if self._buffer.room > MAX_KEPT_ROOM:
            release(&self._buffer)
        return data, count

    cdef int _note(self, message, seen) except -1:
        cdef Column *agent = &self._columns[C_USER_AGENT]
        place = 0 if self._columns[C_TYPE].number == REQUEST else 1
        (<list> seen[place]).append(self._string(C_METHOD))
        if agent.span.end > agent.span.begin:
            (<list> seen[2]).append(self._string(C_USER_AGENT))
        (<list> seen[3]).append(message.source_ip)
        return 0

    cdef object _record(self, message):
        cdef tuple values = PyTuple_New(2 + COLUMNS + 4)
        cdef int index
        cdef long long version = message.hep_version
        protocol = message.ip_protocol
        _put_item(values, 0, 1)
        _put_item(values, 1, "sip")
        for index in range(COLUMNS):
            _put_item(
                values, 2 + index,
                self._columns[index].number if self._is_number[index] else self._string(index),
            )
        _put_item(values, 2 + COLUMNS, self._unset)
        _put_item(values, 3 + COLUMNS, 1)
        _put_item(values, 4 + COLUMNS, version if version else self._unset)
        _put_item(values, 5 + COLUMNS, message.capture_id if version > 1 else self._unset)
        record = self._record_type(*values)
        if protocol and not self._columns[C_PROTO].number:
            record.ip_protocol = protocol
        if message.extra is not None:
            for key, value in message.extra.items():
                setattr(record, key, value)
        return record

    cdef bint _write(self, message) except -1:
        """Write the line; False, and nothing written, if the reference must."""
        cdef Buffer *buffer = &self._buffer
        cdef Py_ssize_t before = buffer.size
        cdef int index
        cdef Column *column
        cdef long long version = message.hep_version
        for index in range(COLUMNS):
            column = &self._columns[index]
            put(buffer, text_of(<bytes> self._keys[index]))
            if self._is_number[index]:
                put_number(buffer, column.number)
            elif column.is_given:
                _put_string(buffer, self._given[index])
            else:
                put_text(buffer, self._text, column.span.begin, column.span.end)
        put(buffer, text_of(b'","payload_type":1'))
        if version:
            put(buffer, text_of(b',"hep_version":'))
            put_number(buffer, version)
            if version > 1:
                put(buffer, text_of(b',"capture_id":'))
                put_number(buffer, message.capture_id)
        protocol = 0 if self._columns[C_PROTO].number else message.ip_protocol
        if not self._write_extra(message.extra, protocol):
            buffer.size = before
            return False
        put(buffer, text_of(b"}\n"))
        return True

    cdef bint _write_extra(self, dict extra, long long protocol) except -1:
        """Write the rest of the envelope in the record's order; False if that is not all that is there."""
        cdef Py_ssize_t left
        if extra is None:
            if not protocol:
                return True
            extra = {}
        left = len(extra)
        for name, key in self._extra_keys:
            value = extra.get(name, self._unset)
            if value is not self._unset:
                left -= 1
            elif protocol and name == "ip_protocol":
                value = protocol
            else:
                continue
            put(&self._buffer, text_of(key))
            if type(value) is int and -(2**63) <= value < 2**63:
                put_number(&self._buffer, value)
            elif type(value) is str:
                put(&self._buffer, text_of(b'"'))
                _put_string(&self._buffer, value)
                put(&self._buffer, text_of(b'"'))
            else:
                return False
            if not left and not protocol:
                break
        return left == 0


cdef inline int _put_item(tuple values, Py_ssize_t at, object value) except -1:
    Py_INCREF(value)
    PyTuple_SET_ITEM(values, at, value)
    return 0


cdef inline int _put_string(Buffer *buffer, object string) except -1:
    cdef Text text
    text.data = <const unsigned char *> PyUnicode_AsUTF8AndSize(string, &text.size)
    return put_text(buffer, text, 0, text.size)
