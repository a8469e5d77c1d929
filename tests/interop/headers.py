"""Just enough reading of a message for the predicates of the tolerated differences."""

from __future__ import annotations

import re

_FOLD = re.compile(rb"\r?\n(?=[ \t])")


def values(payload: bytes, *names: str) -> list[bytes]:
    """Return the values of all headers with one of *names* (any case), unfolded, in the order of the message."""
    head = re.split(rb"\n\r?\n", payload.lstrip(b"\r\n\t \0"), maxsplit=1)[0]
    wanted = {name.lower().encode() for name in names}
    found = []
    for line in _FOLD.sub(b"", head).split(b"\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() in wanted:
            found.append(value.strip())
    return found


def spellings(payload: bytes, name: str) -> list[bytes]:
    """Return how *name* is spelt where the message has it."""
    return re.findall(rb"(?im)^(" + re.escape(name.encode()) + rb")[ \t]*:", payload)


def first(payload: bytes, *names: str) -> bytes:
    """Return the first value of *names*, empty if there is none."""
    return next(iter(values(payload, *names)), b"")
