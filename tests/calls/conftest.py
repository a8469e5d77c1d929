"""What the program says, for tests of search."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the program says."""
    logger = logging.getLogger("sipcap")
    logger.propagate = True
    with caplog.at_level(logging.INFO, logger="sipcap"):
        yield caplog
