"""Twin of the hot loop in sources/packet_decoder.py: whole SIP and RTP datagrams in IPv4 without options.

Captured bytes are looked at through text.pxd alone, which keeps within them. Lists stay checked: that costs nothing here.
"""

from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.stdint cimport uint32_t

from sipcap.compiled.text cimport Text, byte_at, copy_of, equals, find, find_text, number_at, part, text_of

cdef enum:
    MAX_START_LINE = 2048
    HEADERS = 28  # of IPv4 and UDP
    FORMS = 256  # headers of frames of which the fields are kept; a power of 2

cdef long long _MAX_TS_US = 4294967296000000  # 2106, as in the reference
cdef bytes _REPLY = b"SIP/2.0 "
cdef bytes _VERSION = b" SIP/2.0"
cdef tuple _SIP_BEGINNINGS = (
    b"INVITE ", b"ACK ", b"BYE ", b"CANCEL ", b"OPTIONS ", b"REGISTER ", b"PRACK ", b"UPDATE ",
    b"INFO ", b"SUBSCRIBE ", b"NOTIFY ", b"REFER ", b"MESSAGE ", b"PUBLISH ",
)


cdef enum Kind:
    UNKNOWN, SIP, OTHER


cdef class UsualPackets:
    """Makes messages of the packets of a capture, and has the reference do what is not usual.

    Args:
        message_type: ``Message``.
        forms: by LinkType, where the EtherType stands in its frames (-1: nowhere) and where the IP packet begins.
        ip_text: packed address to text.
        link_fields: what the frame's header says, by LinkType, header and TOS.
        ports: those of SIP; None: by content.
        tunnels: ports with tunnels behind them, which are the reference's.
    """

    cdef object _message_type, _link_fields, _link
    cdef dict _forms
    cdef bytes _on, _tunnels
    cdef Py_ssize_t _type_at, _ip_at
    cdef Addresses _addresses
    cdef list _headers, _fields, _links
    cdef int[FORMS] _tos
    cdef readonly Py_ssize_t taken
    """Packets that needed no reference, for tests."""

    def __init__(self, message_type, dict forms not None, ip_text, link_fields, ports, tunnels):
        self._message_type, self._forms = message_type, forms
        self._addresses, self._link_fields = Addresses(ip_text), link_fields
        self._on = None if ports is None else _table(ports)
        self._tunnels = _table(tunnels)
        self._link = None
        self._type_at = self._ip_at = -1
        self._headers, self._fields, self._links = [None] * FORMS, [None] * FORMS, [None] * FORMS
        self.taken = 0

    def decode(self, packets, list messages not None, list times not None, reference):
        """Decode packets in their order.

        Args:
            packets: times, bytes and link types.
            messages: where the messages go.
            times: gets a packet's time for each of its messages.
            reference: does with one packet all that the loop does, given ``times`` besides.

        Returns:
            Bytes of all packets, and how many of them were whole datagrams without a message.
        """
        cdef Py_ssize_t size = 0, others = 0
        cdef Kind kind
        for packet in packets:
            ts_us, data, link = packet
            size += len(data)
            kind = UNKNOWN
            if type(data) is bytes and type(ts_us) is int:
                kind = self._take(ts_us, <bytes> data, link, messages)
            if kind == SIP:
                self.taken += 1
                while len(messages) > len(times):
                    times.append(ts_us)
            elif kind == OTHER:
                self.taken += 1
                others += 1
            else:
                reference(ts_us, data, link, times)
        return size, others

    cdef Kind _take(self, object ts_us, bytes data, object link, list messages) except *:
        """Take one packet, if it is usual."""
        cdef Text text = text_of(data), payload
        cdef Py_ssize_t at, end
        cdef int overflow = 0
        cdef long long time_us = PyLong_AsLongLongAndOverflow(ts_us, &overflow)
        cdef int total, source_port, destination_port
        cdef Kind kind
        if overflow or time_us <= 0 or time_us >= _MAX_TS_US:
            return UNKNOWN
        at = self._ip_offset(text, link)
        if at < 0 or text.size - at < HEADERS:
            return UNKNOWN
        total = number_at(text, at + 2, 2, False)
        end = at + total
        if (
            byte_at(text, at) != 0x45
            or byte_at(text, at + 9) != 17
            or number_at(text, at + 6, 2, False) & 0x3FFF
            or <int> number_at(text, at + 24, 2, False) != total - 20
            or end > text.size
        ):
            return UNKNOWN
        source_port = number_at(text, at + 20, 2, False)
        destination_port = number_at(text, at + 22, 2, False)
        payload = part(text, at + HEADERS, end)
        kind = self._kind(payload, source_port, destination_port)
        if kind == SIP:
            messages.append(
                self._message_type(
                    copy_of(payload, 0, payload.size),
                    ts_us,
                    self._addresses.text_at(text, at + 12),
                    source_port,
                    self._addresses.text_at(text, at + 16),
                    destination_port,
                    17,
                    2,
                    1,
                    0,
                    0,
                    None,
                    None,
                    self._extra(text, at, byte_at(text, at + 1), link).copy(),
                )
            )
        return kind

    cdef Py_ssize_t _ip_offset(self, Text text, object link) except -2:
        """Where the IP packet begins behind up to two VLAN tags; -1 if that needs the reference."""
        cdef Py_ssize_t at
        cdef int kind, tags = 0
        if link is not self._link:
            self._type_at, self._ip_at = self._forms.get(link, (-1, -1))
            self._link = link
        at = self._ip_at
        if self._type_at < 0 or at < 0:
            return at
        kind = number_at(text, self._type_at, 2, False)
        while kind in (0x8100, 0x88A8) and tags < 2:
            kind = number_at(text, at + 2, 2, False)
            at += 4
            tags += 1
        return at if kind in (0x0800, 0x86DD) else -1

    cdef Kind _kind(self, Text payload, int source_port, int destination_port) noexcept:
        """What a datagram is, as far as its first bytes say it for sure."""
        cdef int first = byte_at(payload, 0)
        cdef bint is_on
        if first < 0 or first in (1, 2, 0x45, 0x48):  # none at all, or perhaps HEP
            return UNKNOWN
        if self._on is not None:
            is_on = bool(
                byte_at(text_of(self._on), source_port) > 0 or byte_at(text_of(self._on), destination_port) > 0
            )
            if is_on:
                return UNKNOWN if first in (0, 9, 10, 13, 32) else SIP  # perhaps a keep-alive
        elif _looks_like_sip(payload):
            return SIP
        # RTP: no text, no RTCP, and no tunnel by its ports.
        if (
            first >> 6 == 2
            and not 192 <= byte_at(payload, 1) <= 223
            and byte_at(text_of(self._tunnels), source_port) == 0
            and byte_at(text_of(self._tunnels), destination_port) == 0
        ):
            return OTHER
        return UNKNOWN

    cdef dict _extra(self, Text text, Py_ssize_t at, int tos, object link):
        """What the header before the IP packet says; whoever keeps it makes a copy."""
        cdef uint32_t place = tos
        cdef Py_ssize_t index
        cdef bytes header
        for index in range(at):
            place = (place ^ <uint32_t> byte_at(text, index)) * <uint32_t> 16777619
        place = (place ^ place >> 16) & (FORMS - 1)
        header = self._headers[place]
        if (
            header is None
            or self._tos[place] != tos
            or self._links[place] is not link
            or not equals(text, 0, at, text_of(header))
        ):
            header = copy_of(text, 0, at)
            self._fields[place] = self._link_fields(link, header, tos)
            self._headers[place], self._tos[place], self._links[place] = header, tos, link
        return self._fields[place]


def relate(messages, int sip_payload, bytes sdp not None, note, report):
    """Twin of ``media_reports.relate``."""
    cdef bytes payload
    for message in messages:
        if message.payload_type != sip_payload:
            report(message)
            continue
        payload = message.payload
        if payload is not None and find_text(text_of(payload), text_of(sdp), 0, len(payload)) >= 0:
            note(payload)


cdef bytes _table(ports):
    """A byte for each port, 1 for those that are in ``ports``."""
    table = bytearray(65536)
    for port in ports:
        if 0 <= port < 65536:
            table[port] = 1
    return bytes(table)


cdef bint _looks_like_sip(Text payload) noexcept:
    """The first two tests of ``detect.looks_like_sip``; False says nothing."""
    cdef Py_ssize_t at, end
    cdef bytes method
    cdef Text word
    if equals(payload, 0, 8, text_of(_REPLY)):
        end = min(payload.size, 11)
        at = 8
        while at < end and 48 <= byte_at(payload, at) <= 57:
            at += 1
        return at == end and end > 8
    for method in _SIP_BEGINNINGS:
        word = text_of(method)
        if equals(payload, 0, word.size, word):
            end = find(payload, 10, 0, MAX_START_LINE)
            end = end if end > 0 else min(MAX_START_LINE, payload.size)
            return find_text(payload, text_of(_VERSION), 0, end) > 0
    return False
