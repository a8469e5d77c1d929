"""What every sink of records does (``test_contract.py``), with files of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipcap.ndjson import decode_record
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, SipRecord, message_bytes
from sipcap.sinks.journal import NAME
from tests.sinks import test_contract
from tests.support.databases import Database, RowDict
from tests.support.dbtext import Cell, read_table
from tests.support.records import INTEGERS

NOT_HERE = {
    "test_write_refused_row_stores_nothing_of_the_batch",
    "test_batcher_refused_rows_are_dead_letters_alone",
    "test_ledger_keeps_the_ids_of_batches_that_wait_in_a_spool",
}
"""They want a table that refuses rows, which no file does, or ids that are kept by age and not by number."""

found = {name: test for name, test in vars(test_contract).items() if name.startswith("test_")}
globals().update({name: test for name, test in found.items() if name not in NOT_HERE})
UTC = {1_700_000_000: test_contract.UTC}


class FolderDatabase(Database):
    """A folder."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__()
        self.path = path
        self.kind = kind

    @property
    def url(self) -> str:
        """See Database."""
        return f"{self.kind}://{self.path}"

    def file(self, table: str) -> Path:
        """The file of a table."""
        return self.path / (f"{table}.ndjson" if self.kind == "ndjson" else table)

    def execute(self, statement: str) -> list[RowDict]:
        """See Database; all that can be done to a file is to remove it."""
        assert statement.startswith("DELETE FROM ")
        self.file(statement.removeprefix("DELETE FROM ")).unlink()
        return []

    def quote(self, name: str) -> str:
        """See Database."""
        return name

    def tables(self) -> set[str]:
        """See Database."""
        return {path.name.removesuffix(".ndjson") for path in self.path.glob("*")} - {NAME, "version"}

    def rows(self, table: str = "sip_capture", order: str = "") -> list[RowDict]:  # noqa: ARG002  # in order
        """See Database."""
        if self.kind == "ndjson":
            return [_row_of_line(line) for line in self.file(table).read_bytes().splitlines()]
        return [{name: _value(name, cell) for name, cell in row.items()} for row in read_table(self.file(table))]


def _row_of_line(line: bytes) -> RowDict:
    record, unknown = decode_record(line, lambda _: {})
    columns = SIP_COLUMNS if isinstance(record, SipRecord) else REPORT_COLUMNS
    keys = json.loads(line)
    envelope = {key: value for key, value in keys.items() if key not in {"v", "kind", "msg_b64", *columns}}
    assert unknown.items() <= envelope.items()
    exact = message_bytes(record)
    raw = None if exact == record.msg.encode() else exact
    return {name: keys[name] for name in columns} | {"msg_raw": raw, "envelope": json.dumps(envelope)}


def _value(name: str, cell: Cell) -> Any:
    if name == "date":
        return UTC[int(cell or 0)]
    if name in INTEGERS or name == "id":
        return int(cell or 0)
    if name == "msg_raw":
        return cell
    return cell.decode() if isinstance(cell, bytes) else None if name == "envelope" else ""


@pytest.fixture(params=["ndjson", "text"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty folder, once of each kind."""
    made = FolderDatabase(tmp_path / "folder", request.param)
    yield made
    made.close()
