"""A service with a configuration file: started, asked over its control socket, and looked at from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from sipcap.errors import ControlError
from sipcap.service.control.client import ControlClient
from tests.support.background import Background, background, children_of, imbalance, wait_for
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp

USUAL = """
[sipcap]
capture_on = 1
db_url = sqlite:///sipcap.db
control_socket = control.sock
batch_interval = 0.1
"""
LISTEN = """
[listen:hep]
listen = udp:127.0.0.1:0
"""


class Service:
    """A running service.

    Args:
        process: it.
        folder: where its files are.
    """

    def __init__(self, process: Background, folder: Path) -> None:
        self.process = process
        self.folder = folder

    def configure(self, text: str) -> None:
        """Replace the configuration file."""
        write_config(self.folder, text)

    def stats(self) -> dict[str, Any]:
        """Its whole state."""
        found: dict[str, Any] = self.call("sipcapture.stats")
        return found

    def call(self, method: str, *params: str) -> Any:
        """Call a method of its control socket."""
        client = ControlClient(str(self.folder / "control.sock"), 10.0)
        try:
            return client.call(method, *params)
        finally:
            client.close()

    @property
    def counters(self) -> dict[str, Any]:
        """The counters of the whole service."""
        found: dict[str, Any] = self.stats()["counters"]
        return found

    @property
    def workers(self) -> list[int]:
        """The capturing processes of the configuration in force."""
        return [each["pid"] for listener in self.stats()["listeners"] for each in listener["workers"] if each["pid"]]

    @property
    def storing(self) -> list[int]:
        """All other processes: those that store, and the one that sorts."""
        return sorted(set(children_of(self.process.pid)) - set(self.workers))

    def wait_until_answering(self) -> None:
        """Wait until it works."""

        def answers() -> bool:
            assert not self.process.ended, self.process.said
            with contextlib.suppress(ControlError, OSError):
                return bool(self.stats())
            return False

        wait_for(answers, "an answer")

    def wait_for_stored(self, number: int) -> None:
        """Wait until so many messages count as stored."""
        wait_for(lambda: self.counters["stored"] >= number, f"{number} stored messages")

    def settle(self, received: int | None = None) -> dict[str, Any]:
        """Wait until nothing is under way or waits, and so many messages have come; the counters, which balance."""

        def is_settled() -> bool:
            now = self.counters
            assert imbalance(now) == 0, now
            return now["pending"] + now["spooled"] == 0 and received in (None, now["received"])

        wait_for(is_settled, f"the end of {received or 'all'} messages")
        return self.counters

    def stop(self) -> dict[str, Any]:
        """Stop it in order; its counters, which are balanced."""
        assert self.process.stop() == 0, self.process.said
        found = self.process.summary
        assert imbalance(found) == 0
        assert found["pending"] == 0
        return found


def write_config(folder: Path, text: str) -> None:
    """Write a configuration file so that nobody reads half of it."""
    path = folder / "modes.ini"
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


@contextlib.contextmanager
def service(
    folder: Path, text: str = USUAL + LISTEN, *args: str, env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Iterator[Service]:  # fmt: skip
    """A Service that answers; it is ended behind the test."""
    write_config(folder, text)
    with background(
        folder, "run", "--config", "modes.ini", "--log-format", "json", *args, env=env, before=before
    ) as process:
        found = Service(process, folder)
        found.wait_until_answering()
        yield found


class Sender:
    """Sends numbered messages at a bounded rate from a thread, until it is told to stop; used with ``with``.

    Args:
        ports: where, in turn.
        rate: messages a second.
        most: where to end.
        first: the number of the first message.
    """

    def __init__(self, ports: Sequence[int], rate: int = 2_000, most: int = 60_000, first: int = 0) -> None:
        self._ports = ports
        self._rate = rate
        self._most = most
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = self._first = first
        """The number of the next."""

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._stop.is_set() and self.sent < self._most:
            send_udp(self._ports[self.sent % len(self._ports)], hep3_datagram(self.sent))
            self.sent += 1
            time.sleep(max(began_s + (self.sent - self._first) / self._rate - time.monotonic(), 0.0))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20.0)


def kill(pid: int) -> None:
    """End a process at once."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
