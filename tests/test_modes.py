"""Capture modes and the module's notation for them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipcap.modes import MODE_KEYS, BadMode, CaptureMode, make_mode, nearest, parse_mode
from sipcap.routing import HASH_SOURCES, MT_MODES
from sipcap.sinks.url import DEFAULT_URL

URL = "mysql://user:secret@host/db"
PAIRS = {"db_url": URL, "table_name": "a|b", "mt_mode": "hash", "hash_source": "to_user"}
WHOLE = CaptureMode("m1", URL, ("a", "b"), "hash", "to_user")


@pytest.mark.parametrize("keys", list(itertools.permutations(MODE_KEYS)))
@pytest.mark.parametrize("end", ["", ";"])
def test_notation_any_order_and_trailing_semicolon_is_read(keys: tuple[str, ...], end: str) -> None:
    """The module's own examples load, which end in a semicolon, and no key has to be the last."""
    assert parse_mode("m1=>" + ";".join(f"{key}={PAIRS[key]}" for key in keys) + end) == WHOLE


@pytest.mark.parametrize(
    "text",
    [
        " \t\r\nm1 =>\r\n db_url = {url} ;\n table_name\t= a|b ; mt_mode =hash; hash_source= to_user ; ",
        "m1=>db_url=\"{url}\";table_name='a|b';mt_mode='hash' ; hash_source=\"to_user\"",
        "m1=>db_url={url};table_name='a | b';mt_mode=hash;hash_source=TO_User",
        "m1=>db_url={url};table_name='|a||b|';mt_mode=hash;hash_source=to_user",
    ],
)
def test_notation_blanks_quotes_and_case_are_read_as_the_module_does(text: str) -> None:
    """Blanks stand around = and ;, quotes are removed, hash_source has no case, empty tables do not count."""
    assert parse_mode(text.format(url=URL)) == WHOLE


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("mysql://u:a,b>c@h/d", "mysql://u:a,b>c@h/d"),
        ("postgresql://h/d?sslmode=verify-full&x=1", "postgresql://h/d?sslmode=verify-full&x=1"),
        ("'mysql://u:a;b\"c@h/d'", 'mysql://u:a;b"c@h/d'),
        ("mysql://u:a'b@h/d", "mysql://u:a'b@h/d"),
        ("mysql://u%3b%20@h/%Y", "mysql://u%3b%20@h/%Y"),
    ],
)
def test_notation_urls_are_whole(value: str, url: str) -> None:
    """Commas, = and quotes in a URL do not cut it, and quotes protect a semicolon."""
    assert parse_mode(f"m=>db_url={value};table_name=t").db_url == url


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "column 1: expected name=>"),
        ("=>db_url=x", "column 1: expected name=>"),
        ("m", "column 2: expected =>"),
        ("m= >db_url=x", "column 2: expected =>"),
        ("m1 db_url=>x", "column 4: expected =>"),
        ("m=>", "column 4: expected a key of a capture mode"),
        ("m=>;", "column 4: expected a key of a capture mode"),
        ("m=>db_url=x;;", "column 13: expected a key of a capture mode"),
        ("m=>db_url", "column 10: expected = after db_url"),
        ("m=>db_url=x y", "column 13: expected ; after the value of db_url"),
        ("m=>db_url='x'y", "column 14: expected ; after the value of db_url"),
        ("m=>db_url='x", "column 11: the quote before the value of db_url has no end"),
        ("m=>db_url=x;tabel_name=t", "column 13: expected a key of a capture mode; did you mean table_name?"),
        ("m=>db_url=x;db_url=y", "column 13: db_url is given twice"),
        ("m=>table_name=t", "db_url is missing"),
        ("m=>db_url=;", "db_url is empty"),
        ("m=>db_url='x y';", "db_url has a blank"),
        ("m=>db_url=x;table_name=|", "table_name is empty"),
        ("m=>db_url=x;table_name='\0'", "table_name: no table can be called"),
        ("m=>db_url=x;mt_mode=", "mt_mode is ''"),
        ("m=>db_url=x;mt_mode=round-robin", "must be one of rand, round_robin, hash; did you mean round_robin?"),
        ("m=>db_url=x;mt_mode=Hash", "must be one of rand, round_robin, hash"),
        ("m=>db_url=x;hash_source=callid", "must be one of call_id, from_user, to_user; did you mean call_id?"),
        ("a;b=>db_url=x", "the name of a capture mode"),
    ],
)
def test_notation_wrong_text_says_where_and_what_is_allowed(text: str, said: str) -> None:
    """An error names the column, or the key with its allowed values."""
    with pytest.raises(BadMode) as caught:
        parse_mode(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60) | st.text("mde_urlb=>;,|'\" \t\nx%", max_size=60))
@example("m=>db_url=x")
@example("m=>db_url='x")
def test_notation_any_text_is_a_mode_or_a_named_error(text: str) -> None:
    """Whatever stands in a configuration, it is a whole mode or an error with a reason."""
    try:
        mode = parse_mode(text)
    except BadMode as error:
        assert str(error)
    else:
        assert mode.name
        assert mode.db_url
        assert mode.mt_mode in MT_MODES
        assert mode.hash_source in HASH_SOURCES


_plain = st.text(st.characters(exclude_characters=" \t\r\n;\"'", exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]))


@given(
    url=_plain.filter(lambda text: not any(map(str.isspace, text)) and bool(text)),
    quote=st.sampled_from(["", "'", '"']),
)
def test_notation_any_url_without_quotes_and_semicolons_comes_back(url: str, quote: str) -> None:
    """A value is what stands there, with and without quotes around it."""
    assert parse_mode(f"m=>table_name=t;db_url={quote}{url}{quote};").db_url == url


@pytest.mark.parametrize(
    "text",
    [
        "mysql://user:secret@host/db?x=1",
        "m=>db_url=mysql://user:a;secret@host/db",
        "m=>db_url=mysql://user:a;secret=b@host/db",
        "m=>db_url=mysql://user:a secret@host/db",
        "m=>db_url='mysql://user:secret@host/db",
        "m=>db_url='mysql://user: secret@host/db'",
        "m=>db_url=mysql://user:secret@host/db;mt_mode=x",
    ],
)
def test_notation_errors_show_no_password(text: str) -> None:
    """What an error says may be logged."""
    with pytest.raises(BadMode) as caught:
        parse_mode(text)
    assert "secret" not in str(caught.value)


def test_mode_shown_hides_its_url() -> None:
    """A mode in a log line or traceback tells no password."""
    assert "secret" not in repr(WHOLE)


def test_mode_without_values_has_the_modules_defaults() -> None:
    """The default mode needs no key; a named one needs its database."""
    assert make_mode("default", {}) == CaptureMode("default", DEFAULT_URL, (), "rand", "call_id")
    assert make_mode("m", {"db_url": "x"}) == CaptureMode("m", "x", (), "rand", "call_id")
    with pytest.raises(BadMode, match="db_url is missing"):
        make_mode("m", {"table_name": "t"})


@pytest.mark.parametrize("key", ["", "db_ulr", "DB_URL", "capture_on"])
def test_mode_unknown_key_is_an_error_of_that_key(key: str) -> None:
    """What the module passes over in silence is named."""
    with pytest.raises(BadMode) as caught:
        make_mode("m", {"db_url": "x", key: "y"})
    assert caught.value.key == key
    assert "known: db_url, table_name, mt_mode, hash_source" in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "a|b", "a\tb", "a\u00a0b"])
def test_mode_name_that_no_notation_can_hold_is_refused(name: str) -> None:
    """Every mode can be written in the module's notation."""
    with pytest.raises(BadMode, match="name of a capture mode"):
        make_mode(name, {"db_url": "x"})


@pytest.mark.parametrize(
    ("word", "hint"), [("tabel", "; did you mean table?"), ("MODE", "; did you mean Mode?"), ("zzz", ""), ("", "")]
)
def test_nearest_names_what_is_like_the_word_only(word: str, hint: str) -> None:
    """A hint is given where there is one."""
    assert nearest(word, ["table", "Mode"]) == hint
