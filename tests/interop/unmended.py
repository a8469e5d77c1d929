"""Differences that are defects of sipcap and not yet mended: each goes when its defect goes.

They are told by the input, so that the same defect in any other input still fails. A test fails as soon as an
entry is no longer needed.
"""

from __future__ import annotations

from .tolerance import Difference, Refusal

DIFFERENCES: tuple[Difference, ...] = ()

REFUSALS: tuple[Refusal, ...] = ()

# With --no-capture-bad-msgs sipcap takes an empty Call-ID for a missing one; the module stores it.
REFUSED_IF_STRICT = {"spelling: Call-ID:", "spelling: Call-ID empty"}
