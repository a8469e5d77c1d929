"""A message to its record: the row that is stored.

Source of every column: spec/sipcapture.md section 3. Where the module has a defect, its column tells
what the message says (spec 11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from msgspec import UNSET

from sipcap.activity import Seen
from sipcap.compiled import twins
from sipcap.errors import DecodeError
from sipcap.limits import MAX_ALEG_HEADERS
from sipcap.record import ENVELOPE_KEYS, SIP_COLUMNS, VERSION, Record, ReportRecord, SipRecord, date_text
from sipcap.wire.message import SIP_PAYLOAD, Message
from sipcap.wire.sip import COMPACT_FORMS, SipHeadReader, canonical_name
from sipcap.wire.sip_fields import REQUEST, digest_user, originator
from sipcap.wire.sip_uri import branch_of, port_number, read_address, read_request_uri, read_tagged_address
from sipcap.wire.topoh import CallIdMask

_USUAL: Final = (
    "via", "from", "to", "call-id", "cseq", "contact", "content-type", "user-agent", "p-asserted-identity",
    "authorization", "proxy-authorization",
)  # fmt: skip
_RARE: Final = ("reason", "diversion", "p-preferred-identity", "remote-party-id", "x-oip")
RTP_STAT_HEADERS: Final = (
    "x-rtp-stat-add", "x-rtp-stat-t38", "x-rtp-stat", "p-rtp-stat", "x-siemens-rtp-stats", "x-ng-rtp-stats",
    "rtp-rxstat",
)  # fmt: skip
"""Sources of ``rtp_stat``, the first present wins (spec 3.6)."""

_FIRST_RARE: Final = 1 + len(_USUAL)
_FIRST_RTP: Final = _FIRST_RARE + len(_RARE)
_RTP_SLOTS: Final = tuple(range(_FIRST_RTP, _FIRST_RTP + len(RTP_STAT_HEADERS)))
_PROTO_OF_IP: Final = {17: 1, 6: 2, 22: 3, 132: 4}  # IANA number (22 stands for TLS) to the module's (spec 2.2)
_twin: Final = twins()
_TYPE_OF_REPORT: Final = {5: 3, 32: 2, 99: 4, 100: 5}  # HEP type to the module's ``type`` (spec 2.5.1)


class Extractor:
    """Turns messages into records.

    Args:
        capture_node: first half of the ``node`` column.
        aleg_headers: names whose first present one gives ``callid_aleg``, in order of preference.
        custom_headers: up to three names for ``custom_field1`` to ``3``; "" disables one.
        require_headers: refuse a SIP message without Via, From, To, Call-ID or CSeq, as the module does.
        topoh: takes topoh's mask off Call-IDs; ``msg`` keeps what was sent.
    """

    def __init__(
        self,
        capture_node: str = "homer01",
        aleg_headers: Sequence[str] = ("X-CID",),
        custom_headers: Sequence[str] = ("Mac", "IP", "Port"),
        *,
        require_headers: bool = False,
        topoh: CallIdMask | None = None,
    ) -> None:
        slots = {name: slot for slot, name in enumerate((*_USUAL, *_RARE, *RTP_STAT_HEADERS), start=1)}

        def slot_of(name: str) -> int:
            return slots.setdefault(canonical_name(name), len(slots) + 1) if name.strip() else 0

        self._aleg = tuple(slot_of(name) for name in aleg_headers if name.strip())[:MAX_ALEG_HEADERS]
        self._custom = tuple(slot_of(name) for name in (*custom_headers, "", "", "")[:3])
        self._configured_usual = any(0 < slot < _FIRST_RARE for slot in (*self._aleg, *self._custom))
        self._nothing_rare = [""] * (len(slots) + 1 - _FIRST_RARE)
        self._read_head = SipHeadReader(tuple(slots)).read
        self._require_headers = require_headers
        self._unmask = None if topoh is None else topoh.unmask
        self._capture_node = capture_node
        # The pair is cut to 99 characters, a bare name is not (spec 3.7).
        self._node = lru_cache(maxsize=4_096)(lambda capture_id: f"{capture_node}:{capture_id}"[:99])
        self._twin = None if _twin is None else self._make_twin(_twin.SipTwin, slots)

    def _make_twin(self, make: Callable[..., Any], slots: dict[str, int]) -> Any:
        """The compiled twin of this extractor; None if the headers that it is to look at are too many or too odd."""
        spellings = slots | {short: slots[name] for short, name in COMPACT_FORMS.items() if name in slots}
        try:
            return make(
                names={name.encode(): slot for name, slot in spellings.items()},
                aleg=self._aleg,
                custom=self._custom,
                requires=self._require_headers,
                unmask=self._unmask,
                node_of=self._node,
                capture_node=self._capture_node,
                date_of=date_text,
                record_type=SipRecord,
                unset=UNSET,
                columns=[(name, SipRecord.__annotations__[name] != "str") for name in SIP_COLUMNS],
                envelope=ENVELOPE_KEYS[1:],
                proto_of=_PROTO_OF_IP,
                readers=(
                    read_request_uri, read_tagged_address, read_address, read_contact, branch_of, digest_user,
                    originator,
                ),
            )  # fmt: skip
        except ValueError:
            return None

    def record(self, message: Message, received_us: int) -> Record:
        """Make the record of one message.

        Args:
            message: what a source yielded.
            received_us: its time if the sender gave none, microseconds since 1970 UTC.

        Raises:
            DecodeError: ``no_payload``, ``not_sip``, or ``missing_header`` (only with ``require_headers``).
        """
        if self._twin is not None:
            made: SipRecord | None = self._twin.record(message, received_us)
            if made is not None:
                return made
        return self.reference_record(message, received_us)

    def reference_record(self, message: Message, received_us: int) -> Record:
        """What ``record`` does, without the compiled twin."""
        payload = message.payload
        if not payload:
            raise DecodeError("no_payload")
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            text = payload.decode("utf-8", "replace")
        ts_us = message.ts_us
        if ts_us and message.hep_version > 1:
            node = self._node(message.capture_id)
        else:
            node = self._capture_node
            ts_us = ts_us or received_us
        if message.payload_type == SIP_PAYLOAD:
            record: Record = self._sip_record(message, ts_us, node, text)
        else:
            record = _report_record(message, ts_us, node, text)
        if not record.proto and message.ip_protocol:
            record.ip_protocol = message.ip_protocol
        if "\ufffd" in text and text.encode() != payload:
            record.msg_b64 = payload
        if message.extra is not None:
            for key, value in message.extra.items():
                setattr(record, key, value)
        return record

    @property
    def writes_lines(self) -> bool:
        """Whether ``lines`` can be called: there is a compiled twin."""
        return self._twin is not None

    def lines(
        self, messages: Sequence[Message], received_us: int, other: Callable[[Message], bytes], seen: Seen | None
    ) -> tuple[bytes, int]:
        """The records of messages as NDJSON lines, at once.

        Args:
            messages: in their order.
            received_us: as for ``record``.
            other: makes the line of a message that is not usual; b"" if it has none.
            seen: what is seen in all others is added to it.

        Returns:
            The lines, and how many of them ``other`` has not made: all these are SIP.
        """
        assert self._twin is not None
        made: tuple[bytes, int] = self._twin.lines(messages, received_us, other, seen)
        return made

    def _sip_record(self, message: Message, ts_us: int, node: str, text: str) -> SipRecord:
        kind, method, uri_or_reason, slots = self._read_head(text)
        if self._require_headers and "" in slots[1:6]:
            raise DecodeError("missing_header")
        (_, via, from_, to, callid, cseq, contact, content_type, user_agent, identity, authorization,
         proxy_authorization, *rare) = slots  # fmt: skip
        if self._unmask is not None:
            callid = self._unmask(callid)
        reason = diversion = callid_aleg = rtp_stat = originator_ip = custom1 = custom2 = custom3 = ""
        originator_port = 0
        if rare != self._nothing_rare or self._configured_usual:
            reason, diversion, preferred, party, oip = slots[_FIRST_RARE:_FIRST_RTP]
            identity = identity or preferred or party  # the next one only if there is none (spec 3.5)
            originator_ip, originator_port = originator(oip)
            rtp_stat = _first(slots, _RTP_SLOTS)
            callid_aleg = _first(slots, self._aleg)
            custom1, custom2, custom3 = (slots[slot] for slot in self._custom)
        ruri = ruri_user = ruri_domain = reply_reason = ""
        if kind == REQUEST:
            ruri = uri_or_reason
            ruri_user, ruri_domain = read_request_uri(ruri)
        else:
            reply_reason = uri_or_reason
        from_user, from_domain, from_tag = read_tagged_address(from_)
        to_user, to_domain, to_tag = read_tagged_address(to)
        contact_user, contact_ip, contact_port = read_contact(contact) if contact else ("", "", 0)
        auth = proxy_authorization or authorization
        return SipRecord(
            VERSION, "sip", date_text(ts_us // 1_000_000), ts_us, method, reply_reason, ruri, ruri_user,
            from_user, from_tag, to_user, to_tag, read_address(identity)[0] if identity else "", contact_user,
            digest_user(auth) if auth else "", callid, callid_aleg, via, branch_of(via), cseq, reason,
            content_type, auth, user_agent, message.source_ip, message.source_port, message.destination_ip,
            message.destination_port, contact_ip, contact_port, originator_ip, originator_port,
            _PROTO_OF_IP.get(message.ip_protocol, 0), message.family, rtp_stat, kind, node,
            callid if message.correlation_id is None else message.correlation_id, from_domain, to_domain,
            ruri_domain, diversion, text, custom1, custom2, custom3, UNSET, SIP_PAYLOAD,
            message.hep_version or UNSET, message.capture_id if message.hep_version > 1 else UNSET,
        )  # fmt: skip


def read_contact(value: str) -> tuple[str, str, int]:
    """User, host and port of the first contact; user ``*`` for the star (spec 3.5)."""
    user, host, port = read_address(value)
    if host or value.strip() != "*":
        return user, host, port_number(port) if port else 0
    return "*", "", 0


def _first(slots: list[str], wanted: tuple[int, ...]) -> str:
    for slot in wanted:
        if slots[slot]:
            return slots[slot]
    return ""


def _report_record(message: Message, ts_us: int, node: str, text: str) -> ReportRecord:
    return ReportRecord(
        VERSION, "report", date_text(ts_us // 1_000_000), ts_us, message.correlation_id or "",
        message.source_ip, message.source_port, message.destination_ip, message.destination_port,
        _PROTO_OF_IP.get(message.ip_protocol, 0), message.family,
        _TYPE_OF_REPORT.get(message.payload_type, message.payload_type), node, text,
        UNSET, message.payload_type, message.hep_version or UNSET,
        message.capture_id if message.hep_version > 1 else UNSET,
    )  # fmt: skip
