"""What the tests of the doctor share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_sipcap
from tests.support.odbc import data_sources
from tests.support.servers import mysql_server, postgresql_server

Found = dict[str, Any]
Doctor = Callable[..., list[Found]]

__all__ = ["data_sources", "mysql_server", "postgresql_server"]


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """``sipcap doctor --format json`` with arguments; its findings, of which the exit code must tell."""

    def run(*args: str, env: Mapping[str, str] | None = None) -> list[Found]:
        done = run_sipcap(["doctor", "--format", "json", *args], tmp_path, env=env)
        assert done.stderr == b"", done.stderr
        found: list[Found] = [json.loads(line) for line in done.stdout.splitlines()]
        assert all(set(each) == {"check", "state", "text", "command"} for each in found)
        assert done.returncode == any(each["state"] == "wrong" for each in found)
        return found

    return run


def of(found: Sequence[Found], check: str, state: str = "wrong") -> list[Found]:
    """The findings of a group in a state."""
    return [each for each in found if (each["check"], each["state"]) == (check, state)]
