"""Records from NDJSON input, for those who do something else with them than storing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sipcap.counters import Counters
from sipcap.errors import InputError
from sipcap.extract import Extractor
from sipcap.inlet import Inlet
from sipcap.limits import SPOKEN_LINES
from sipcap.ndjson import BadLine, LineFramer, decode_record, derive_with
from sipcap.record import Record
from sipcap.throttle import Throttle
from sipcap.wire.message import Message

_TICK_S: Final = 0.1


class RecordReader:
    """Reads records; a bad line is named, counted as ``rejected{bad_line}`` and left out.

    Args:
        counters: ``received`` and ``rejected``.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._bad_lines = Throttle("%s", first=SPOKEN_LINES)
        extractor = Extractor()
        self._derive = derive_with(lambda payload: extractor.record(Message(payload), 0))
        self.is_whole = True
        """False if a stop kept an input from being read to its end."""

    def read(self, fd: int, name: str, stopping: Callable[[], bool]) -> Iterator[Record | None]:
        """Yield the records of one input; None at least ten times a second while none come.

        Args:
            fd: read to its end.
            name: of the input, for messages.
            stopping: asked at least ten times a second; true ends it after what has been read ahead.

        Raises:
            InputError: a record of a newer sipcap, or input that cannot be read; all before it was yielded.
        """
        inlet, framer = Inlet(fd), LineFramer()
        try:
            while not inlet.at_end and not stopping():
                yield from self._records(framer.receive_data(inlet.get(_TICK_S)), name)
                yield None
            for data in inlet.stop():
                yield from self._records(framer.receive_data(data), name)
            if inlet.at_end:
                yield from self._records(framer.finish(), name)
            else:
                self.is_whole = False
        finally:
            inlet.stop()
        if inlet.failure is not None:
            raise InputError(f"{name}: cannot be read: {inlet.failure.strerror}")

    def _records(self, texts: list[tuple[int, bytes]], name: str) -> Iterator[Record]:
        for number, text in texts:
            self._counters.received += 1
            try:
                yield decode_record(text, self._derive)[0]
            except BadLine as error:
                self._refuse(f"{name}:{number}: {error}" if text else f"{name}:{number}: line too long")
            except InputError as error:
                self._counters.rejected["newer_version"] += 1
                raise InputError(f"{name}:{number}: {error}") from None

    def _refuse(self, text: str) -> None:
        self._counters.rejected["bad_line"] += 1
        self._bad_lines.warning(text)
