"""Every way in which a row of the product may differ from the oracle's, each with a name and a reason.

An entry covers one column of one outcome. It must be as narrow as the reason: what an entry does not
cover is a defect, and an entry that no input needs fails a test.
"""

from __future__ import annotations

from . import predicates
from .predicates import BY_NAME, Pair
from .tables import COLUMNS
from .tolerance import Difference


def explanation(pair: Pair, entries: tuple[Difference, ...]) -> Difference | None:
    """Return the one of *entries* that covers *pair*, if one does."""
    return next((entry for entry in entries if pair.column in entry.columns and entry.covers(pair)), None)


_CONTACT = frozenset({"contact_user", "contact_ip", "contact_port"})
_USERS = frozenset({"ruri_user", "from_user", "to_user", "contact_user", "pid_user"})
_HOSTS = frozenset({"ruri_domain", "from_domain", "to_domain", "contact_ip"})
_TEXT = frozenset(COLUMNS) - {"msg"}

TOLERATED = (
    Difference(
        "date_julian",
        frozenset({"date"}),
        "Kamailio's SQLite driver writes a Julian day half a second early, sipcap text in UTC: spec 3.7, design 1.6",
        predicates.same_second,
    ),
    Difference(
        "receive_time",
        frozenset({"date", "micro_ts"}),
        "without a time in the packet both take the time of arrival, which is not the same: spec 2.8",
        predicates.both_of_arrival,
    ),
    Difference(
        "null_is_empty",
        _TEXT,
        "where the module's pointer stays null SQLite gets NULL; sipcap has '' everywhere: spec 3.1",
        predicates.null_for_absent,
    ),
    Difference(
        "auth_filled",
        frozenset({"auth"}),
        "the module never fills auth; sipcap puts the credentials there: spec 3.1, defect 13",
        predicates.credentials,
    ),
    Difference(
        "contact_first",
        _CONTACT,
        "5.6.3 takes the last contact of a header, HEAD and sipcap the first: spec 0.1, defect 36",
        predicates.other_contact,
    ),
    Difference(
        "replacement_character",
        _TEXT,
        "columns other than msg are valid text in sipcap, bytes that are not become U+FFFD: design 1.5",
        predicates.replaced,
    ),
    Difference(
        "header_name_case",
        frozenset(BY_NAME),
        "look-ups by name miss another case of the first letter in the module, not in sipcap: spec 3.2, defect 13",
        predicates.lower_first_letter,
    ),
    Difference(
        "originator_overwritten",
        frozenset({"originator_ip", "msg"}),
        "the module puts a NUL over the next colon behind X-OIP, sipcap leaves the message alone: spec 3.6, defect 12",
        predicates.overwritten,
    ),
    Difference(
        "originator_port",
        frozenset({"originator_port"}),
        "sipcap takes the port behind the final colon only, IPv6 in brackets: spec 3.6, defect 12",
        predicates.originator_port,
    ),
    Difference(
        "protocol_undefined",
        frozenset({"proto"}),
        "the version 3 receiver leaves anything but UDP and TCP uninitialised; sipcap maps it: spec 2.5, defect 11",
        predicates.undefined_protocol,
    ),
    Difference(
        "correlation_id_end",
        frozenset({"correlation_id"}),
        "the module reads to the next NUL and so into the next chunk's vendor id: spec 2.5.2, defect 10",
        predicates.swallowed_vendor,
    ),
    Difference(
        "short_time_block",
        frozenset({"method", "msg"}),
        "a version 2 time block of 10 bytes costs the module the message's first two; sipcap finds the start: spec 2.3",
        predicates.cut_by_two,
    ),
    Difference(
        "identity_broken",
        frozenset({"pid_user"}),
        "the module drops an identity it cannot parse, or takes the next header; sipcap reads what can be read of the "
        "first: spec 3.5, defect 14",
        predicates.broken_identity,
    ),
    Difference(
        "credentials_broken",
        frozenset({"auth_user"}),
        "the module drops credentials with a broken parameter anywhere; sipcap still reads the user: defect 14",
        predicates.broken_credentials,
    ),
    Difference(
        "parameter_twice",
        frozenset({"from_tag", "to_tag", "via_1_branch", "auth_user"}),
        "of a parameter given twice, which RFC 3261 7.3.1 forbids, the module keeps the last and sipcap the first",
        predicates.repeated_parameter,
    ),
    Difference(
        "tag_with_comma",
        frozenset({"from_tag", "to_tag"}),
        "a comma is no part of a token (RFC 3261 25.1), so it ends a tag in sipcap, not in the module",
        predicates.cut_at_comma,
    ),
    Difference(
        "escaped_quote",
        frozenset({"auth_user"}),
        "a quote behind a backslash does not end a quoted string (RFC 3261 25.1), but it does in the module",
        predicates.escaped_quote,
    ),
    Difference(
        "lone_carriage_return",
        _TEXT,
        "a CR at the start of a line ends the headers in Kamailio; only CRLF does (RFC 3261 7), and sipcap reads on",
        predicates.behind_carriage_return,
    ),
    Difference(
        "phone_in_capitals",
        _USERS,
        "the module wants user=phone in small letters; parameters compare without case: RFC 3261 19.1.4",
        predicates.phone_in_capitals,
    ),
    Difference(
        "tel_with_host",
        _USERS,
        "a tel URI has no host (RFC 3966), so sipcap leaves an @ in its number; the module drops what is before it",
        predicates.tel_with_host,
    ),
    Difference(
        "urn_without_body",
        _USERS | _HOSTS,
        "5.6.3 parses a URN like user@host, so one part alone is a host; it became the user in 6.0: spec 0.1",
        predicates.odd_urn,
    ),
)
