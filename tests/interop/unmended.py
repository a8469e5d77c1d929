"""Differences that are defects of sipcap and not yet mended: each goes when its defect goes.

They are told by the input, so that the same defect in any other input still fails. A test fails as soon as an
entry is no longer needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .predicates import Pair
from .tables import COLUMNS
from .tolerance import Difference, Refusal

_TEXT = frozenset(COLUMNS) - {"msg"}
_USERS = frozenset({"ruri_user", "from_user", "to_user", "contact_user", "pid_user"})


def _input(pattern: str) -> Callable[[Pair], bool]:
    compiled = re.compile(pattern, re.DOTALL)
    return lambda pair: compiled.search(pair.outcome.case.name) is not None


DIFFERENCES = (
    Difference(
        "empty_name_learned",
        frozenset({"user_agent"}),
        "once a line like ': x' was met, an empty line ends the headers of no later message: their bodies are read too",
        _input("^spelling: headers in the body"),
    ),
    Difference(
        "first_header_empty",
        _TEXT,
        "the first header of a kind counts, even if it is empty (spec 3.2); sipcap takes the second",
        _input(r"^spelling: \S+  \+ second$"),
    ),
    Difference("tel_question_mark", _USERS, "the number of a tel URI ends at a question mark", _input(r"tel:1\?")),
    Difference(
        "branch_comment",
        frozenset({"via_1_branch"}),
        "a comment behind the branch is no part of it",
        _input(r"^spelling: Via: .*branch=x \(comment\)"),
    ),
    Difference(
        "digest_user_edges",
        frozenset({"auth_user"}),
        "the module cuts at : and @ only where something is before and behind it: :u, u: and @d stay whole",
        _input(r'username="(@d|:u|u:)"'),
    ),
    Difference(
        "reason_blanks",
        frozenset({"reply_reason"}),
        "blanks before the reason phrase are no part of it",
        _input(r"start SIP/2\.0 200 [ \t]"),
    ),
)


_ODD_START = re.compile(r'^spelling: start (F\(O|FÜ|"INVITE"|INVITE:|INVITE sip:a@b SIP/2\.0x)')

REFUSALS = (
    Refusal(
        "odd_method",
        "any word is a method to Kamailio, and it does not look at the version (spec 3.2); sipcap loses such a message",
        lambda outcome: _ODD_START.search(outcome.case.name) is not None,
    ),
)

# With --no-capture-bad-msgs sipcap takes an empty Call-ID for a missing one; the module stores it.
REFUSED_IF_STRICT = {"spelling: Call-ID:", "spelling: Call-ID empty"}
