# cython: language_level=3, boundscheck=False, wraparound=False
"""SIP messages to records, and to lines, without the strings in between: the twin of sipcap/extract.py.

Bytes are looked at through text.pxd only, which knows their bounds. Fields of an odd form are read by the functions
of the reference; a message of an odd form (folded headers, NULs, not ASCII ...) is left to it as a whole.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_AsUTF8AndSize, PyUnicode_New
from libc.string cimport memchr, memcpy, memset

from sipcap.compiled.sip_addresses cimport Address, Span, bracketed, port_number, tagged, user_host
from sipcap.compiled.header_names cimport Names, add_name, slot_of
from sipcap.compiled.json_text cimport Buffer, put, put_number, put_text, release
from sipcap.compiled.text cimport Text, byte_at, equals, find, text_of


cdef enum:
    COLUMNS = 44
    MAX_SLOTS = 64
    MAX_LINES = 900  # below limits.MAX_SIP_HEADERS: the reference knows what to do with more
    MAX_KEPT_ROOM = 4_194_304  # bytes of the buffer that are kept between batches
    REQUEST = 1
    REPLY = 2

cdef enum:  # slots of the headers that the reference numbers first, in its order
    VIA = 1, FROM, TO, CALL_ID, CSEQ, CONTACT, CONTENT_TYPE, USER_AGENT, IDENTITY, AUTHORIZATION, PROXY_AUTHORIZATION
    REASON, DIVERSION, PREFERRED, PARTY, OIP
    FIRST_RTP, AFTER_RTP = FIRST_RTP + 7

cdef enum:  # places of the columns, in their order
    C_DATE, C_MICRO_TS, C_METHOD, C_REPLY_REASON, C_RURI, C_RURI_USER, C_FROM_USER, C_FROM_TAG, C_TO_USER, C_TO_TAG
    C_PID_USER, C_CONTACT_USER, C_AUTH_USER, C_CALLID, C_CALLID_ALEG, C_VIA_1, C_VIA_1_BRANCH, C_CSEQ, C_REASON
    C_CONTENT_TYPE, C_AUTH, C_USER_AGENT, C_SOURCE_IP, C_SOURCE_PORT, C_DESTINATION_IP, C_DESTINATION_PORT
    C_CONTACT_IP, C_CONTACT_PORT, C_ORIGINATOR_IP, C_ORIGINATOR_PORT, C_PROTO, C_FAMILY, C_RTP_STAT, C_TYPE, C_NODE
    C_CORRELATION_ID, C_FROM_DOMAIN, C_TO_DOMAIN, C_RURI_DOMAIN, C_DIVERSION, C_MSG, C_CUSTOM1, C_CUSTOM2, C_CUSTOM3

cdef struct Column:
    # A number; or the text of ``given``, if that is not NULL; or ``message[span]``.
    long long number
    Span span
    bint is_given

cdef bytes _SIP_VERSION = b" SIP/2.0"
cdef bytes _REPLY_BEGIN = b"SIP/2.0 "
cdef bytes _BRANCH = b";branch="
cdef bytes _USERNAME = b'Digest username="'
cdef list _METHODS = [
    b"INVITE", b"ACK", b"BYE", b"OPTIONS", b"REGISTER", b"CANCEL", b"SUBSCRIBE", b"NOTIFY", b"PRACK", b"UPDATE",
    b"INFO", b"REFER", b"MESSAGE", b"PUBLISH",
]


cdef class SipTwin:
    """Makes what ``Extractor`` makes, of usual messages.

    Args:
        settings: what the reference was made with, and its parts (``extract.py`` says which).
    """

    cdef Names _names
    cdef Text _methods[14]
    cdef Text _version, _reply, _branch, _username
    cdef int _aleg[16]
    cdef int _custom[3]
    cdef int _alegs
    cdef bint _requires
    cdef object _unmask, _node_of, _capture_node, _date_of, _record_type, _unset
    cdef object _read_request_uri, _read_tagged, _read_address, _read_contact, _branch_of, _digest_user, _originator
    cdef dict _proto_of
    cdef list _keys, _key_texts, _extra_keys
    cdef bint _is_number[COLUMNS]
    cdef Text _key[COLUMNS]
    # Of the message that is being read
    cdef bytes _payload
    cdef Text _text
    cdef Span _slots[MAX_SLOTS]
    cdef bint _is_there[MAX_SLOTS]
    cdef Column _columns[COLUMNS]
    cdef list _given
    # Kept between messages
    cdef long long _last_second, _last_capture_id
    cdef object _last_date, _last_node
    cdef Buffer _buffer

    def __cinit__(self):
        memset(&self._names, 0, sizeof(self._names))
        memset(&self._buffer, 0, sizeof(self._buffer))
        self._last_second = self._last_capture_id = -1

    def __dealloc__(self):
        release(&self._buffer)

    def __init__(self, *, dict names, aleg, custom, bint requires, unmask, node_of, capture_node, date_of, record_type,
                 unset, columns, envelope, proto_of, readers):
        cdef int index
        for name, slot in names.items():
            if slot >= MAX_SLOTS or not add_name(&self._names, text_of(name), slot):
                raise ValueError("too many headers, or a name that is too long")
        self._alegs = len(aleg)
        for index, slot in enumerate(aleg):
            self._aleg[index] = slot
        for index, slot in enumerate(custom):
            self._custom[index] = slot
        for index, method in enumerate(_METHODS):
            self._methods[index] = text_of(method)
        self._version, self._reply, self._branch = text_of(_SIP_VERSION), text_of(_REPLY_BEGIN), text_of(_BRANCH)
        self._username = text_of(_USERNAME)
        self._requires, self._unmask, self._node_of, self._capture_node = requires, unmask, node_of, capture_node
        self._date_of, self._record_type, self._unset, self._proto_of = date_of, record_type, unset, proto_of
        (self._read_request_uri, self._read_tagged, self._read_address, self._read_contact, self._branch_of,
         self._digest_user, self._originator) = readers
        self._key_texts = []
        for index, (name, is_number) in enumerate(columns):
            self._is_number[index] = is_number
            before = '{"v":1,"kind":"sip",' if index == 0 else ("," if self._is_number[index - 1] else '",')
            self._key_texts.append(f'{before}"{name}":{"" if is_number else chr(34)}'.encode())
            self._key[index] = text_of(self._key_texts[index])
        self._extra_keys = [(name, f',"{name}":'.encode()) for name in envelope]
        self._given = [None] * COLUMNS

    def record(self, message, received_us):
        """The record of a message; None if the reference must make it."""
        if not self._read(message, received_us):
            return None
        return self._record(message)

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

    cdef bint _read(self, message, long long received_us) except -1:
        """Read a message into the columns; False if the reference must."""
        cdef object payload = message.payload
        cdef long long ts_us, version
        if type(payload) is not bytes or message.payload_type != 1:
            return False
        self._payload = <bytes> payload
        self._text = text_of(self._payload)
        if not _is_plain(self._text):
            return False
        memset(self._columns, 0, sizeof(self._columns))
        memset(self._slots, 0, sizeof(self._slots))
        memset(self._is_there, 0, sizeof(self._is_there))
        if not self._read_head():
            return False
        if self._requires:
            for slot in range(VIA, CSEQ + 1):
                if self._is_empty(self._slots[slot]):
                    return False
        self._read_addresses()
        self._read_rare()
        self._read_envelope(message, received_us)
        self._columns[C_MSG].span.end = self._text.size
        return True

    cdef bint _read_head(self) noexcept:
        """Read the start line, and the first value of each wanted header into its slot."""
        cdef Text text = self._text
        cdef Py_ssize_t at, end, line_end, colon
        cdef int slot, lines = 0
        line_end = find(text, 10, 0, text.size)
        end = line_end if line_end >= 0 else text.size
        if not self._read_start_line(_without_returns(text, 0, end)):
            return False
        while line_end >= 0:
            at = line_end + 1
            line_end = find(text, 10, at, text.size)
            end = _without_returns(text, at, line_end if line_end >= 0 else text.size)
            if end == at:
                return True  # the empty line, or the end of the text
            lines += 1
            if lines > MAX_LINES or byte_at(text, at) in (32, 9):
                return False
            colon = find(text, 58, at, end)
            if colon <= at:
                return False
            slot = slot_of(&self._names, text, at, colon)
            if slot and not self._is_there[slot]:
                self._is_there[slot] = True
                colon += 1
                while colon < end and byte_at(text, colon) in (32, 9, 13):
                    colon += 1
                self._slots[slot].begin, self._slots[slot].end = colon, end
        return True

    cdef bint _read_start_line(self, Py_ssize_t end) noexcept:
        cdef Text text = self._text
        cdef Py_ssize_t blank = find(text, 32, 0, end), at
        cdef int index
        if blank <= 0:
            return False
        if equals(text, 0, blank + 1, self._reply):
            at = blank + 1
            for index in range(3):
                if not 48 <= byte_at(text, at + index) <= 57:
                    return False
            if at + 3 >= end or byte_at(text, at + 3) != 32:
                return False
            self._columns[C_TYPE].number = REPLY
            self._columns[C_METHOD].span.begin, self._columns[C_METHOD].span.end = at, at + 3
            at += 4
            while at < end and byte_at(text, at) in (32, 9):
                at += 1
            self._columns[C_REPLY_REASON].span.begin, self._columns[C_REPLY_REASON].span.end = at, end
            return True
        for index in range(14):
            if equals(text, 0, blank, self._methods[index]):
                break
        else:
            return False
        at = end - self._version.size
        if at <= blank + 1 or not equals(text, at, end, self._version):
            return False
        if find(text, 32, blank + 1, at) >= 0 or find(text, 9, blank + 1, at) >= 0:
            return False
        self._columns[C_TYPE].number = REQUEST
        self._columns[C_METHOD].span.begin, self._columns[C_METHOD].span.end = 0, blank
        self._columns[C_RURI].span.begin, self._columns[C_RURI].span.end = blank + 1, at
        return True

    cdef int _read_addresses(self) except -1:
        """Read the headers that nearly every message has."""
        cdef Column *columns = self._columns
        cdef Span *slots = self._slots
        cdef Address address
        cdef Span value = columns[C_RURI].span
        if columns[C_TYPE].number == REQUEST:
            if user_host(self._text, value.begin, value.end, &address) == value.end:
                columns[C_RURI_USER].span, columns[C_RURI_DOMAIN].span = address.user, address.host
            else:
                self._give2(C_RURI_USER, C_RURI_DOMAIN, self._read_request_uri(self._slice(value)))
        self._read_party(slots[FROM], C_FROM_USER, C_FROM_DOMAIN, C_FROM_TAG)
        self._read_party(slots[TO], C_TO_USER, C_TO_DOMAIN, C_TO_TAG)
        if not self._is_empty(slots[CONTACT]):
            self._read_contact_of(slots[CONTACT])
        columns[C_VIA_1].span = slots[VIA]
        self._read_branch(slots[VIA])
        columns[C_CSEQ].span = slots[CSEQ]
        columns[C_CONTENT_TYPE].span = slots[CONTENT_TYPE]
        columns[C_USER_AGENT].span = slots[USER_AGENT]
        columns[C_CALLID].span = slots[CALL_ID]
        if self._unmask is not None:
            self._give(C_CALLID, self._unmask(self._slice(slots[CALL_ID])))
        value = slots[AUTHORIZATION] if self._is_empty(slots[PROXY_AUTHORIZATION]) else slots[PROXY_AUTHORIZATION]
        columns[C_AUTH].span = value
        if not self._is_empty(value):
            self._read_credentials(value)
        return 0

    cdef int _read_party(self, Span value, int user, int domain, int tag) except -1:
        cdef Address address
        if tagged(self._text, value, &address):
            self._columns[user].span, self._columns[domain].span = address.user, address.host
            self._columns[tag].span = address.tag
            return 0
        read = self._read_tagged(self._slice(value))
        self._give(user, read[0])
        self._give(domain, read[1])
        self._give(tag, read[2])
        return 0

    cdef int _read_contact_of(self, Span value) except -1:
        cdef Address address
        if bracketed(self._text, value.begin, value.end, &address) >= 0:
            self._columns[C_CONTACT_USER].span, self._columns[C_CONTACT_IP].span = address.user, address.host
            self._columns[C_CONTACT_PORT].number = port_number(self._text, address.port)
            return 0
        read = self._read_contact(self._slice(value))
        self._give2(C_CONTACT_USER, C_CONTACT_IP, read)
        self._columns[C_CONTACT_PORT].number = read[2]
        return 0

    cdef int _read_branch(self, Span via) except -1:
        cdef Text text = self._text
        cdef Span *branch = &self._columns[C_VIA_1_BRANCH].span
        cdef Py_ssize_t at = via.begin, end
        if find(text, 44, via.begin, via.end) < 0 and find(text, 34, via.begin, via.end) < 0:
            while True:
                at = find(text, 59, at, via.end)
                if at < 0 or equals(text, at, min(at + self._branch.size, via.end), self._branch):
                    break
                at += 1
            if at >= 0:
                at += self._branch.size
                end = find(text, 59, at, via.end)
                end = via.end if end < 0 else end
                if at < end and find(text, 32, at, end) < 0 and find(text, 9, at, end) < 0:
                    branch.begin, branch.end = at, end
                    return 0
        self._give(C_VIA_1_BRANCH, self._branch_of(self._slice(via)))
        return 0

    cdef int _read_credentials(self, Span value) except -1:
        cdef Text text = self._text
        cdef Py_ssize_t at = value.begin + self._username.size, end = at
        if equals(text, value.begin, min(at, value.end), self._username):
            while end < value.end and byte_at(text, end) not in (34, 92, 64, 58):  # " \ @ :
                end += 1
            if end < value.end and byte_at(text, end) == 34:
                self._columns[C_AUTH_USER].span.begin, self._columns[C_AUTH_USER].span.end = at, end
                return 0
        self._give(C_AUTH_USER, self._digest_user(self._slice(value)))
        return 0

    cdef int _read_rare(self) except -1:
        """Read the headers that few messages have."""
        cdef Column *columns = self._columns
        cdef Span *slots = self._slots
        cdef Address address
        cdef Span value = slots[IDENTITY]
        cdef int index
        if self._is_empty(value):
            value = slots[PARTY] if self._is_empty(slots[PREFERRED]) else slots[PREFERRED]
        if not self._is_empty(value):
            if bracketed(self._text, value.begin, value.end, &address) >= 0:
                columns[C_PID_USER].span = address.user
            else:
                self._give(C_PID_USER, self._read_address(self._slice(value))[0])
        columns[C_REASON].span = slots[REASON]
        columns[C_DIVERSION].span = slots[DIVERSION]
        if not self._is_empty(slots[OIP]):
            read = self._originator(self._slice(slots[OIP]))
            self._give(C_ORIGINATOR_IP, read[0])
            columns[C_ORIGINATOR_PORT].number = read[1]
        for index in range(FIRST_RTP, AFTER_RTP):
            if not self._is_empty(slots[index]):
                columns[C_RTP_STAT].span = slots[index]
                break
        for index in range(self._alegs):
            if not self._is_empty(slots[self._aleg[index]]):
                columns[C_CALLID_ALEG].span = slots[self._aleg[index]]
                break
        for index in range(3):
            columns[C_CUSTOM1 + index].span = slots[self._custom[index]]
        return 0

    cdef int _read_envelope(self, message, long long received_us) except -1:
        cdef Column *columns = self._columns
        cdef long long ts_us = message.ts_us, second, capture_id
        if ts_us and message.hep_version > 1:
            capture_id = message.capture_id
            if capture_id != self._last_capture_id:
                self._last_capture_id, self._last_node = capture_id, self._node_of(capture_id)
            self._give(C_NODE, self._last_node)
        else:
            ts_us = ts_us or received_us
            self._give(C_NODE, self._capture_node)
        second = ts_us // 1_000_000
        if second != self._last_second:
            self._last_second, self._last_date = second, self._date_of(second)
        self._give(C_DATE, self._last_date)
        columns[C_MICRO_TS].number = ts_us
        self._give(C_SOURCE_IP, message.source_ip)
        columns[C_SOURCE_PORT].number = message.source_port
        self._give(C_DESTINATION_IP, message.destination_ip)
        columns[C_DESTINATION_PORT].number = message.destination_port
        columns[C_PROTO].number = self._proto_of.get(message.ip_protocol, 0)
        columns[C_FAMILY].number = message.family
        correlation_id = message.correlation_id
        if correlation_id is None:
            columns[C_CORRELATION_ID] = columns[C_CALLID]
            self._given[C_CORRELATION_ID] = self._given[C_CALLID]
        else:
            self._give(C_CORRELATION_ID, correlation_id)
        return 0

    cdef inline bint _is_empty(self, Span span) noexcept:
        return span.begin >= span.end

    cdef inline int _give(self, int column, str text) except -1:
        """Set a column to a string that is none of the message's."""
        self._given[column] = text
        self._columns[column].is_given = True
        return 0

    cdef inline int _give2(self, int first, int second, tuple texts) except -1:
        self._give(first, texts[0])
        self._give(second, texts[1])
        return 0

    cdef str _slice(self, Span span):
        """A part of the message, which is all ASCII."""
        cdef Py_ssize_t begin = max(span.begin, 0), size = min(span.end, self._text.size) - begin
        if size <= 0:
            return ""
        cdef str text = PyUnicode_New(size, 127)
        memcpy(PyUnicode_1BYTE_DATA(text), self._text.data + begin, size)
        return text

    cdef object _string(self, int column):
        return self._given[column] if self._columns[column].is_given else self._slice(self._columns[column].span)

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
            put(buffer, self._key[index])
            if self._is_number[index]:
                put_number(buffer, column.number)
            elif column.is_given:
                _put_string(buffer, self._given[index])
            else:
                put_text(buffer, self._text, column.span.begin, column.span.end)
        put(buffer, text_of(b'","payload_type":1' if not self._is_number[COLUMNS - 1] else b',"payload_type":1'))
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


cdef inline Py_ssize_t _without_returns(Text text, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Where a line ends without the carriage returns at its end."""
    while end > begin and byte_at(text, end - 1) == 13:
        end -= 1
    return end


cdef inline bint _is_plain(Text text) noexcept nogil:
    """Whether a text is ASCII, has no NUL, and does not begin with a blank or a line break."""
    cdef unsigned char bits = 0
    cdef Py_ssize_t at
    if byte_at(text, 0) in (-1, 13, 10, 9, 32):
        return False
    for at in range(text.size):
        bits |= text.data[at]
    return bits < 128 and memchr(text.data, 0, text.size) == NULL
