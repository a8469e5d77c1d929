"""The product under test, started from its command line: a pipe of two stages, and the service."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import WAIT_S, free_udp_port, running, udp_is_bound, wait_until
from .tables import Database

_ROOT = Path(__file__).resolve().parents[2]
_ENV = {"PYTHONPATH": str(_ROOT)}
_SIPCAP = (sys.executable, "-m", "sipcap")


@dataclass(frozen=True, slots=True)
class Product:
    """A running sipcap that listens to HEP and stores."""

    port: int
    database: Database


def _into(database: Path) -> list[str]:
    # Short batches, because the tests wait for single rows.
    return ["--db-url", f"sqlite:///{database}", "--batch-interval", "0.05"]


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    wait_until(lambda: process.poll() is not None or udp_is_bound(port), f"sipcap on port {port}")
    if process.poll() is not None:
        raise RuntimeError(f"sipcap did not start:\n{log.read_text(errors='replace')}")


@contextlib.contextmanager
def piping(folder: Path, listen_options: Sequence[str] = ()) -> Iterator[Product]:
    """Run ``sipcap listen | sipcap store`` into a SQLite file in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    database, port, log = folder / "product.db", free_udp_port(), folder / "listen.log"
    listen = [*_SIPCAP, "listen", "--listen", f"udp:127.0.0.1:{port}", "--format", "json", *listen_options]
    store = [*_SIPCAP, "store", *_into(database)]
    reader, writer = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    with contextlib.ExitStack() as stack:
        # Entered in this order, so that the listener ends first and the store reads to the end of its input.
        with reader:
            stack.enter_context(running(store, folder / "store.log", stdin=reader, env=_ENV))
        with writer:
            process = stack.enter_context(running(listen, log, stdout=writer, env=_ENV))
        _await_port(process, port, log)
        yield Product(port, Database(database))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Product]:
    """Run ``sipcap run`` into a SQLite file in *folder*."""
    database = folder / "product.db"
    with serving_into(folder, f"sqlite:///{database}") as port:
        yield Product(port, Database(database))


@contextlib.contextmanager
def serving_into(folder: Path, url: str) -> Iterator[int]:
    """Run ``sipcap run`` into any database; yields its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_udp_port(), folder / "run.log"
    argv = [*_SIPCAP, "run", "--listen", f"udp:127.0.0.1:{port}", "--db-url", url, "--batch-interval", "0.05"]
    with running(argv, log, env=_ENV) as process:
        _await_port(process, port, log)
        yield port


def replay(capture: Path) -> list[dict[str, Any]]:
    """Return the records that ``sipcap replay`` reads out of *capture*."""
    done = subprocess.run(
        [*_SIPCAP, "replay", str(capture)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **_ENV},
        check=True,
        timeout=WAIT_S,
    )
    return records_of(done.stdout)


def records_of(output: bytes) -> list[dict[str, Any]]:
    """Return the records of NDJSON."""
    return [json.loads(line) for line in output.splitlines()]
