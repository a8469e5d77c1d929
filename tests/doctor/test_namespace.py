"""``sipcap doctor`` in a network of its own, where its commands can be tried."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SIPCAP, environment
from tests.support.namespaces import Side, cable
from tests.support.programs import need

FEW = ("--skip", "clock", "--skip", "disk", "--skip", "databases", "--skip", "folders")
WITHOUT = "--bounding-set=-net_bind_service,-net_raw"


@pytest.fixture
def side() -> Iterator[Side]:
    """One end of a cable."""
    with cable() as laid:
        yield laid.left


def _wrong(side: Side, folder: Path, *args: str, before: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    done = subprocess.run(
        [*side.before, *before, *SIPCAP, "doctor", "--format", "json", *FEW, *args], cwd=folder, capture_output=True,
        env=environment({"XDG_STATE_HOME": str(folder)}), timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [each for each in found if each["state"] == "wrong"]


def _mend(side: Side, command: str) -> None:
    words = command.replace("sudo ", "").split()
    done = subprocess.run([*side.before, *words], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_doctor_opens_a_low_port_to_who_is_not_root(side: Side, tmp_path: Path) -> None:
    """The limit is that of the network; the command lowers it to the port."""
    args = ("--listen", "udp:127.0.0.1:99")
    bare = (need("setpriv"), WITHOUT)
    (found,) = _wrong(side, tmp_path, *args, before=bare)
    assert "ports this low are root's" in found["text"]
    _mend(side, found["command"])
    assert _wrong(side, tmp_path, *args, before=bare) == []


def test_doctor_brings_an_interface_up(side: Side, tmp_path: Path) -> None:
    """An interface that is down captures nothing."""
    args = ("--mode", "mirror", "--iface", side.name)
    side.ip("link", "set", side.name, "down")
    (found,) = _wrong(side, tmp_path, *args)
    assert f"interface {side.name} is down" in found["text"]
    _mend(side, found["command"])
    assert _wrong(side, tmp_path, *args) == []


def test_doctor_gives_this_machine_an_address(side: Side, tmp_path: Path) -> None:
    """An address that is to be listened on, and is not here."""
    args = ("--listen", "tcp:192.0.2.99:9060")
    (found,) = _wrong(side, tmp_path, *args)
    _mend(side, found["command"])
    assert _wrong(side, tmp_path, *args) == []
