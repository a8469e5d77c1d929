"""Readers of pipes, and waiting for what happens elsewhere."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait until something holds."""
    until_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.01)
    assert condition()


class Reader:
    """Reads a pipe to its end in a thread."""

    def __init__(self, fd: int) -> None:
        self.data = bytearray()
        self._fd = fd
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while piece := os.read(self._fd, 1 << 20):
            self.data += piece

    def lines(self) -> list[bytes]:
        """All lines, once the writers have closed."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return bytes(self.data).splitlines(keepends=True)


def in_child(body: Callable[[], int]) -> int:
    """Run a function in a forked process, whose exit code it returns; gives its number."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = body()
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int, timeout_s: float = 30.0) -> int:
    """Wait for a child's end; what a signal ended has its negative number."""
    until_s = time.monotonic() + timeout_s
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        assert time.monotonic() < until_s, "it does not end"
        time.sleep(0.01)
