"""What the log shows, and what it hides."""

from __future__ import annotations

import time

import pytest

from sipcap.hiding import hide_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x mysql://u:geheim@h/db: refused", "x mysql://u:(hidden)@h/db: refused"),
        ("'postgresql://u:ge@/heim@h:5432/db'", "'postgresql://u:(hidden)@h:5432/db'"),
        ("mysql://u:a@h, and mysql://u:b@h", "mysql://u:(hidden)@h, and mysql://u:(hidden)@h"),
        ("odbc://h/d?password=geheim&x=1 end", "odbc://h/d?password=(hidden)&x=1 end"),
        ("mysql://u@h:3306/db", "mysql://u@h:3306/db"),
        ("http://127.0.0.1:9096/metrics", "http://127.0.0.1:9096/metrics"),
        ("sqlite:////a:b@c.db", "sqlite:////a:b@c.db"),
        ("sip:alice:x@example.com", "sip:alice:x@example.com"),
        ("://", "://"),
        ("sqlite:///x.db,mysql://u:geheim@h/db", "sqlite:///x.db,mysql://u:(hidden)@h/db"),
        ("mysql://us/er:geheim@h", "mysql://us/er:(hidden)@h"),
        ("mysql://u:geheim@h/db,postgresql://v:geheim@h", "mysql://u:(hidden)@h"),
        ("mysql://u://geheim@h", "mysql://u:(hidden)@h"),
    ],
)
def test_passwords_of_urls_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    """Up to the last @ of a word; what is no password stays readable."""
    assert hide_passwords(text) == shown


@pytest.mark.parametrize("piece", ["://a:", "://", "a:@", ":///", "password=", "://a:b@ "])
def test_passwords_are_looked_for_in_linear_time(piece: str) -> None:
    """Captured text in a log line cannot hold up a capture."""
    begin_s = time.monotonic()
    hide_passwords("://" + piece * 200_000)
    assert time.monotonic() - begin_s < 5
