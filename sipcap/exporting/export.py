"""The exporting stage: records to one file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Final

from sipcap.counters import Counters
from sipcap.errors import Unwritten
from sipcap.exporting.base import Exporter
from sipcap.record import Record, SipRecord
from sipcap.throttle import Throttle
from sipcap.wire.hep_encode import EncodeError

_BUFFER_BYTES: Final = 1 << 18
_FLUSH_S: Final = 0.1


class Export:
    """Writes records in one form; ``stored`` and ``reported`` count them.

    What the form cannot carry is ``rejected{reason}``, the reason being that of an EncodeError.

    Args:
        exporter: the form.
        fd: where the bytes go.
        counters: where to count.
    """

    def __init__(self, exporter: Exporter, fd: int, counters: Counters) -> None:
        self._exporter = exporter
        self._fd = fd
        self._counters = counters
        self._refusals = Throttle("message of %s cannot be exported: %s")
        self._buffer = bytearray(exporter.begin())
        self._sip = self._reports = 0
        self._flushed_s = time.monotonic()

    def write(self, records: Iterable[Record | None]) -> None:
        """Write records; None says that it is time to look at the clock.

        Raises:
            BrokenPipeError: the reader went away.
            Unwritten: the file cannot be written.
        """
        for record in records:
            if record is None:
                if self._buffer and time.monotonic() - self._flushed_s > _FLUSH_S:
                    self.flush()
                continue
            try:
                self._buffer += self._exporter.add(record)
            except EncodeError as error:
                self._counters.rejected[error.reason] += 1
                self._refusals.warning(record.date, error.reason)
                continue
            if isinstance(record, SipRecord):
                self._sip += 1
            else:
                self._reports += 1
            if len(self._buffer) >= _BUFFER_BYTES:
                self.flush()

    def close(self) -> None:
        """Write what is left; raises as ``write``."""
        self._buffer += self._exporter.end()
        self.flush()

    def flush(self) -> None:
        """Write what is ready; raises as ``write``."""
        view = memoryview(bytes(self._buffer))
        self._buffer.clear()
        sip, reports, self._sip, self._reports = self._sip, self._reports, 0, 0
        try:
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:  # somebody else made our pipe non-blocking
                    time.sleep(0.01)
        except BrokenPipeError:
            self._counters.dropped["output"] += sip + reports
            raise
        except OSError as error:
            self._counters.dropped["output"] += sip + reports
            raise Unwritten(f"cannot write the output: {error.strerror}") from None
        self._counters.stored += sip
        self._counters.reported += reports
        self._flushed_s = time.monotonic()
