"""A private database server for tests: started in a temporary folder, killed and started again at will."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

import psycopg
import pymysql

from tests.support.tls import Identity, self_signed

Run = Callable[[str], list[dict[str, Any]]]
"""Runs one statement, and returns its rows."""

START_S: Final = 60.0
PASSWORD: Final = "sip:c@p/ß"  # what a URL must escape, and what is not Latin-1's ASCII


class DatabaseServer(ABC):
    """A running server on which tests have databases of their own."""

    scheme: str
    default_port: int
    programs = Path()
    end_signal = signal.SIGKILL
    """What ends it and all its processes at once."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self.host, self.port, self.user, self.password = host, port, user, password
        self._folder: Path | None = None
        self._durable = False
        self._settings: Mapping[str, object] = {}
        self.tls: Identity | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def from_url(cls, url: str) -> DatabaseServer:
        """The server that a variable names."""
        parts = urlsplit(url)
        names = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname or "127.0.0.1", parts.port or cls.default_port, *names)

    @classmethod
    def private(cls, *, durable: bool = False, settings: Mapping[str, object] | None = None) -> Self:
        """A new server; ``durable`` with the settings it comes with, ``settings`` changes some of them.

        LookupError if its programs are not here.
        """
        server = cls("127.0.0.1", free_port(), "sipcap", PASSWORD)
        server._durable = durable
        server._settings = settings or {}
        server.programs = server.find_programs()
        server._folder = Path(tempfile.mkdtemp(prefix=f"sipcap-{cls.scheme}-"))
        try:
            if not durable and shutil.which("openssl"):
                names = ("-nodes", "-addext", "subjectAltName=DNS:localhost")
                server.tls = self_signed(server._folder, "server", *names)
            if os.geteuid() == 0:
                for path in (server._folder, *server._folder.iterdir()):
                    shutil.chown(path, *server.account())
            server.initialise(server._folder)
            server.start()
        except BaseException:
            server.close()
            raise
        return server

    @property
    def is_private(self) -> bool:
        """Whether it may be killed."""
        return self._folder is not None

    @property
    def folder(self) -> Path:
        """Where a private server has its files."""
        assert self._folder is not None
        return self._folder

    @abstractmethod
    def find_programs(self) -> Path:
        """The folder of the server's programs; raises LookupError."""

    @abstractmethod
    def initialise(self, folder: Path) -> None:
        """Make the files of a new server, with the account of this object."""

    @abstractmethod
    def command(self) -> list[str]:
        """What starts the private server."""

    @abstractmethod
    def session(self, database: str | None = None) -> AbstractContextManager[Run]:
        """A connection of its own, each statement committed unless it begins a transaction."""

    def execute(self, statement: str, database: str | None = None) -> list[dict[str, Any]]:
        """Run one statement, and return its rows."""
        with self.session(database) as run:
            return run(statement)

    def account(self) -> tuple[str, int]:
        """User and group that a server started by root runs as: it refuses to run as root."""
        for name in ("nobody", "postgres", "mysql"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return name, entry.pw_gid
        raise LookupError("an unprivileged user")

    def _as_account(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        user, group = self.account()
        return {"user": user, "group": group, "extra_groups": []}

    def run(self, *args: str) -> None:
        """Run a program of the server to its end."""
        done = subprocess.run(
            args, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=START_S, check=False, env={"PATH": os.environ["PATH"], "TZ": "UTC"}, **self._as_account(),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode(errors="replace")

    def start(self) -> None:
        """Start the private server and wait until it answers."""
        until_s = time.monotonic() + START_S
        while True:
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True, env={"PATH": os.environ["PATH"], "TZ": "UTC"}, **self._as_account(),
                )  # fmt: skip
            if self._answers(until_s):
                return
            if time.monotonic() > until_s:
                self.kill()
                raise TimeoutError((self.folder / "log").read_text(errors="replace")[-4_000:])
            time.sleep(0.2)  # what is left of a killed one may still be ending

    def _answers(self, until_s: float) -> bool:
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < until_s:
            try:
                self.execute("SELECT 1")
            except (psycopg.Error, pymysql.err.MySQLError):
                time.sleep(0.05)
            else:
                return True
        return False

    def kill(self) -> None:
        """End the private server without any warning, as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None, "not ours"
        if self._process.poll() is None:
            self._process.send_signal(how)
        self._process.wait(START_S)

    def close(self) -> None:
        """End the private server and remove its files."""
        if self._folder is None:
            return
        if self._process is not None:
            self._end(self.end_signal)
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str, *, port: int | None = None, password: str | None = None, query: str = "") -> str:
        """The URL of a database, perhaps through another port or with another password."""
        secret = quote(self.password if password is None else password, safe="")
        who = f"{quote(self.user, safe='')}:{secret}@" if self.user else ""
        return f"{self.scheme}://{who}{self.host}:{port or self.port}/{database}" + (f"?{query}" if query else "")

    def create_database(self, options: str = "") -> str:
        """Create an empty database; returns its name."""
        name = f"sipcap_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever uses it."""
        self.execute(f"DROP DATABASE {name}")


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
