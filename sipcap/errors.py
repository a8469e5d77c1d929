"""Every exception of sipcap, with the exit code that it ends a command with (design 1.1)."""

from __future__ import annotations

from collections.abc import Sequence


class SipcapError(Exception):
    """Base of all expected failures; its text is one line that a user can act on."""

    exit_code = 70

    @property
    def lines(self) -> Sequence[str]:
        """What to tell a user, each a line of its own."""
        return (str(self),)


class CannotStart(SipcapError):
    """The command cannot begin: configuration, driver, bind, connect, permission."""

    exit_code = 3


class WrongLine(CannotStart):
    """One line of a configuration file is wrong.

    Args:
        text: with the file and the line.
        line: its number from 1.
    """

    def __init__(self, text: str, line: int) -> None:
        super().__init__(text)
        self.line = line


class ManyWrong(CannotStart):
    """A configuration file has several errors: as text the first and how many more, as ``lines`` all.

    Args:
        lines: each with its file and line; more than one.
        path: of the file.
    """

    def __init__(self, lines: Sequence[str], path: str) -> None:
        super().__init__(f"{lines[0]} (errors: {len(lines)}; all of them: sipcap config check {path})")
        self._lines = lines

    @property
    def lines(self) -> Sequence[str]:
        """All errors."""
        return self._lines


def all_of(lines: Sequence[str], path: str) -> CannotStart:
    """One error of all errors of a configuration file; there is at least one."""
    return ManyWrong(lines, path) if len(lines) > 1 else CannotStart(lines[0])


class DatabaseAway(CannotStart):
    """A database server does not answer: it may come back, and then the command could have started."""


class BadFilterError(CannotStart):
    """The capture filter cannot be compiled for this capture; on a command line, that is wrong usage."""


class InputError(SipcapError):
    """The input is not what it says it is."""

    exit_code = 4


class Unwritten(SipcapError):
    """Records were read that could not be written anywhere."""

    exit_code = 5


class SourceLost(SipcapError):
    """What was captured from is gone, an interface for instance; what came until then is on its way."""

    exit_code = 5


class HookStarved(SipcapError):
    """A hook has used up the memory that its process may take; what was captured before is on its way."""

    exit_code = 5


class ControlError(SipcapError):
    """The control socket cannot be reached, or it refused."""

    exit_code = 6


class DecodeError(Exception):
    """Bytes that are not what they should be.

    It never ends a command: whoever decodes counts it under ``rejected{reason}``.

    Args:
        reason: one fixed lower-case token, fit for a counter's label.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SinkError(SipcapError):
    """A database refused or lost a batch; nothing of that batch was stored.

    Args:
        text: what happened, without secrets.
        transient: True if the same batch may succeed later.
    """

    exit_code = 5

    def __init__(self, text: str, *, transient: bool) -> None:
        super().__init__(text)
        self.transient = transient


EXIT_CODES: dict[int, str] = {
    0: "done, also when the reader of the output went away",
    1: "a finite job finished, but something was rejected, dropped or not found",
    2: "the command line is wrong",
    3: "cannot start: configuration, driver, bind, connect, permission",
    4: "the input is not what it says it is",
    5: "records remain unwritten",
    6: "the control socket cannot be reached or refused",
    70: "a bug in sipcap",
    130: "stopped by SIGINT before the end of a finite job",
    143: "stopped by SIGTERM before the end of a finite job",
}
