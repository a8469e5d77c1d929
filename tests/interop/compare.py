"""Give the same datagrams to the oracle and to the product, and hold their rows side by side."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import kamailio
from .cases import SENTINEL_PORT, Case
from .hep import Envelope, encode
from .messages import BASE
from .processes import wait_until
from .product import Product
from .tables import Database, Row

# Small enough for the kernel's default receive buffer while the product is busy with the batch before.
_BATCH = 50

StartProduct = Callable[[Path], AbstractContextManager[Product]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle made of one case: its row, or None, and what it logged meanwhile."""

    row: Row | None
    complaint: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case and its two rows; None where it was not stored."""

    case: Case
    oracle: Row | None
    complaint: str
    product: Row | None


def ask_oracle(folder: Path, cases: Sequence[Case]) -> list[Verdict]:
    """Send *cases* to a Kamailio of their own, one at a time, and return what became of each.

    Each is followed by a sentinel, whose row proves that the one worker is done with the case before it.
    """
    complaints: list[str] = []
    with kamailio.capturing(folder) as capture, _loopback(capture.port) as sender:
        logged = 0
        for number, case in enumerate(cases):
            sender.send(case.datagram)
            sender.send(_sentinel(number))
            _await_oracle(capture, number, case)
            log = capture.log.read_bytes()
            complaints.append(log[logged:].decode("utf-8", "replace"))
            logged = len(log)
        rows = _by_port(capture.database)
    return [
        Verdict(rows.get(case.envelope.source_port), complaint)
        for case, complaint in zip(cases, complaints, strict=True)
    ]


def ask_product(start: StartProduct, folder: Path, cases: Sequence[Case]) -> list[Row | None]:
    """Send *cases* to the product and return the row of each, None where it stored nothing."""
    with start(folder) as product:
        deliver(product.port, product.database, [case.datagram for case in cases])
        rows = _by_port(product.database)
    return [rows.get(case.envelope.source_port) for case in cases]


def send(port: int, datagram: bytes) -> None:
    """Send one datagram to *port*, without a sentinel."""
    with _loopback(port) as sender:
        sender.send(datagram)


class Watched(Protocol):
    """A database in which a call is waited for."""

    def wait_for_call(self, call_id: str) -> None:
        """Wait until a message of this Call-ID is stored."""


def deliver(port: int, database: Watched, datagrams: Sequence[bytes]) -> None:
    """Send *datagrams* to *port* and return when all that comes of them stands in *database*."""
    with _loopback(port) as sender:
        for first in range(0, len(datagrams), _BATCH):
            for datagram in datagrams[first : first + _BATCH]:
                sender.send(datagram)
            sender.send(_sentinel(first))
            database.wait_for_call(_sentinel_id(first))


def outcomes(cases: Sequence[Case], verdicts: Sequence[Verdict], rows: Sequence[Row | None]) -> list[Outcome]:
    """Join what both sides made of *cases*."""
    return [
        Outcome(case, verdict.row, verdict.complaint, row)
        for case, verdict, row in zip(cases, verdicts, rows, strict=True)
    ]


def _loopback(port: int) -> socket.socket:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", port))
    return sender


def _sentinel_id(number: int) -> str:
    return f"sentinel-{number}@interop"


def _sentinel(number: int) -> bytes:
    message = BASE.with_header(f"Call-ID: {_sentinel_id(number)}")
    return encode(Envelope(source_port=SENTINEL_PORT), message.encode())


def _await_oracle(capture: kamailio.Capture, number: int, case: Case) -> None:
    wait_until(
        lambda: capture.process.poll() is not None or capture.database.has_call(_sentinel_id(number)),
        f"the oracle to deal with {case.name}",
    )
    if capture.process.poll() is not None:
        raise RuntimeError(f"{case.name} ended Kamailio: {case.payload!r}")


def _by_port(database: Database) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for row in database.rows():
        port = row["source_port"]
        assert isinstance(port, int)
        assert port == SENTINEL_PORT or port not in rows, f"two rows from port {port}"
        rows[port] = row
    return rows
