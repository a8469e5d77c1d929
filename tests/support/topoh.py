"""Masks Call-IDs as Kamailio's topoh does (spec 10.4), bit by bit: the way back of ``sipcap.wire.topoh``."""

from __future__ import annotations

ALPHABETS = {
    "aL9.n8~Hm]Z": "y0GxFtSUVeTOMWzHPam.jKR93gCoNpkicrJBqIEhvYbnd175AfLl4u6wZs-X8Q2D",
    "secret": "KqN2loYer3mOwCi-Ldk5Ds1cxQ.XhBM94tbUzA7HRf80GvjIWEFPJTu6SaVgZypn",
    "x": "6SIHcGOPMxQYB825Ckyqg1sjUav0wdi-ZVmnehltAFz7KrEboJWX4pN.9fuDR3TL",
}
"""Keys and the alphabets that they make (spec 10.3)."""


def masked(callid: bytes, *, key: str = "aL9.n8~Hm]Z", prefix: str = "!!:") -> str:
    """What topoh makes of a Call-ID."""
    bits = "".join(f"{byte:08b}" for byte in callid)
    groups = [bits[at : at + 6].ljust(6, "0") for at in range(0, len(bits), 6)]
    text = "".join(ALPHABETS[key][int(group, 2)] for group in groups)
    return f"{prefix}{text}{'*' * (-len(text) % 4)}"
