"""Messages that only one side stores, each with a named reason.

Most are refused by the oracle: the module stores what Kamailio's parser accepts, sipcap stores a message with
what can be read from it (design 1.4, ``--no-capture-bad-msgs``; spec defect 14). What the oracle logged tells
why it refused; the first entry that covers an outcome names it.
"""

from __future__ import annotations

import re

from .compare import Outcome
from .tolerance import Refusal
from .unmended import REFUSALS as UNMENDED


def _logged(name: str, complaint: str, reason: str) -> Refusal:
    pattern = re.compile(complaint)
    return Refusal(name, reason, lambda outcome: pattern.search(outcome.complaint) is not None)


def _sent_as(name: str, case: str, reason: str) -> Refusal:
    return Refusal(name, reason, lambda outcome: outcome.case.name == case)


BY_ORACLE = (
    _sent_as(
        "compressed",
        "framing: payload compressed",
        "the module ignores chunk 16, sipcap inflates it: spec 2.5, defect 7",
    ),
    _sent_as(
        "line_end_cr_cr_lf",
        "spelling: CR CR LF line ends",
        "Kamailio takes CR CR LF for the end of the headers, sipcap for a line end: defect 14",
    ),
    _logged("identifier", r"not supported version .* v:\[69\]", "EEP1 and EEP3 are HEP3 too: spec 2.1, defect 35"),
    _logged("few_chunks", r"Not all elements", "what a packet lacks is empty in sipcap's row: spec 2.5"),
    _logged("no_address", r"NO IP's set", "what a packet lacks is empty in sipcap's row: spec 2.5"),
    _logged("first_line", "parse_first_line: bad message", "odd blanks or no version in the first line: spec 3.2"),
    _logged("bad_via", "bad via", "a Via that Kamailio cannot parse: spec 3.2"),
    _logged("no_via", "no via found", "no Via: spec 3.2"),
    _logged("header_line", "invalid (header name|start of header name)|no eol", "a line that is no header: spec 3.2"),
    _logged("twice", r"duplicate \S+ header field", "a header that may be there once only: spec 3.2"),
    _logged("bad_cseq", "bad cseq", "a CSeq without number or method: spec 3.2"),
    _logged("bad_from", "bad (From header|from dropping)", "a From that Kamailio cannot parse: spec 3.4"),
    _logged("bad_to", "bad to (header|dropping)", "a To that Kamailio cannot parse: spec 3.4"),
    _logged("bad_contact", "bad contact dropping|error while parsing <Contact", "an unusable Contact: spec 3.5"),
    _logged("bad_number", "bad (content_length|retry_after) header", "a number that is none, or too large: spec 3.2"),
    _logged("missing_header", "required headers not found", "From, To, Call-ID or CSeq is missing: spec 3.2"),
    _logged("no_header", "core parsing of SIP message failed", "a first line and nothing else: spec 3.2"),
    # A request URI is refused without a word at this log level.
    _logged("bad_request_uri", r"\A(?!.*ERROR)", "a request URI that Kamailio cannot parse: spec 3.4"),
)

BY_PRODUCT = (
    _sent_as(
        "short_chunk",
        "framing: capture id too short",
        "the module reads on into the next chunk, sipcap checks every length: spec 2.4, defect 2, design part 2",
    ),
)


def refusal(outcome: Outcome) -> Refusal | None:
    """Return the entry for a message that only one side stored."""
    if outcome.oracle is None and outcome.product is not None:
        return _first(BY_ORACLE, outcome)
    if outcome.oracle is not None and outcome.product is None:
        return _first((*BY_PRODUCT, *UNMENDED), outcome)
    return None


def _first(entries: tuple[Refusal, ...], outcome: Outcome) -> Refusal | None:
    return next((entry for entry in entries if entry.covers(outcome)), None)
