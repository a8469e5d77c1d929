"""How large the tables of an SQLite file are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from sipcap.calls.readers.base import Gone
from sipcap.calls.readers.sqlite import SqliteReader
from sipcap.errors import CannotStart
from sipcap.sinks.sqlite import quote

_COUNTED_BYTES: Final = 512 << 20
"""Up to here every page of the file is looked at: 0.1 s for 317 MB (2026-11, warm), minutes for 20 GB on a disk."""
_SAMPLES: Final = 16
_ROW_HEAD_BYTES: Final = 60  # 46 columns with a byte of type each, and what a row and its cell begin with


class Size(NamedTuple):
    """Of a table with its indexes; *exact* unless guessed from a few rows."""

    bytes: int
    rows: int
    exact: bool


def sizes_of(reader: SqliteReader, names: Collection[str]) -> dict[str, Size]:
    """Sizes and rows of tables; what is gone is left out."""
    ((pages, free, page_size),) = reader.execute(
        "SELECT page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
        (),
    )
    if pages * page_size <= _COUNTED_BYTES:
        try:
            return _counted(reader, names)
        except CannotStart:
            pass  # this SQLite has no dbstat
    return _guessed(reader, names, (pages - free) * page_size)


def _counted(reader: SqliteReader, names: Collection[str]) -> dict[str, Size]:
    found = reader.execute(
        "SELECT schema.tbl_name, sum(stat.pgsize),"
        " sum(CASE WHEN schema.type = 'table' AND stat.pagetype = 'leaf' THEN stat.ncell ELSE 0 END)"
        " FROM dbstat AS stat JOIN sqlite_schema AS schema ON schema.name = stat.name GROUP BY schema.tbl_name",
        (),
    )
    return {name: Size(size, rows, exact=True) for name, size, rows in found if name in set(names)}


def _guessed(reader: SqliteReader, names: Collection[str], used_bytes: int) -> dict[str, Size]:
    """Share what is used out among the tables, by rows and by the length of a few of them."""
    rows_of: dict[str, int] = {}
    weights: dict[str, float] = {}
    for name in names:
        try:
            rows, length = _sampled(reader, name)
        except (Gone, CannotStart):  # gone, or a table without rowid: somebody else's
            continue
        rows_of[name], weights[name] = rows, rows * length
    scale = used_bytes / max(sum(weights.values()), 1)
    return {name: Size(int(weights[name] * scale), rows, exact=False) for name, rows in rows_of.items()}


def _sampled(reader: SqliteReader, name: str) -> tuple[int, float]:
    """Rows, as the row ids tell if none was deleted between others, and the mean length of some of them."""
    table = quote(name)
    ((first, last),) = reader.execute(f"SELECT (SELECT min(rowid) FROM {table}), (SELECT max(rowid) FROM {table})", ())  # noqa: S608
    if first is None:
        return 0, 0.0
    columns = [column for (column,) in reader.execute("SELECT name FROM pragma_table_info(?)", (name,))]
    length = " + ".join(f"coalesce(length(CAST({quote(column)} AS BLOB)), 0)" for column in columns)
    total, count = 0, 0
    for sample in range(_SAMPLES):
        at = first + (last - first) * sample // _SAMPLES
        for (size,) in reader.execute(f"SELECT {length} FROM {table} WHERE rowid >= ? LIMIT 1", (at,)):  # noqa: S608
            total, count = total + size, count + 1
    return last - first + 1, total / max(count, 1) + _ROW_HEAD_BYTES
