"""A capture from HEP into a pipe, in the test's own process and its workers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import msgspec

from sipcap.capturing import CaptureJob, capture_here, capture_in_workers
from sipcap.counters import Counters
from sipcap.endpoint import parse_endpoint
from sipcap.ndjson import encode_records
from sipcap.pipeline import ExtractOptions
from sipcap.sources.hep import HepOptions, HepSource
from sipcap.stopping import Stop
from tests.support.receiving import PATIENCE_S, port_of

UDP = "udp:127.0.0.1:0"


class Run:
    """A capture into a pipe; a reader thread collects the lines."""

    def __init__(self, *endpoints: str, children: int = 1, reads: bool = True, **options: Any) -> None:
        self.reading, self.writing = os.pipe()
        hep = HepOptions([parse_endpoint(text) for text in endpoints or (UDP,)], drain_s=2.0)
        self.source = HepSource(hep)
        self.source.open()
        self.port = port_of(self.source)
        self.stop = Stop()
        base = CaptureJob(self.source, ExtractOptions(), encode_records, self.writing, children, drain_timeout_s=4.0)
        self.job = replace(base, **options)
        self.data = b""
        self.reader = threading.Thread(target=self._read)
        self._reads = reads

    def _read(self) -> None:
        with suppress(OSError):
            while piece := os.read(self.reading, 1 << 20):
                self.data += piece

    def capture(self) -> Counters:
        """Run to the end; the reader begins behind the fork."""
        if self._reads:
            threading.Timer(0.05, self.reader.start).start()
        return (capture_here if self.job.children == 1 else capture_in_workers)(self.job, self.stop)

    def stop_later(self, seconds: float) -> None:
        """As a signal would do."""
        threading.Timer(seconds, self.stop.request).start()

    @property
    def messages(self) -> set[bytes]:
        """The payloads that reached the reader."""
        return {msgspec.json.decode(line)["msg"].encode() for line in self.data.splitlines()}

    def close(self) -> None:
        """Close the pipe, and wait for the reader to see its end; may be called twice."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1
        if self.reader.ident:
            self.reader.join(PATIENCE_S)
        self.break_off()
        self.source.close()

    def break_off(self) -> None:
        """The reader goes away."""
        if self.reading >= 0:
            os.close(self.reading)
            self.reading = -1


@contextmanager
def running(*endpoints: str, **options: Any) -> Iterator[Run]:
    """A Run that is closed behind the test."""
    run = Run(*endpoints, **options)
    try:
        yield run
    finally:
        run.close()
