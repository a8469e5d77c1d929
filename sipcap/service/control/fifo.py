"""JSON-RPC through FIFOs, which ``kamctl rpc`` speaks (spec/control.md 2).

Whoever may write into the FIFO chooses the name that the answer goes to: it is taken as a plain name in one folder, of
a FIFO that is there, is opened without waiting and is no link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections import deque
from typing import Any, Final

import msgspec

from sipcap.limits import CONTROL_READS_PER_S, CONTROL_REQUESTS_PER_S, CONTROL_STALLED_S, FIFO_REPLIES
from sipcap.service.control import jsonrpc
from sipcap.service.control.clients import Budget
from sipcap.service.control.loop import READ, Loop
from sipcap.service.control.sockets import Place
from sipcap.throttle import Throttle

REPLY_FOLDER: Final = "/tmp"  # noqa: S108  # where kamctl makes its FIFO
_READ_BYTES: Final = 4096
_REPLY_S: Final = 5.0
_WAIT_S: Final = 0.02
_MAX_NAME_BYTES: Final = 255


class RpcFifo:
    """Reads requests from a FIFO and writes each answer into the FIFO that the request names.

    Args:
        loop: what calls this.
        descriptor: the FIFO, open for reading without blocking; it is closed with this.
        call: ``Methods.call``.
        place: where it is.
        reply_folder: where clients make theirs.
    """

    def __init__(
        self, loop: Loop, descriptor: int, call: jsonrpc.Call, place: Place, reply_folder: str = REPLY_FOLDER
    ) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._call = call
        self._place = place
        self._folder = reply_folder
        self._framer = jsonrpc.JsonFramer()
        self._budget = Budget(CONTROL_REQUESTS_PER_S)
        self._reads = Budget(CONTROL_READS_PER_S)
        self._rested_s = 0.0
        self._requests: deque[bytes] = deque()
        self._replies: list[_Reply] = []
        self._heard_s = 0.0
        self._is_watched = False
        self._bad_request = Throttle("control: a request in the FIFO cannot be read")
        self._bad_reply = Throttle("control: no answer to a request in the FIFO: %s")

    def tick(self, now_s: float) -> float:
        """Answer what has come, go on with answers that have not been taken, forget half a request."""
        while self._requests and self._budget.take():
            self._answer(self._requests.popleft())
        self._replies = [reply for reply in self._replies if self._goes_on(reply, now_s)]
        if self._framer.is_inside and now_s - self._heard_s > CONTROL_STALLED_S:
            self._framer.take_rest()
            self._bad_request.warning()
        can_read = not self._requests and now_s >= self._rested_s
        if self._is_watched != can_read:
            self._is_watched = can_read
            self._loop.watch(self._descriptor, READ if can_read else 0, self._on_data)
        return _WAIT_S if self._replies or not can_read else 1.0

    def close(self, *, in_child: bool) -> None:
        """Close the FIFO and all answers."""
        for reply in self._replies:
            reply.close()
        self._replies.clear()
        os.close(self._descriptor)
        if not in_child:
            self._place.remove()

    def _goes_on(self, reply: _Reply, now_s: float) -> bool:
        try:
            return reply.go_on(now_s)
        except OSError as error:
            reply.close()
            self._bad_reply.warning(error.strerror)
            return False

    def _on_data(self, _events: int) -> None:
        if not self._reads.take():
            self._rested_s = time.monotonic() + _WAIT_S
            return
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        self._heard_s = time.monotonic()
        while data:
            try:
                self._requests.extend(self._framer.receive_data(data))
                return
            except jsonrpc.Overlong:
                self._bad_request.warning()
                data = self._framer.take_rest().partition(b"\n")[2]  # clients end their lines: the next may begin there

    def _answer(self, data: bytes) -> None:
        try:
            request = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._bad_request.warning()
            return
        name = request.get("reply_name") if isinstance(request, dict) else None
        line = jsonrpc.answer_value(request, self._call)
        if line is None or name is None:
            return
        if len(self._replies) >= FIFO_REPLIES:
            self._bad_reply.warning("too many are on their way")
            return
        try:
            # A line for each member, as Kamailio writes it: scripts look for theirs in what kamctl prints.
            self._replies.append(_Reply(self._folder, name, msgspec.json.format(line, indent=2) + b"\n"))
        except ValueError as error:
            self._bad_reply.warning(error)


class _Reply:
    """One answer on its way into a FIFO, whose reader may not have come yet, or may be slow.

    Raises:
        ValueError: the name is none that may be used.
    """

    def __init__(self, folder: str, name: Any, line: bytes) -> None:
        if not _is_plain(name):
            raise ValueError("its reply_name is no plain name")
        self._folder = folder
        self._name = name
        self._left = line
        self._until_s = time.monotonic() + _REPLY_S
        self._descriptor = -1

    def go_on(self, now_s: float) -> bool:
        """Open it if its reader is there, write what it takes; whether more is to be done later.

        Raises:
            OSError: it cannot be written.
        """
        if now_s > self._until_s:
            raise OSError(0, "its FIFO has no reader, or a slow one")
        try:
            if self._descriptor < 0:
                self._descriptor = _open_fifo(self._folder, self._name)
            while self._left:
                self._left = self._left[os.write(self._descriptor, self._left) :]
        except (BlockingIOError, _NoReaderError):
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _NoReaderError(Exception):
    """A FIFO that nobody has opened for reading."""


def _is_plain(name: Any) -> bool:
    return (
        isinstance(name, str) and name.isprintable() and "/" not in name and name not in {"", ".", ".."}
        and len(name.encode(errors="replace")) <= _MAX_NAME_BYTES
    )  # fmt: skip


def _open_fifo(folder: str, name: str) -> int:
    """Open a FIFO for writing.

    Looked at before it is opened, as opening a device may do something, and after it, as it may have been exchanged.
    """
    with contextlib.ExitStack() as stack:
        where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, where)
        before = os.stat(name, dir_fd=where, follow_symlinks=False)
        if not stat.S_ISFIFO(before.st_mode):
            raise OSError(0, "its reply_name is no FIFO")
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=where)
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise _NoReaderError from None
            raise
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(0, "its reply_name is no FIFO")
        return descriptor
