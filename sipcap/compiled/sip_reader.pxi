"""SIP messages to columns: what the twin of the extraction reads, as places in the message.

Bytes are looked at through text.pxd only, which knows their bounds. Fields of an odd form are read by the functions of
the reference; a message of an odd form (folded headers, NULs, not ASCII ...) is left to it as a whole.
"""

from libc.string cimport memset

from sipcap.compiled.header_names cimport Names, add_name, slot_of
from sipcap.compiled.sip_addresses cimport Address, Span, bracketed, port_number, tagged, user_host
from sipcap.compiled.text cimport Text, ascii_of, byte_at, equals, find, is_plain, text_of


cdef class SipReader:
    """Reads usual messages into columns, one after the other.

    Args:
        names: header names in lower case, with the slots for their values.
        aleg: slots of which the first with a value gives ``callid_aleg``.
        custom: slots of ``custom_field1`` to ``3``; 0 = none.
        requires: leave messages that lack one of the first five headers to the reference.
        unmask: takes topoh's mask off a Call-ID; None = there is none.
        node_of: ``node`` of a capture id.
        capture_node: ``node`` without one.
        date_of: ``date`` of seconds.
        proto_of: ``proto`` by IP protocol.
        readers: the reference's functions for odd forms: of request URI, tagged address, address, contact, branch,
            digest credentials, and originator.
    """

    cdef Names _names
    cdef int[16] _aleg
    cdef int[3] _custom
    cdef int _alegs
    cdef bint _requires
    cdef object _unmask, _node_of, _capture_node, _date_of
    cdef object _read_request_uri, _read_tagged, _read_address, _read_contact, _branch_of, _digest_user, _originator
    cdef dict _proto_of
    # Of the message that is being read
    cdef bytes _payload
    cdef Text _text
    cdef Span[MAX_SLOTS] _slots
    cdef bint[MAX_SLOTS] _is_there
    cdef Column[COLUMNS] _columns
    cdef list _given
    # Kept between messages
    cdef long long _last_second, _last_capture_id
    cdef object _last_date, _last_node

    def __init__(
        self, dict names not None, tuple aleg not None, tuple custom not None, bint requires, unmask, node_of,
        capture_node, date_of, dict proto_of not None, tuple readers not None,
    ):
        cdef int index
        memset(&self._names, 0, sizeof(self._names))
        for name, slot in names.items():
            if slot >= MAX_SLOTS or not add_name(&self._names, text_of(name), slot):
                raise ValueError("too many headers, or a name that is too long")
        if len(aleg) > 16 or len(custom) != 3 or not all(0 <= slot < MAX_SLOTS for slot in aleg + custom):
            raise ValueError("slots that are none")
        self._alegs = len(aleg)
        for index, slot in enumerate(aleg):
            self._aleg[index] = slot
        for index, slot in enumerate(custom):
            self._custom[index] = slot
        self._requires, self._unmask, self._node_of, self._capture_node = requires, unmask, node_of, capture_node
        self._date_of, self._proto_of = date_of, proto_of
        (self._read_request_uri, self._read_tagged, self._read_address, self._read_contact, self._branch_of,
         self._digest_user, self._originator) = readers
        self._given = [None] * COLUMNS
        self._last_second = self._last_capture_id = 0
        self._last_date = self._last_node = None

    cdef bint _read(self, message, long long received_us) except -1:
        """Read a message into the columns; False if the reference must."""
        cdef object payload = message.payload
        cdef long long ts_us, version
        if type(payload) is not bytes or message.payload_type != 1:
            return False
        self._payload = <bytes> payload
        self._text = text_of(self._payload)
        if not is_plain(self._text):
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
        try:
            self._read_envelope(message, received_us)
        except OverflowError:  # a number that no column can hold
            return False
        self._columns[C_MSG].span.end = self._text.size
        return True

    cdef bint _read_head(self) except -1:
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

    cdef bint _read_start_line(self, Py_ssize_t end) except -1:
        cdef Text text = self._text
        cdef bytes method
        cdef Py_ssize_t blank = find(text, 32, 0, end), at
        cdef int index
        if blank <= 0:
            return False
        if equals(text, 0, blank + 1, text_of(_REPLY_BEGIN)):
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
        for method in _SIP_METHODS:
            if equals(text, 0, blank, text_of(method)):
                break
        else:
            return False
        at = end - len(_REQUEST_END)
        if at <= blank + 1 or not equals(text, at, end, text_of(_REQUEST_END)):
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
                if at < 0 or equals(text, at, min(at + len(_BRANCH), via.end), text_of(_BRANCH)):
                    break
                at += 1
            if at >= 0:
                at += len(_BRANCH)
                end = find(text, 59, at, via.end)
                end = via.end if end < 0 else end
                if at < end and find(text, 32, at, end) < 0 and find(text, 9, at, end) < 0:
                    branch.begin, branch.end = at, end
                    return 0
        self._give(C_VIA_1_BRANCH, self._branch_of(self._slice(via)))
        return 0

    cdef int _read_credentials(self, Span value) except -1:
        cdef Text text = self._text
        cdef Py_ssize_t at = value.begin + len(_DIGEST_USER), end = at
        if equals(text, value.begin, min(at, value.end), text_of(_DIGEST_USER)):
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
            if self._last_node is None or capture_id != self._last_capture_id:
                self._last_capture_id, self._last_node = capture_id, self._node_of(capture_id)
            self._give(C_NODE, self._last_node)
        else:
            ts_us = ts_us or received_us
            self._give(C_NODE, self._capture_node)
        second = ts_us // 1_000_000
        if self._last_date is None or second != self._last_second:
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
        return ascii_of(self._text, span.begin, span.end)

    cdef object _string(self, int column):
        return self._given[column] if self._columns[column].is_given else self._slice(self._columns[column].span)


cdef inline Py_ssize_t _without_returns(Text text, Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    """Where a line ends without the carriage returns at its end."""
    while end > begin and byte_at(text, end - 1) == 13:
        end -= 1
    return end
