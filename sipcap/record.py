"""The flat rows that travel between the stages: SipRecord and ReportRecord.

The fields before ``msg_b64`` are the module's columns in its insert order (spec 3.1 and 3.9); those
behind it are the rest of the envelope. This order is the NDJSON key order (design 1.5).
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import astuple

VERSION: Final = 1
SIP_COLUMNS: Final = (
    "date", "micro_ts", "method", "reply_reason", "ruri", "ruri_user", "from_user", "from_tag", "to_user",
    "to_tag", "pid_user", "contact_user", "auth_user", "callid", "callid_aleg", "via_1", "via_1_branch", "cseq",
    "reason", "content_type", "auth", "user_agent", "source_ip", "source_port", "destination_ip",
    "destination_port", "contact_ip", "contact_port", "originator_ip", "originator_port", "proto", "family",
    "rtp_stat", "type", "node", "correlation_id", "from_domain", "to_domain", "ruri_domain", "diversion", "msg",
    "custom_field1", "custom_field2", "custom_field3",
)  # fmt: skip
"""The module's 44 columns (spec 3.1)."""

REPORT_COLUMNS: Final = (
    "date", "micro_ts", "correlation_id", "source_ip", "source_port", "destination_ip", "destination_port",
    "proto", "family", "type", "node", "msg",
)  # fmt: skip
"""The 12 columns of a report row (spec 3.9)."""

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""What every database can hold; a larger number in NDJSON is a bad line."""


class SipRecord(Struct, gc=False, forbid_unknown_fields=True):
    """One SIP message: the module's 44 columns, then the rest of its envelope.

    A key that is UNSET is not known and absent in NDJSON. ``msg_b64`` holds the message's bytes where
    ``msg``, always valid Unicode, does not tell them exactly.
    """

    v: Literal[1]
    kind: Literal["sip"]
    date: str
    micro_ts: Int64
    method: str
    reply_reason: str
    ruri: str
    ruri_user: str
    from_user: str
    from_tag: str
    to_user: str
    to_tag: str
    pid_user: str
    contact_user: str
    auth_user: str
    callid: str
    callid_aleg: str
    via_1: str
    via_1_branch: str
    cseq: str
    reason: str
    content_type: str
    auth: str
    user_agent: str
    source_ip: str
    source_port: Int64
    destination_ip: str
    destination_port: Int64
    contact_ip: str
    contact_port: Int64
    originator_ip: str
    originator_port: Int64
    proto: Int64
    family: Int64
    rtp_stat: str
    type: Int64
    node: str
    correlation_id: str
    from_domain: str
    to_domain: str
    ruri_domain: str
    diversion: str
    msg: str
    custom_field1: str
    custom_field2: str
    custom_field3: str
    msg_b64: bytes | UnsetType = UNSET
    payload_type: Int64 | UnsetType = UNSET
    hep_version: Int64 | UnsetType = UNSET
    capture_id: Int64 | UnsetType = UNSET
    node_name: str | UnsetType = UNSET
    vlan: Int64 | UnsetType = UNSET
    tos: Int64 | UnsetType = UNSET
    source_mac: str | UnsetType = UNSET
    destination_mac: str | UnsetType = UNSET
    ether_type: Int64 | UnsetType = UNSET
    tcp_flags: Int64 | UnsetType = UNSET
    ip_protocol: Int64 | UnsetType = UNSET
    keep_alive_s: Int64 | UnsetType = UNSET
    mos: Int64 | UnsetType = UNSET
    r_factor: Int64 | UnsetType = UNSET
    jitter: Int64 | UnsetType = UNSET
    geo_location: str | UnsetType = UNSET
    transaction_type: str | UnsetType = UNSET
    payload_json_keys: str | UnsetType = UNSET
    tags: str | UnsetType = UNSET
    tag_type: Int64 | UnsetType = UNSET
    event_type: Int64 | UnsetType = UNSET
    group_id: str | UnsetType = UNSET
    vendor_chunks: list[dict[str, int | bytes]] | UnsetType = UNSET
    original_ts_us: Int64 | UnsetType = UNSET


class ReportRecord(Struct, gc=False, forbid_unknown_fields=True):
    """One non-SIP message (RTCP, log, MOS ...): the 12 columns of a report row, then the envelope."""

    v: Literal[1]
    kind: Literal["report"]
    date: str
    micro_ts: Int64
    correlation_id: str
    source_ip: str
    source_port: Int64
    destination_ip: str
    destination_port: Int64
    proto: Int64
    family: Int64
    type: Int64
    node: str
    msg: str
    msg_b64: bytes | UnsetType = UNSET
    payload_type: Int64 | UnsetType = UNSET
    hep_version: Int64 | UnsetType = UNSET
    capture_id: Int64 | UnsetType = UNSET
    node_name: str | UnsetType = UNSET
    vlan: Int64 | UnsetType = UNSET
    tos: Int64 | UnsetType = UNSET
    source_mac: str | UnsetType = UNSET
    destination_mac: str | UnsetType = UNSET
    ether_type: Int64 | UnsetType = UNSET
    tcp_flags: Int64 | UnsetType = UNSET
    ip_protocol: Int64 | UnsetType = UNSET
    keep_alive_s: Int64 | UnsetType = UNSET
    mos: Int64 | UnsetType = UNSET
    r_factor: Int64 | UnsetType = UNSET
    jitter: Int64 | UnsetType = UNSET
    geo_location: str | UnsetType = UNSET
    transaction_type: str | UnsetType = UNSET
    payload_json_keys: str | UnsetType = UNSET
    tags: str | UnsetType = UNSET
    tag_type: Int64 | UnsetType = UNSET
    event_type: Int64 | UnsetType = UNSET
    group_id: str | UnsetType = UNSET
    vendor_chunks: list[dict[str, int | bytes]] | UnsetType = UNSET
    original_ts_us: Int64 | UnsetType = UNSET


_MARKS: Final = {"to_mode": "_mode", "to_table": "_table"}


class MarkedSip(SipRecord, gc=False, forbid_unknown_fields=True, rename=_MARKS):
    """A SipRecord that names the capture mode and the table that it is for."""

    to_mode: str | UnsetType = UNSET
    to_table: str | UnsetType = UNSET


class MarkedReport(ReportRecord, gc=False, forbid_unknown_fields=True, rename=_MARKS):
    """A ReportRecord that names the capture mode and the table that it is for."""

    to_mode: str | UnsetType = UNSET
    to_table: str | UnsetType = UNSET


ENVELOPE_KEYS: Final = tuple(SipRecord.__struct_fields__[2 + len(SIP_COLUMNS) :])
"""Keys behind the columns, the same in both kinds of record; ``msg_b64`` is the first."""

Record = SipRecord | ReportRecord


def marked(record: Record, mode: str, table: str) -> Record:
    """The record with the keys ``_mode`` and ``_table``, which say what a hook decided; "" leaves one out."""
    values = (*astuple(record), mode or UNSET, table or UNSET)
    return MarkedSip(*values) if isinstance(record, SipRecord) else MarkedReport(*values)


def unmarked(record: MarkedSip | MarkedReport) -> tuple[Record, dict[str, Any]]:
    """The record without its marks, and these as keys."""
    *values, mode, table = astuple(record)
    marks = {key: value for key, value in (("_mode", mode), ("_table", table)) if value is not UNSET}
    return (SipRecord if isinstance(record, SipRecord) else ReportRecord)(*values), marks


def message_bytes(record: Record) -> bytes:
    """The exact bytes of the captured payload."""
    return record.msg.encode() if record.msg_b64 is UNSET else record.msg_b64


@lru_cache(maxsize=1_024)
def date_text(seconds: int) -> str:
    """The ``date`` column: ``YYYY-MM-DD HH:MM:SS`` in UTC, whatever the machine's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
