"""From a URL to its database."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import CannotStart
from sipcap.sinks.registry import open_sink, sqlite_path
from sipcap.sinks.url import DEFAULT_URL

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (DEFAULT_URL, "sipcap.db"),
        ("sqlite:///x.db", "x.db"),
        ("SQLite:///X.db", "X.db"),
        ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:///a/b%20c.db", "a/b c.db"),
        ("sqlite:///what%3F%23%25.db", "what?#%.db"),
        ("sqlite:///x.db?", "x.db"),
        ("sqlite:///%ff.db", "\udcff.db"),
        ("sqlite:///\u00fcber.db", "\u00fcber.db"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:///u:p@h/x.db", "u:p@h/x.db"),
    ],
)
def test_sqlite_path_three_slashes_are_relative_and_four_absolute(url: str, path: str) -> None:
    """A URL names one file, percent signs decoded, whatever bytes it is called."""
    assert sqlite_path(url) == Path(path)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://x.db",
        "sqlite:x.db",
        "sqlite:///x.db?mode=ro",
        "sqlite:///x#y.db",
    ],
)
def test_sqlite_path_of_what_names_no_file_says_how_to_write_it(url: str, tmp_path: Path) -> None:
    """Nothing is guessed, and no option is silently without effect."""
    with pytest.raises(CannotStart, match="--db-url"):
        open_sink(url)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://u:{SECRET}@h/db",
        f"nosuch://u:{SECRET}@h:99999/db",
        f"u:{SECRET}@h/db",
        f"user_1:{SECRET}@h/db",
        f"//u:{SECRET}@h/db",
        SECRET,
        f"sqlite://u:{SECRET}@h/db",
        f"mysql://u:{SECRET}@[::1/db",
        f"mysql://u:{SECRET}@h\u2100/db",
        f"sqlite://u:{SECRET}@[/x",
        f" mysql://u:{SECRET}@h/db",
        f"text://u:{SECRET}@h/folder",
        f"ndjson:///folder?{SECRET}",
        f"unixodbc://u:{SECRET}@h/x;y",
        f"odbc://u:{SECRET}@h/",
        "",
    ],
)
def test_open_of_what_it_does_not_know_never_shows_the_password(url: str) -> None:
    """A URL that cannot be used ends the start without what may be secret in it."""
    with pytest.raises(CannotStart) as caught:
        open_sink(url.replace("mysql", "nosuchdb"))
    assert SECRET not in str(caught.value)


def test_open_of_an_unknown_database_names_it() -> None:
    """A typing error shows."""
    with pytest.raises(CannotStart, match=r"unknown database sqlight; known: .*sqlite"):
        open_sink("sqlight:///x.db")


@given(url=st.text(max_size=30) | st.text(max_size=30).map("://".__add__))
def test_open_of_any_text_cannot_start(url: str) -> None:
    """No text whatever raises anything else."""
    with pytest.raises(CannotStart):
        open_sink("x" + url)


def test_open_creates_the_file_where_the_url_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is in the current folder; ``:memory:`` is a file, too: what is stored is never forgotten."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("folder/x.db", ":memory:", "\udcff.db"):
        open_sink(f"sqlite:///{name}").close()
        assert (tmp_path / name).stat().st_size > 0
    open_sink(f"sqlite:///{tmp_path}/absolute.db").close()
    assert (tmp_path / "absolute.db").exists()
