"""What every form of export can do."""

from __future__ import annotations

from typing import Protocol

from sipcap.record import Record


class Exporter(Protocol):
    """Turns records into the bytes of a file, in their order."""

    def begin(self) -> bytes:
        """What the file begins with, as far as it is known without a record."""

    def add(self, record: Record) -> bytes:
        """The bytes of one record.

        Raises:
            EncodeError: this form cannot carry it; nothing was written.
        """

    def end(self) -> bytes:
        """What the file ends with, after all records."""
