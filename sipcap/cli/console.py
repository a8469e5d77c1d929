"""stderr, colours, and text that is safe to show: what a terminal gets to see."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from sipcap.hiding import PasswordFilter

if TYPE_CHECKING:
    from rich.text import Text

LOGGER = logging.getLogger("sipcap")

# Control characters to visible pictures: C0 and DEL have their own in Unicode, C1 and the bidirectional
# controls become U+FFFD. Captured text must not move a cursor, set a title or reorder a line.
_PICTURES = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)


def escape_controls(text: str) -> str:
    """Make captured text harmless for a terminal; the result is one line."""
    return text.translate(_PICTURES)


def wants_color(choice: str, stream: TextIO) -> bool:
    """Decide on colours: option, then NO_COLOR, then FORCE_COLOR, then the terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _level(record: logging.LogRecord) -> int:
    """What a line looks like; what somebody asked for by a signal passes as warnings do (-q), and is none."""
    return logging.INFO if getattr(record, "is_answer", False) else record.levelno


class _TextFormatter(logging.Formatter):
    def __init__(self, *, color: bool) -> None:
        super().__init__()
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        text = escape_controls(record.getMessage())
        if _level(record) < logging.WARNING:
            return f"sipcap: {text}"
        word = record.levelname.lower()
        if self._color:
            word = f"\033[{'31' if record.levelno >= logging.ERROR else '33'}m{word}\033[0m"
        return f"sipcap: {word}: {text}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": logging.getLevelName(_level(record)).lower(),
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        return json.dumps(line, ensure_ascii=False)


class _Stderr(logging.Handler):
    """Writes to whatever stderr is now, and survives one that is closed or gone."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # a log that cannot be written must not end a capture


def set_up(verbosity: int, color: str, log_format: str) -> None:
    """Send the log to stderr: -qq errors, -q warnings, default and above everything worth reading."""
    handler = _Stderr()
    handler.setFormatter(
        _JsonFormatter() if log_format == "json" else _TextFormatter(color=wants_color(color, sys.stderr))
    )
    LOGGER.handlers[:] = [handler]
    LOGGER.filters[:] = [PasswordFilter()]
    LOGGER.propagate = False
    level = logging.DEBUG if verbosity > 0 else {0: logging.INFO, -1: logging.WARNING}.get(verbosity, logging.ERROR)
    LOGGER.setLevel(level)


def report_error(text: str) -> None:
    """Say why a command ends; also before any option has been read."""
    if not LOGGER.handlers:
        set_up(0, "auto", "text")
    LOGGER.error("%s", text)


def safe_text(text: str, style: str = "") -> Text:
    """Captured text for Rich: harmless, and no markup."""
    from rich.text import Text  # noqa: PLC0415  # Rich takes a tenth of a second that pipes do not pay for

    return Text(escape_controls(text), style=style, no_wrap=True, overflow="ellipsis")
