"""gzip and zstd, in any pieces to bounded pieces: a file that inflates a million times takes no more memory."""

from __future__ import annotations

import sys
import zlib
from typing import Any, Final, Protocol

from sipcap.errors import InputError
from sipcap.limits import ZSTD_WINDOW_LOG

UNPACKED_BYTES: Final = 1 << 18
"""How much is unpacked at a time."""

MAGIC_BYTES: Final = 4
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = b"\x2a\x4d\x18"
"""Behind a byte 0x50 to 0x5f: a frame without data, with which parallel compressors begin (RFC 8878 3.1.2)."""

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


class Unpacker(Protocol):
    """Unpacks a file that may consist of several parts, each packed by itself, with zeros behind them."""

    is_whole: bool
    """Whether the last part has come to its end."""

    def feed(self, data: bytes) -> None:
        """Take what one read gave; ``read`` has returned b"" before."""

    def read(self) -> bytes:
        """Up to about ``UNPACKED_BYTES``; b"" if more data is needed.

        Raises:
            InputError: what was packed is damaged; the text says how, without the name of the file.
        """


def unpacker_for(head: bytes) -> Unpacker | None:
    """Choose by the first ``MAGIC_BYTES`` of a file; None if it is not packed."""
    if head.startswith(_GZIP):
        return GzipUnpacker()
    if head.startswith(_ZSTD) or (head[1:4] == _SKIPPABLE and head[0] >> 4 == 5):
        return ZstdUnpacker()
    return None


class GzipUnpacker:
    """Unpacks gzip, members one behind the other; see Unpacker."""

    def __init__(self) -> None:
        self.is_whole = False
        self._input = b""
        self._member = zlib.decompressobj(_GZIP_WINDOW)

    def feed(self, data: bytes) -> None:
        """Take data; see Unpacker."""
        self._input += data

    def read(self) -> bytes:
        """Unpack; see Unpacker."""
        while self._input:
            if self.is_whole:
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    break
                self._member = zlib.decompressobj(_GZIP_WINDOW)
                self.is_whole = False
            try:
                data = self._member.decompress(self._input, UNPACKED_BYTES)
            except zlib.error as error:
                raise InputError(f"damaged gzip: {error}") from None
            self.is_whole = self._member.eof
            self._input = self._member.unused_data if self.is_whole else self._member.unconsumed_tail
            if data:
                return data
        return b""


class ZstdUnpacker:
    """Unpacks zstd, frames one behind the other; see Unpacker."""

    def __init__(self) -> None:
        self.is_whole = False
        self._input = b""
        self._zstd = _zstd_module()
        self._frame = self._new_frame()

    def _new_frame(self) -> Any:
        return self._zstd.ZstdDecompressor(options={self._zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})

    def feed(self, data: bytes) -> None:
        """Take data; see Unpacker."""
        self._input += data

    def read(self) -> bytes:
        """Unpack; see Unpacker."""
        while self._input or not (self.is_whole or self._frame.needs_input):
            if self.is_whole:
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    break
                self._frame = self._new_frame()
                self.is_whole = False
            try:
                data: bytes = self._frame.decompress(self._input, UNPACKED_BYTES)
            except self._zstd.ZstdError as error:
                raise InputError(f"damaged zstd: {error}") from None
            self.is_whole = self._frame.eof
            self._input = self._frame.unused_data if self.is_whole else b""
            if data:
                return data
        return b""


def _zstd_module() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415  # few captures are packed so
    return zstd
