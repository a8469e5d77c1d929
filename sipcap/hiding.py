"""Passwords in what is told: hidden before anybody keeps, shows or sends it."""

from __future__ import annotations

import logging
import re
from typing import Any

_WORD = re.compile(r"\S+")
_AUTHORITY = re.compile(r"://(?!/)")
_PASSWORD = re.compile(r"\b((?:password|passwd|pwd)=)[^&;\s]*", re.IGNORECASE)


def hide_passwords(text: str) -> str:
    """Hide the passwords of URLs, up to the last @ of the word: an @ in one should be escaped, but is shown no less."""
    if "://" not in text:
        return text
    return _PASSWORD.sub(r"\1(hidden)", _WORD.sub(lambda word: _without_password(word[0]), text))


def _without_password(word: str) -> str:
    """A word may have several URLs, and a user, too, what should be escaped: rather too much is hidden than too little.

    Not one regular expression: in a long word of hostile text, that would be looked for from each of its characters.
    """
    found = _AUTHORITY.search(word)  # sqlite:///a:b@c is a path
    if found is None:
        return word
    end = word.rfind("@")
    colon = word.find(":", found.end(), max(end, 0))
    return word if colon < 0 else f"{word[: colon + 1]}(hidden){word[end:]}"


class PasswordFilter(logging.Filter):
    """Hides passwords in log records, before any handler sees them: in the text, and in the ``fields`` of JSON."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; all of them pass."""
        record.msg, record.args = hide_passwords(record.getMessage()), None
        fields = vars(record).get("fields")
        if fields is not None:
            record.fields = _hidden(fields)
        return True


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return hide_passwords(value)
    if isinstance(value, dict):
        return {key: _hidden(each) for key, each in value.items()}
    return [_hidden(each) for each in value] if isinstance(value, (list, tuple)) else value
