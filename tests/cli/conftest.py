"""Commands that run while a test does something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.background import Background, Start, background

UDP = ("--listen", "udp:127.0.0.1:0")
JSON = ("--log-format", "json")


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Start]:
    """Starts ``sipcap listen`` on a free UDP port (or the endpoints given), with a summary in JSON."""
    with ExitStack() as stack:

        def start(*args: str, **options: Any) -> Background:
            endpoints = () if "--listen" in args else UDP
            return stack.enter_context(background(tmp_path, "listen", *endpoints, *JSON, *args, **options))

        yield start


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Start]:
    """Starts ``sipcap run`` into ``sipcap.db``, otherwise as ``listen`` does."""
    with ExitStack() as stack:

        def start(*args: str, **options: Any) -> Background:
            endpoints = () if "--listen" in args else UDP
            return stack.enter_context(background(tmp_path, "run", *endpoints, *JSON, *args, **options))

        yield start
