"""Who has a port: from /proc/net to the processes that hold the socket."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_TABLES: Final = {"udp": ("udp", "udp6"), "tcp": ("tcp", "tcp6")}
_LISTENING: Final = {"udp": "07", "tcp": "0A"}
_UNIT: Final = re.compile(r"/([\w@.:\\-]+\.service)$", re.MULTILINE)


class Owner(NamedTuple):
    """A process that holds a socket."""

    pid: int
    name: str
    unit: str
    """Its systemd service; "" if it has none."""

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid}{f', {self.unit}' if self.unit else ''})"

    @property
    def end(self) -> str:
        """The command that ends it."""
        return f"sudo systemctl stop {self.unit}" if self.unit else f"sudo kill {self.pid}"


def owners_of(protocol: str, port: int) -> list[Owner]:
    """The processes that have a port, the oldest first; those of others are only seen by root.

    Args:
        protocol: ``udp`` or ``tcp``.
        port: at any local address.
    """
    wanted = {f"socket:[{inode}]" for table in _TABLES[protocol] for inode in _inodes(table, protocol, port)}
    return [_owner(pid) for pid in sorted(_holders(wanted))] if wanted else []


def _inodes(table: str, protocol: str, port: int) -> list[str]:
    """Inodes of the sockets that are bound to a port (proc(5), /proc/net/udp)."""
    try:
        lines = (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == _LISTENING[protocol]]


def _holders(wanted: set[str]) -> set[int]:
    found = set()
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            for link in (folder / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(link.readlink()) in wanted:
                        found.add(int(folder.name))
                        break
    return found


def _owner(pid: int) -> Owner:
    name = unit = ""
    with contextlib.suppress(OSError):
        name = (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
        if found := _UNIT.search((_PROC / str(pid) / "cgroup").read_text(errors="replace")):
            unit = found[1]
    return Owner(pid, name or "a process", unit)
