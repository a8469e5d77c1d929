"""Does not store what SIP scanners send: by their User-Agent, or by the user that they say they are."""

from __future__ import annotations

from sipcap.hooks import Request
from sipcap.record import SipRecord

AGENTS = ("friendly-scanner", "sipvicious", "sipcli", "sundayddr", "pplsip", "vaxsipuseragent")
USERS = ("sipvicious", "nm", "nm2")


def on_request(request: Request) -> int:
    """Answer 0 for a scanner, 1 for everybody else."""
    record = request.record
    if not isinstance(record, SipRecord):
        return 1
    agent = record.user_agent.lower()
    if agent.startswith(AGENTS) or record.from_user.lower() in USERS:
        return 0
    return 1
