"""Many packets in one call of the system (sendmmsg), so that a sender costs little of what is measured."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Sequence

_TURN = 64


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Head(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("iovec", ctypes.POINTER(_Iovec)),
        ("iovecs", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )  # fmt: skip


class _Message(ctypes.Structure):
    """struct mmsghdr; the head is a structure of its own, for it is padded before ``sent``."""

    _fields_ = (("head", _Head), ("sent", ctypes.c_uint32))


class Packets:
    """Packets made beforehand, to be sent by their place; their bytes may be changed between two sends.

    Args:
        sock: where to; it stays the caller's.
        buffers: the packets. One buffer may stand in several places; none may change its length any more.
    """

    def __init__(self, sock: socket.socket, buffers: Sequence[bytearray]) -> None:
        self._socket = sock
        self._views = [(ctypes.c_char * len(buffer)).from_buffer(buffer) for buffer in buffers]
        self._iovecs = (_Iovec * len(buffers))(*(_Iovec(ctypes.addressof(view), len(view)) for view in self._views))
        self._messages = (_Message * len(buffers))()
        for message, iovec in zip(self._messages, self._iovecs, strict=True):
            message.head.iovec = ctypes.pointer(iovec)
            message.head.iovecs = 1
        self._sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg

    def __len__(self) -> int:
        return len(self._messages)

    def send(self, first: int, number: int) -> int:
        """Send at most *number* packets from place *first* on, no further than the last; how many were sent."""
        wanted = min(number, len(self._messages) - first, _TURN)
        done = int(self._sendmmsg(self._socket.fileno(), ctypes.byref(self._messages[first]), wanted, 0))
        if done < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return done
