"""The names of the tables of each schema, where the user names none (design 1.6; spec 4.5; homer.md 2.1 and 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sipcap.errors import DecodeError
from sipcap.record import ReportRecord, SipRecord
from sipcap.wire.sip import SipHeadReader

SIPCAPTURE: Final = "sipcapture"
HOMER5: Final = "homer5"
HOMER7: Final = "homer7"
SCHEMAS: Final = (SIPCAPTURE, HOMER5, HOMER7)

DEFAULT_TABLE: Final = "sip_capture"

_CALL_METHODS: Final = frozenset({"INVITE", "UPDATE", "BYE", "ACK", "PRACK", "REFER", "CANCEL", "INFO"})
_HEP_TYPE_OF_TYPE: Final = {3: 5, 2: 32, 4: 99, 5: 100}  # the module's ``type`` to the HEP type (spec 2.5.1)
_REPORTS: Final = {5: "rtcp_capture", 100: "logs_capture"}
# The days and the _all_ are what HOMER 5's reader looks for (homer.md 2.2), and days can be dropped; the undated
# names of design 1.6 are Kamailio's, and those of the schema ``sipcapture``. DNS and ISUP are reports like the rest:
# nobody creates or reads dns_capture_all, and isup_capture_all has columns of its own.
_HOMER5_REPORTS: Final = {5: "rtcp_capture_all_%Y%m%d", 100: "logs_capture_all_%Y%m%d"}
_HOMER7_REPORTS: Final = {hep_type: f"hep_proto_{hep_type}_default" for hep_type in (5, 53, 54, 100)}

_event_of = SipHeadReader(("event",)).read


def hep_type(record: ReportRecord) -> int:
    """The HEP type of a report: as it was sent, else what the module's ``type`` stands for."""
    if isinstance(record.payload_type, int):
        return record.payload_type
    return _HEP_TYPE_OF_TYPE.get(record.type, record.type)


def transaction_method(record: SipRecord) -> str:
    """The method of a request, or the one that a reply answers, as its CSeq says; "" if that is not there."""
    if not record.method.isdecimal():
        return record.method
    parts = record.cseq.split(None, 2)
    return parts[1] if len(parts) > 1 else ""


def _homer5_sip(record: SipRecord) -> str:
    method = transaction_method(record)
    if method == "REGISTER":
        return "sip_capture_registration_%Y%m%d"
    if method in _CALL_METHODS or (method == "NOTIFY" and _is_about_refer(record)):
        return "sip_capture_call_%Y%m%d"
    return "sip_capture_rest_%Y%m%d"


def _is_about_refer(record: SipRecord) -> bool:
    """Whether ``Event`` has ``refer;`` in it, as the usual script asks (without regard to case)."""
    try:
        _, _, _, (_, event) = _event_of(record.msg)
    except DecodeError:
        return False
    return "refer;" in event.lower()


def _homer7_sip(record: SipRecord) -> str:
    method = transaction_method(record)
    if method == "REGISTER":
        return "hep_proto_1_registration"
    return "hep_proto_1_call" if method in _CALL_METHODS or method == "NOTIFY" else "hep_proto_1_default"


SIP_PATTERN: Final[Mapping[str, Callable[[SipRecord], str]]] = {
    SIPCAPTURE: lambda _record: DEFAULT_TABLE,
    HOMER5: _homer5_sip,
    HOMER7: _homer7_sip,
}
"""By schema: the table pattern of a SIP record."""

REPORT_PATTERN: Final[Mapping[str, Callable[[ReportRecord], str]]] = {
    SIPCAPTURE: lambda record: _REPORTS.get(hep_type(record), "report_capture"),
    HOMER5: lambda record: _HOMER5_REPORTS.get(hep_type(record), "report_capture_all_%Y%m%d"),
    HOMER7: lambda record: _HOMER7_REPORTS.get(hep_type(record), "hep_proto_35_default"),
}
"""By schema: the table pattern of a report."""
