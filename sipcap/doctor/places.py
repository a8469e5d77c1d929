"""Folders, files and disks: whether what the service writes can be written, and will fit."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sipcap.doctor.account import Account, nearest_folder
from sipcap.doctor.finding import Finding, fine, wrong
from sipcap.quantities import size_text

_RWX = os.R_OK | os.W_OK | os.X_OK


class Need(NamedTuple):
    """What will be written somewhere.

    Args:
        name: for people.
        path: a folder or file, which may not be there yet.
        most_bytes: what it may grow to.
        option: of ``sipcap run``, which bounds it; "" where nothing does.
        parts: how many are bounded by that option.
    """

    name: str
    path: Path
    most_bytes: int
    option: str = ""
    parts: int = 1


def check_folder(name: str, folder: Path, account: Account, *, made: bool = True) -> Finding:
    """Look whether a folder can be written in, or made.

    Args:
        name: for people.
        folder: it.
        account: who will write.
        made: whether who writes makes it where it is missing.
    """
    there = nearest_folder(folder)
    quoted, user = shlex.quote(str(folder)), shlex.quote(account.name)
    if folder.exists() and not folder.is_dir():
        return wrong(f"{name}: {folder} is no folder", f"mv {quoted} {quoted}.old")
    if there != folder and not made:
        return wrong(f"{name}: there is no folder {folder}", f"sudo install -d -o {user} -m 700 {quoted}")
    if account.may(there, _RWX) and account.reaches(there):
        return fine(f"{name}: {account.name} may write in {there}")
    what = f"{account.name} may not write in {there}"
    if there == folder and account.reaches(there):
        return wrong(f"{name}: {what}", f"sudo chown {user} {quoted} && sudo chmod u+rwx {quoted}")
    return wrong(f"{name}: {what}", f"sudo install -d -o {user} -m 700 {quoted}")


def check_file(name: str, path: Path, account: Account) -> Iterator[Finding]:
    """Look whether a file can be written, or made."""
    quoted, user = shlex.quote(str(path)), shlex.quote(account.name)
    if path.is_dir():
        yield wrong(f"{name}: {path} is a folder", f"mv {quoted} {quoted}.old")
        return
    yield check_folder(f"{name}: its folder", path.absolute().parent, account, made=False)
    if path.exists() and not account.may(path, os.R_OK | os.W_OK):
        yield wrong(
            f"{name}: {account.name} may not write {path}", f"sudo chown {user} {quoted} && sudo chmod u+rw {quoted}"
        )


def check_space(needs: Sequence[Need]) -> Iterator[Finding]:
    """Look whether a disk has room for what may be written to it, all together."""
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(nearest_folder(need.path).stat().st_dev, []).append(need)
    for sharing in disks.values():
        place = nearest_folder(sharing[0].path)
        found = os.statvfs(place)
        free = found.f_bavail * found.f_frsize
        wanted = sum(max(need.most_bytes - _taken(need.path), 0) for need in sharing)
        names = ", ".join(need.name for need in sharing)
        shown = f"disk of {place}: {size_text(free)} free, {size_text(wanted)} may be needed ({names})"
        yield fine(shown) if free >= wanted else wrong(shown, _smaller(sharing, free, wanted))


def _smaller(sharing: Sequence[Need], free: int, wanted: int) -> str:
    """The option that lets everything fit, if one can."""
    bounded = [need for need in sharing if need.option]
    if not bounded:
        return ""
    largest = max(bounded, key=lambda need: need.most_bytes)
    left = (largest.most_bytes - (wanted - free)) // largest.parts
    return f"sipcap run {largest.option} {left}" if left > 0 else ""


def _taken(path: Path) -> int:
    """What is there already."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum(each.stat().st_size for each in path.glob("*/*") if each.is_file())
