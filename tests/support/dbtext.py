"""Reads tables of Kamailio's db_text byte by byte, as control.md 4 has them: a second opinion on the writer."""

from __future__ import annotations

from pathlib import Path

Cell = int | bytes | None
_UNESCAPED = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\", ":": b":", "0": b"\0"}


def read_table(path: Path) -> list[dict[str, Cell]]:
    """All rows of a table; what is empty is None."""
    data = path.read_bytes()
    assert data.endswith(b"\n"), "the last line is not complete"
    first, *lines = data[:-1].split(b"\n")
    columns = [_definition(text) for text in first.decode().split(")")[:-1]]
    return [_row(line, columns) for line in lines]


def _definition(text: str) -> tuple[str, bool]:
    name, rest = text.split("(")
    kind = rest.strip()[0].lower()
    assert kind in "idsbt"
    return name.strip(), kind in "it"


def _row(line: bytes, columns: list[tuple[str, bool]]) -> dict[str, Cell]:
    fields = [bytearray()]
    characters = iter(line.decode("latin-1"))
    for character in characters:
        if character == ":":
            fields.append(bytearray())
        elif character == "\\":
            fields[-1] += _UNESCAPED[next(characters)]
        else:
            fields[-1] += character.encode("latin-1")
    assert len(fields) == len(columns)
    return {name: _cell(bytes(field), is_int=is_int) for field, (name, is_int) in zip(fields, columns, strict=True)}


def _cell(field: bytes, *, is_int: bool) -> Cell:
    return None if not field else int(field) if is_int else field
