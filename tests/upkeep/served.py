"""Carrying steps out in the databases of servers."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence

from sipcap.patterns import read_patterns
from sipcap.record import Record, date_text
from sipcap.sinks.base import Row
from sipcap.tables import Piece, Step
from sipcap.upkeep.base import Upkeep
from sipcap.upkeep.carrying import Outcome, carry_out
from sipcap.upkeep.registry import open_upkeep
from tests.calls.helpers import SECOND
from tests.support.databases import ServedDatabase
from tests.support.messages import BASE_TS_US

BASE_S = BASE_TS_US // SECOND
DAY_S = 86_400


def store(database: ServedDatabase, tables: Mapping[str, Sequence[Record]]) -> None:
    """Store records, as ``sipcap store`` does."""
    sink = database.sink()
    sink.write(uuid.uuid4().hex, {name: [Row(one, {}) for one in records] for name, records in tables.items()})
    sink.close()


@contextlib.contextmanager
def upkeep_of(url: str) -> Iterator[Upkeep]:
    """An open upkeep."""
    upkeep = open_upkeep(url)
    try:
        yield upkeep
    finally:
        upkeep.close()


def do(url: str, *steps: Step, table: str = "a|b|x|t|s_%Y%m%d") -> list[Outcome]:
    """Carry steps out."""
    with upkeep_of(url) as upkeep:
        return list(carry_out(upkeep, steps, read_patterns([table])))


def pieces_of(url: str, *names: str) -> dict[str, Piece]:
    """What upkeep sees of tables, by the name of the partition, or of the table."""
    with upkeep_of(url) as upkeep:
        return {piece.partition or piece.table: piece for piece in upkeep.look(set(names))}


def count(database: ServedDatabase, table: str) -> int:
    """Rows of a table."""
    return int(database.execute(f"SELECT count(*) AS n FROM {database.quote(table)}")[0]["n"])


def day(number: int) -> str:
    """The name of a day's table, counted from that of BASE_TS_US."""
    return f"s_{date_text(BASE_S + number * DAY_S)[:10].replace('-', '')}"
