"""Messages that the oracle refuses and the product stores, by what the oracle logged about them.

The module stores what Kamailio's parser accepts; sipcap stores a message with what can be read from it
(design 1.4, ``--no-capture-bad-msgs``; spec defect 14). The first entry that matches names the refusal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .compare import Outcome


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason for which the oracle stores nothing and the product a row."""

    name: str
    complaint: re.Pattern[str]
    reason: str


def _refusal(name: str, complaint: str, reason: str) -> Refusal:
    return Refusal(name, re.compile(complaint), reason)


REFUSALS = (
    _refusal("first_line", "parse_first_line: bad message", "odd blanks or a missing version in the first line: 3.2"),
    _refusal("bad_via", "bad via", "a Via that Kamailio cannot parse: spec 3.2"),
    _refusal("no_via", "no via found", "no Via: spec 3.2"),
    _refusal("header_line", "invalid (header name|start of header name)|no eol", "a line that is no header: spec 3.2"),
    _refusal("twice", r"duplicate \S+ header field", "a header that may be there once only: spec 3.2"),
    _refusal("bad_cseq", "bad cseq", "a CSeq without number or method: spec 3.2"),
    _refusal("bad_from", "bad (From header|from dropping)", "a From that Kamailio cannot parse: spec 3.4"),
    _refusal("bad_to", "bad to (header|dropping)", "a To that Kamailio cannot parse: spec 3.4"),
    _refusal("bad_contact", "bad contact dropping|error while parsing <Contact", "an unusable Contact: spec 3.5"),
    _refusal("bad_number", "bad (content_length|retry_after) header", "a number that is none, or too large: spec 3.2"),
    _refusal("missing_header", "required headers not found", "From, To, Call-ID or CSeq is missing: spec 3.2"),
    # A request URI is refused without a word at this log level.
    _refusal("bad_request_uri", r"\A(?!.*ERROR)", "a request URI that Kamailio cannot parse: spec 3.4"),
)


def refusal(outcome: Outcome) -> Refusal | None:
    """Return the entry for a message that only the product stored."""
    return next((entry for entry in REFUSALS if entry.complaint.search(outcome.complaint)), None)
