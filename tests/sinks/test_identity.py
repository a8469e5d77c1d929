"""Which database a URL means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sipcap.sinks.identity import identity_of


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("sqlite:///a.db", f"sqlite:///{Path('a.db').resolve()}"),
        ("mysql://u:secret@h/d", "mysql://v:other@h:3306/d"),
        ("postgres://h/d?sslmode=require", "postgresql://u:secret@h:5432/d"),
        ("text:///x/y/", "dbtext:///x/y"),
        ("odbc://u:secret@h/DSN", "odbc://h/DSN"),
    ],
)
def test_identity_is_the_same_for_all_urls_of_a_database(url: str, other: str) -> None:
    """User, password, port by default and spelling make no difference."""
    assert identity_of(url) == identity_of(other)
    assert "secret" not in identity_of(url) + identity_of(other)


def test_identity_tells_databases_apart() -> None:
    """Another server, socket, port, database, file or folder is another."""
    urls = [
        "sqlite:///a.db", "sqlite:///b.db", "mysql://h/d", "mysql://h/e", "mysql://i/d", "mysql://h:1/d",
        "mysql:///d?socket=/a", "mysql:///d?socket=/b", "postgresql://h/d", "text:///a", "ndjson:///a", "odbc://h/a",
        "odbc://h/b",
    ]  # fmt: skip
    assert len(set(map(identity_of, urls))) == len(urls)


def test_identity_of_a_relative_file_is_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same name somewhere else is another file."""
    here = identity_of("sqlite:///a.db")
    monkeypatch.chdir(tmp_path)
    assert identity_of("sqlite:///a.db") != here
    assert os.fspath(tmp_path) in identity_of("sqlite:///a.db")
