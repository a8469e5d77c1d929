"""Certificates, made once for all tests of TLS, a look at the log, and listening TCP ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sipcap.sources.hep_stream import Room
from tests.support.streams import Host, Make
from tests.support.tls import Identity, self_signed, signed_by


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for certificates."""
    return tmp_path_factory.mktemp("pki")


@pytest.fixture(scope="session")
def authority(pki: Path) -> Identity:
    """Whom the server trusts."""
    return self_signed(pki, "authority")


@pytest.fixture(scope="session")
def server(pki: Path) -> Identity:
    """The capture node."""
    return self_signed(pki, "server")


@pytest.fixture(scope="session")
def agent(pki: Path, authority: Identity) -> Identity:
    """A HEP agent that the authority vouches for."""
    return signed_by(authority, pki, "agent")


@pytest.fixture(scope="session")
def stranger(pki: Path) -> Identity:
    """Somebody for whom nobody vouches."""
    return self_signed(pki, "stranger")


@pytest.fixture
def make_host() -> Iterator[Make]:
    """Makes hosts, and closes them behind the test."""
    with ExitStack() as stack:

        def make(*, allow: list[str] | None = None, room: Room | None = None, idle_s: float = 60.0) -> Host:
            host = Host(allow=allow, room=room, idle_s=idle_s)
            stack.callback(host.close)
            return host

        yield make
