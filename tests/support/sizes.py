"""How much memory a structure really holds."""

from __future__ import annotations

import sys
from typing import Any

import msgspec


def held_bytes(root: Any) -> int:
    """The bytes of an object and of everything that it leads to, each once; classes and modules are not counted."""
    seen: set[int] = set()
    waiting = [root]
    size = 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type) or callable(each):
            continue
        seen.add(id(each))
        size += sys.getsizeof(each)
        if isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple, set, frozenset)):
            waiting += each
        elif isinstance(each, msgspec.Struct):
            waiting += [getattr(each, name) for name in each.__struct_fields__]
        elif hasattr(each, "__dict__"):
            waiting.append(vars(each))
    return size
