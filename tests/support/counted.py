"""Reasons by which sipcap counts, as its code says them: ``rejected["gap"] += 1``, ``DecodeError("gap")`` and so on."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.conftest import ROOT

_CALLS: Final = {
    "filtered": frozenset[str](),
    "rejected": frozenset({
        "DecodeError", "HookFailed", "Found", "reject", "_lost", "_lose", "_refuse", "_cut", "_search_from_here",
    }),
    "dropped": frozenset({"_drop"}),
}  # fmt: skip
"""Functions that count by a reason, or hand it to who does."""

_ELSEWHERE: Final = (
    "service/control/", "exporting/", "doctor/", "devtools/", "wire/pcap", "wire/capture_framer", "sources/pcap",
    "wire/link", "wire/layer2", "wire/ip.", "wire/tcp.", "wire/sctp", "wire/packet", "wire/tunnels", "wire/unwrap",
)  # fmt: skip
"""Beginnings of files in which such words tell of something else: requests of clients, files of captures, packets."""


def counted_reasons(counter: str) -> set[str]:
    """The reasons that a live capture, or what stores, can have under ``filtered``, ``rejected`` or ``dropped``."""
    package = ROOT / "sipcap"
    files = (path for path in package.rglob("*.py") if not str(path.relative_to(package)).startswith(_ELSEWHERE))
    return {reason for path in files for reason in _reasons(path, counter)}


def _reasons(path: Path, counter: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add) and isinstance(node.target, ast.Subscript):
            if _name(node.target.value) == counter:
                yield from _texts([node.target.slice])
        elif isinstance(node, ast.Call) and _name(node.func) in _CALLS[counter]:
            yield from _texts(node.args)
        elif counter == "rejected" and isinstance(node, ast.Yield) and path.name == "stream_readers.py":
            yield from _texts([] if node.value is None else [node.value])


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _texts(nodes: Iterable[ast.expr]) -> Iterator[str]:
    for node in nodes:
        for each in ast.walk(node):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield each.value
