"""Records into a folder with one NDJSON file a table; ``sipcap store`` reads them again (design 1.3)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sipcap.ndjson import encode_records
from sipcap.sinks.base import Adjusted, Row
from sipcap.sinks.folder import Batch, Folder, check_name

_SUFFIX: Final = ".ndjson"
_LOGGER = logging.getLogger("sipcap")
_encode = msgspec.json.Encoder().encode


class NdjsonSink:
    """A Sink (see ``base.py``) over ``<table>.ndjson`` in a folder.

    The lines are those of design 1.5 in every schema, which decides on the names of the tables alone.

    Args:
        folder: created if it is not there.
        create: whether missing files are created.
    """

    is_in_process = True

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self._folder = Folder(folder, create=create)

    def open(self) -> None:
        """Make sure of the folder; see Sink."""
        self._folder.open()

    def write(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        """Store a batch; see Sink. A line holds any record: nothing is ever adjusted."""
        for name in tables:
            check_name(name, f"{name}{_SUFFIX}")
        with self._folder.batch(batch_id) as batch:
            if not batch.is_stored:
                for name, rows in tables.items():
                    _add(batch, f"{name}{_SUFFIX}", rows)
                batch.store()
        return Adjusted()

    def close(self) -> None:
        """Nothing is open between two batches; see Sink."""


def _add(batch: Batch, name: str, rows: Sequence[Row]) -> None:
    file = batch.file(name)
    if not file.ends_in_a_line:
        _LOGGER.warning("%s ended in the middle of a line, which is not sipcap's; completed it", file.path)
        file.data += b"\n"
    if any(row.unknown for row in rows):
        file.data += b"".join(map(_line, rows))
    else:
        file.data += encode_records(row.record for row in rows)


def _line(row: Row) -> bytes:
    line = encode_records([row.record])
    if not row.unknown:
        return line
    return line[:-2] + b"," + _encode(row.unknown)[1:] + b"\n"
