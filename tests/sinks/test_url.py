"""URLs of database servers: what they say, and that nothing of them shows a password."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipcap.errors import CannotStart
from sipcap.sinks.mysql_connect import parse_mysql_url
from sipcap.sinks.postgresql import parse_postgresql_url
from sipcap.sinks.url import parse_url

OPTIONS = frozenset({"mode", "ca"})
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


def parse(text: str) -> Any:
    """Read the URL of a database called ``db``."""
    return parse_url(text, "db", 1234, OPTIONS)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("db://h/d", (None, None, "h", 1234, "", "d")),
        ("db://u@h/d", ("u", None, "h", 1234, "", "d")),
        ("db://u:p@h:5/d", ("u", "p", "h", 5, "", "d")),
        ("db://u:@h/d/", None),
        ("db://u:p@q:r@h/d", ("u", "p@q:r", "h", 1234, "", "d")),
        ("db://u:p#!$&'()*+,;=@h/d", ("u", "p#!$&'()*+,;=", "h", 1234, "", "d")),
        ("db://u%40x:%2F%3F%25@h/d%20e", ("u@x", "/?%", "h", 1234, "", "d e")),
        ("db:///d", (None, None, "localhost", 1234, "", "d")),
        ("db://[2001:db8::1]:7/d", (None, None, "2001:db8::1", 7, "", "d")),
        ("db://h/d?socket=/run/x.sock", (None, None, "", 1234, "/run/x.sock", "d")),
        ("db://u:p@unix(/run/x.sock)/d", ("u", "p", "", 1234, "/run/x.sock", "d")),
        ("db://unix(/run/x)/d?mode=1", (None, None, "", 1234, "/run/x", "d")),
    ],
)
def test_parse_url_of_any_form_is_read(url: str, expected: tuple[Any, ...] | None) -> None:
    """User, password, host, port, socket and database are told apart, in Kamailio's form as well."""
    if expected is None:
        with pytest.raises(CannotStart):
            parse(url)
        return
    found = parse(url)
    assert (found.user, found.password, found.host, found.port, found.socket, found.database) == expected


def test_parse_url_options_are_decoded() -> None:
    """The query has options, percent-decoded; a plus stays one."""
    assert parse("db://h/d?mode=a%26b&ca=/x+y.pem").options == {"mode": "a&b", "ca": "/x+y.pem"}


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("db://h/d?colour=red", "colour"), ("db://h", "no database"), ("db://h/", "no database"), ("db://h:0/d", "0"),
        ("db://h:70000/d", "70000"), ("db://h:x/d", "HOST"), ("db:h/d", "HOST"), ("db://h/%ff", "UTF-8"),
        ("db://h/a%00b", "NUL"),
    ],
)  # fmt: skip
def test_parse_url_that_is_wrong_says_what(url: str, named: str) -> None:
    """What cannot be meant is refused with the word that is wrong."""
    with pytest.raises(CannotStart, match=named):
        parse(url)


@pytest.mark.parametrize(
    "password", ["se/cret", "se?cret", "12/cret", "12?cret", "se[cret", "se\ncret", "%ffcret", "cret%00"]
)
def test_parse_url_with_a_password_that_is_not_escaped_does_not_show_it(password: str) -> None:
    """Whatever goes wrong with a password, none of it is in the message."""
    try:
        shown = repr(parse(f"db://user:{password}@host/d"))
    except CannotStart as error:
        shown = str(error)
    assert "cret" not in shown


@given(user=words, password=words, database=words)
@example(user="u", password="@:/?#[]%", database="a@b/c")
def test_parse_url_any_escaped_text_comes_back(user: str, password: str, database: str) -> None:
    """Whatever is percent-encoded is read as it was, and neither repr nor place tell the password."""
    found = parse(f"db://{quote(user, safe='')}:{quote(password, safe='')}@h/{quote(database, safe='')}")
    assert (found.user, found.password, found.database) == (user, password, database)
    hidden = parse("db://u:hidden-word@h/d")
    assert "hidden-word" not in repr(hidden) + str(hidden) + hidden.place


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("db://u:p@h/d?mode=1", "db://h:1234/d"),
        ("db://[::1]/d", "db://[::1]:1234/d"),
        ("db://unix(/x)/d", "db://unix(/x)/d"),
    ],
)
def test_place_is_a_url_without_secrets(url: str, place: str) -> None:
    """Messages say which database, and not as whom."""
    assert parse(url).place == place


def test_options_of_each_server_are_its_own() -> None:
    """An option of one database is an error with the other, by its name."""
    assert (
        parse_postgresql_url("postgres://h/d?sslmode=verify-full&sslrootcert=/ca.pem").options["sslmode"]
        == "verify-full"
    )
    assert parse_mysql_url("mysql://h/d?ssl_ca=/ca.pem").options == {"ssl_ca": "/ca.pem"}
    with pytest.raises(CannotStart, match="ssl_ca"):
        parse_postgresql_url("postgresql://h/d?ssl_ca=/ca.pem")
    with pytest.raises(CannotStart, match="sslmode"):
        parse_mysql_url("mysql://h/d?sslmode=require")
