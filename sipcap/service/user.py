"""From root to an ordinary user, when everything is open that only root may open."""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import pwd
from collections.abc import Callable, Sequence
from pathlib import Path

from sipcap.errors import CannotStart
from sipcap.service.control.places import SYSTEM_FOLDER
from sipcap.service.plan import Plan
from sipcap.service.sweeper import Sweeper
from sipcap.sinks.registry import sqlite_path

_LOGGER = logging.getLogger("sipcap")


class User:
    """Whom the service runs as.

    Args:
        text: ``NAME`` or ``NAME:GROUP``.

    Raises:
        CannotStart: there is no such user or group, or this process may not become it.
    """

    def __init__(self, text: str) -> None:
        name, _, group = text.partition(":")
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise CannotStart(f"there is no user {name}") from None
        try:
            self.group = grp.getgrnam(group).gr_gid if group else entry.pw_gid
        except KeyError:
            raise CannotStart(f"there is no group {group}") from None
        self.name = name
        self.number = entry.pw_uid
        if os.geteuid() not in (0, self.number):
            raise CannotStart(f"only root can become user {name}")

    def take_folder(self, path: Path) -> None:
        """Make a folder of the user's, if it is not there; raises CannotStart."""
        if os.geteuid() != 0 or path.exists():
            return
        try:
            path.mkdir(mode=0o700, parents=True)
            os.chown(path, self.number, self.group)
        except OSError as error:
            raise CannotStart(f"cannot make the folder {path}: {error.strerror}") from None

    def take_file(self, path: Path) -> None:
        """Make an empty file of the user's, if it is not there; raises CannotStart."""
        if os.geteuid() != 0:
            return
        with contextlib.suppress(FileExistsError):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                raise
            except OSError as error:
                raise CannotStart(f"cannot make the file {path}: {error.strerror}") from None
            os.fchown(fd, self.number, self.group)
            os.close(fd)

    def own(self, path: Path) -> None:
        """Make the user the owner of a socket or FIFO of the service; its group stays. Raises CannotStart.

        Then the user may remove it at the end, if the folder allows that, and its mode lets him use it.
        """
        if os.geteuid() != 0:
            return
        try:
            os.chown(path, self.number, -1, follow_symlinks=False)
        except OSError as error:
            raise CannotStart(f"cannot give {path} to user {self.name}: {error.strerror}") from None

    def check_folder(self, path: Path) -> None:
        """Raise CannotStart if this user, who must have become it, cannot make files in a folder."""
        if not os.access(path, os.W_OK | os.X_OK):
            raise CannotStart(
                f"user {self.name} cannot make files in {path.absolute()}, as SQLite must beside its database"
            )

    def check_spool(self, path: Path) -> None:
        """Raise CannotStart if this user, who must have become it, cannot write the spool."""
        if not os.access(path, os.W_OK | os.X_OK):
            raise CannotStart(
                f"user {self.name} cannot write the spool {path.absolute()}; --spool (in a file: spool) or the variable"
                " STATE_DIRECTORY names another folder"
            )

    def become(self, groups: Sequence[int] | None = None) -> None:
        """Be this user from here on, for good."""
        if os.geteuid() != 0:
            return
        os.setgroups(list(groups) if groups is not None else os.getgrouplist(self.name, self.group))
        os.setgid(self.group)
        os.setuid(self.number)


def become_user(plan: Plan, places: Sequence[Path], folder: Path | None) -> Callable[[], None]:
    """Drop the privileges, if the plan names a user; what is needed afterwards is made for the user before.

    Args:
        plan: what the service does.
        places: the files at which it can be asked.
        folder: that of the system, if the service made it for them.

    Returns:
        What is to be called when all other processes of the service have ended.

    Raises:
        CannotStart: there is no such user, or it cannot have what it needs.
    """
    settings = plan.settings
    if settings.user is None:
        return lambda: None
    user = User(settings.user)
    is_root = os.geteuid() == 0
    spool = plan.spool_path()
    if spool is not None:
        user.take_folder(spool)
    if settings.dead_letter is not None:
        user.take_file(settings.dead_letter)
    databases = [
        sqlite_path(mode.db_url)
        for mode in settings.modes.values()
        if mode.db_url.startswith("sqlite:") and not plan.is_idle(mode)
    ]
    for path in databases:
        user.take_file(path)
    for place in places:
        user.own(place)
    # The folder of the system stays root's: whoever has it could put another socket there.
    of_root = [place for place in places if place.parent == Path(SYSTEM_FOLDER)]
    sweeper = Sweeper(of_root, folder) if is_root and (of_root or folder) else None
    user.become()
    if spool is not None and is_root:
        user.check_spool(spool)
    for path in databases:
        user.check_folder(path.parent)
    _LOGGER.info("running as user %s", user.name)
    return sweeper.close if sweeper is not None else lambda: None
