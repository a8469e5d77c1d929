"""Names for the places of columns and headers, and what stands in messages word for word."""

from sipcap.compiled.sip_addresses cimport Span

cdef enum:
    COLUMNS = 44
    MAX_SLOTS = 64
    MAX_LINES = 900  # below limits.MAX_SIP_HEADERS: the reference knows what to do with more
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

cdef struct Column:  # a number; or, if it is given, a string that is none of the message's; or a part of the message
    long long number
    Span span
    bint is_given

cdef tuple _SIP_METHODS = (
    b"INVITE", b"ACK", b"BYE", b"OPTIONS", b"REGISTER", b"CANCEL", b"SUBSCRIBE", b"NOTIFY", b"PRACK", b"UPDATE",
    b"INFO", b"REFER", b"MESSAGE", b"PUBLISH",
)
cdef bytes _REQUEST_END = b" SIP/2.0"
cdef bytes _REPLY_BEGIN = b"SIP/2.0 "
cdef bytes _BRANCH = b";branch="
cdef bytes _DIGEST_USER = b'Digest username="'
