"""Hooks: what a Python callable of the user is asked, and what it may answer (design 1.8).

A hook looks like this::

    from sipcap.hooks import Request, Route

    def on_request(request: Request) -> int | None | Route:
        if request.record.user_agent.startswith("friendly-scanner"):
            return 0
        if request.source_ip == "192.0.2.1":
            return Route(table="trunk1_%Y%m%d")
        return 1
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from sipcap.errors import CannotStart
from sipcap.extract import Extractor
from sipcap.record import Record
from sipcap.routes import Route
from sipcap.wire.hep_select import VERSION, chunk_value, hep_version, selected_chunk
from sipcap.wire.message import Message

EVENT: Final = "sipcapture:request"
"""What the module's event route is called (spec 7.1)."""

_SHOWN: Final = 200  # characters of a text that comes from elsewhere
_STEPS: Final = 50  # of a traceback; an endless recursion has a thousand

__all__ = ["EVENT", "Hook", "Request", "Route", "error_text", "exit_handlers", "leave_exit_handlers", "load_hook"]

_loaded: set[str] = set()
"""Modules that hooks were loaded from."""

_at_exit: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = []
"""What was registered with ``atexit`` while hooks were loaded, with its arguments."""

Value = int | str | bytes | None
Callback = Callable[["Request"], Any]


class Request:
    """One message, as a hook sees it; changes to what it gives away change nothing that is stored.

    Args:
        message: as it was received.
        received_us: when, microseconds since 1970 UTC.
        extractor: makes the record, if it is asked for.
    """

    __slots__ = ("_extractor", "_message", "_received_us", "_record")

    event: Final = EVENT

    def __init__(self, message: Message, received_us: int, extractor: Extractor) -> None:
        self._message = message
        self._received_us = received_us
        self._extractor = extractor
        self._record: Record | None = None

    def hep(self, selector: int | str, vendor: int = 0) -> Value:
        """The version or a chunk of the HEP packet, as the module's ``$hep(selector)`` (spec 7.5).

        Args:
            selector: ``"version"``; or a chunk's type: a number, or ``0x`` and three hexadecimal digits, or five
                decimal ones, as a text.
            vendor: whose chunk; 0 is generic.

        Returns:
            Of ``"version"``: 1, 2, 3, and -1 for what came without HEP. Of a chunk: a number, an address or another
            text, or bytes (payload, key, chunks without a name and those of vendors); None if it is not there. What
            HEP versions 1 and 2 say is found under the chunk's type too.

        Raises:
            ValueError: a selector that can be no chunk.
        """
        if selector == VERSION:
            return hep_version(self._message)
        return chunk_value(self._message, selected_chunk(selector), vendor)

    @property
    def message(self) -> bytes:
        """The captured payload: the SIP message, or what the HEP type says."""
        return self._message.payload

    @property
    def record(self) -> Record:
        """The row that will be stored: a copy of the message's SipRecord or ReportRecord.

        Raises:
            DecodeError: it is no message; whoever lets this pass rejects it for that reason.
        """
        return copy.copy(self.extracted())

    def extracted(self) -> Record:
        """The record itself; the message is read once, when it is asked for."""
        if self._record is None:
            self._record = self._extractor.record(self._message, self._received_us)
        return self._record

    @property
    def source_ip(self) -> str:
        """Where the message came from; "" if that is unknown."""
        return self._message.source_ip

    @property
    def source_port(self) -> int:
        """The port that it came from."""
        return self._message.source_port

    @property
    def destination_ip(self) -> str:
        """Where it went to."""
        return self._message.destination_ip

    @property
    def destination_port(self) -> int:
        """The port that it went to."""
        return self._message.destination_port

    @property
    def payload_type(self) -> int:
        """HEP type: 1 is SIP, 5 is RTCP."""
        return self._message.payload_type

    @property
    def capture_id(self) -> int:
        """Of the HEP agent."""
        return self._message.capture_id

    @property
    def correlation_id(self) -> str | None:
        """Chunk 0x011; None if it was not sent."""
        return self._message.correlation_id


@dataclass(frozen=True)
class Hook:
    """A callable of the user, and what he called it."""

    text: str
    call: Callback


def load_hook(text: str) -> Hook:
    """Load ``MODULE:CALLABLE`` or ``FILE.py:CALLABLE``.

    The code runs here: in ``listen`` and ``replay`` once, before any process is forked, so that it should open
    connections when it is first called; in ``run`` in each capturing process. What it registers with ``atexit`` is for
    the process that asks it; see ``exit_handlers``.
    Modules are looked for in the working directory too, those that a file imports in its own folder.

    Raises:
        CannotStart: there is no such file, module or callable, or loading it fails.
    """
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name:
        raise CannotStart(f"hook {text!r} must be MODULE:CALLABLE or FILE.py:CALLABLE")
    stdout, sys.stdout = sys.stdout, sys.stderr  # what a hook prints is no record
    try:
        with _noting_exit_handlers():
            found: Any = _load_file(Path(where)) if where.endswith(".py") else _load_module(where)
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise CannotStart(f"hook {text}: {error_text(error)}") from None
    except OSError as error:
        raise CannotStart(f"hook {text}: {error.strerror or error_text(error)}") from None
    except BaseException as error:  # noqa: BLE001  # code of the user: it may even exit
        raise CannotStart(f"hook {text} cannot be loaded: {error_text(error)}") from None
    finally:
        sys.stdout = stdout
    if not callable(found):
        raise CannotStart(f"hook {text}: {name} cannot be called")
    if inspect.iscoroutinefunction(found) or inspect.isgeneratorfunction(found):
        raise CannotStart(f"hook {text}: {name} must be a plain function, neither async nor a generator")
    return Hook(text, found)


@contextlib.contextmanager
def _noting_exit_handlers() -> Iterator[None]:
    """Note what is registered with ``atexit`` meanwhile, which does not tell what it has."""
    register, unregister = atexit.register, atexit.unregister

    def note(function: Callable[..., object], /, *args: Any, **kwargs: Any) -> Callable[..., object]:
        _at_exit.append((function, args, kwargs))
        return register(function, *args, **kwargs)

    def forget(function: Callable[..., object], /) -> None:
        _at_exit[:] = [each for each in _at_exit if each[0] != function]
        unregister(function)

    vars(atexit).update(register=note, unregister=forget)
    try:
        yield
    finally:
        vars(atexit).update(register=register, unregister=unregister)


@contextlib.contextmanager
def exit_handlers() -> Iterator[None]:
    """Make a forked process the one that asks hooks: what they register with ``atexit`` is called if the block ends.

    A forked process ends without what its parent has registered, and so without what the parent's hook has: that is
    called here, where the hook has counted something, and not in the parent; see ``leave_exit_handlers``.
    """
    atexit._clear()  # noqa: SLF001  # as multiprocessing does: the others are the parent's
    for function, args, kwargs in _at_exit:
        atexit.register(function, *args, **kwargs)
    yield
    sys.stdout = sys.stderr
    atexit._run_exitfuncs()  # noqa: SLF001  # as multiprocessing does; it says what they raise, and goes on
    sys.stderr.flush()


def leave_exit_handlers() -> None:
    """Leave what hooks have registered with ``atexit`` to the processes that were forked."""
    for function, _, _ in _at_exit:
        atexit.unregister(function)


def _load_file(path: Path) -> ModuleType:
    path = path.absolute()
    path.open("rb").close()  # says clearly why it cannot be read
    _look_in(path.parent)
    spec = importlib.util.spec_from_file_location(f"sipcap_hook_{path.stem}", path)
    assert spec is not None and spec.loader is not None, "its name ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles of the file look for it there
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    """Import a module; one that was a hook before is read again, because a service may have been told to reload."""
    _look_in(Path.cwd())
    before = sys.modules.pop(name, None) if name in _loaded else None
    importlib.invalidate_caches()
    try:
        module = import_module(name)
    except BaseException:
        if before is not None:
            sys.modules[name] = before
        raise
    _loaded.add(name)
    return module


def _look_in(folder: Path) -> None:
    """Let Python find modules in a folder, behind all others."""
    if os.fspath(folder) not in sys.path:
        sys.path.append(os.fspath(folder))


def error_text(error: BaseException) -> str:
    """What went wrong and where, in one line of bounded length; an exception's own text may fail too."""
    try:
        text = str(error)[:_SHOWN]
    except Exception:  # noqa: BLE001  # code of the user
        text = ""
    inner = ("<", str(Path(__file__).parent))
    steps = traceback.extract_tb(error.__traceback__, -_STEPS)
    own = next((step for step in reversed(steps) if not step.filename.startswith(inner)), None)
    place = f" ({Path(own.filename).name}:{own.lineno})" if own is not None else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"
