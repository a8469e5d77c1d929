"""As whom the service will read and write, and what it may."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from sipcap.errors import CannotStart


class Account:
    """The user that the service runs as.

    Args:
        text: ``NAME`` or ``NAME:GROUP``; None = who asks.

    Raises:
        CannotStart: there is no such user or group.
    """

    def __init__(self, text: str | None = None) -> None:
        self.is_own = text is None
        self.number = os.geteuid()
        self._groups = frozenset({os.getegid(), *os.getgroups()})
        self.name = _name_of(self.number)
        if text is None:
            return
        self.name, _, group = text.partition(":")
        try:
            entry = pwd.getpwnam(self.name)
            number = grp.getgrnam(group).gr_gid if group else entry.pw_gid
        except KeyError:
            raise CannotStart(f"there is no user {text}") from None
        self.number = entry.pw_uid
        self._groups = frozenset(os.getgrouplist(self.name, number))

    def may(self, path: Path, access: int) -> bool:
        """Whether it may do something with a file or folder; ``access`` is of ``os.access``.

        For another user the mode decides; what access control lists say beyond it is not looked at.
        """
        if not os.access(path, access):  # this knows of file systems that are read only, too
            return False
        if self.is_own or self.number == 0:
            return True
        found = path.stat()
        shift = 6 if found.st_uid == self.number else 3 if found.st_gid in self._groups else 0
        return (stat.S_IMODE(found.st_mode) >> shift) & access == access

    def reaches(self, path: Path) -> bool:
        """Whether it may enter all folders above."""
        return all(self.may(folder, os.X_OK) for folder in path.absolute().parents)


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the first one above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def first_there(paths: Iterable[Path]) -> Path | None:
    """The first path that exists."""
    return next((path for path in paths if path.exists()), None)


def _name_of(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
