"""What is kept of a process' log."""

from __future__ import annotations

import logging

from sipcap.hiding import PasswordFilter
from sipcap.service.recent import RecentErrors

SECRET = "mysql://u:geheim@h/db"


def test_latest_errors_are_kept_without_passwords() -> None:
    """``status --json`` shows them to whoever may ask."""
    logger, errors = logging.Logger("x"), RecentErrors(2)
    logger.addHandler(errors)
    for number in range(3):
        logger.warning("%d: no module %s", number, SECRET)
    assert [entry["text"] for entry in errors.entries] == [
        "1: no module mysql://u:(hidden)@h/db", "2: no module mysql://u:(hidden)@h/db",
    ]  # fmt: skip


def test_passwords_are_hidden_before_any_handler_sees_them() -> None:
    """In the fields of a JSON line, too."""
    seen: list[logging.LogRecord] = []
    logger, handler = logging.Logger("x"), logging.Handler()
    handler.emit = seen.append  # type: ignore[assignment,method-assign]
    logger.addHandler(handler)
    logger.addFilter(PasswordFilter())
    logger.info("%s", SECRET, extra={"fields": {"urls": [SECRET], "received": 5, "of": {"url": SECRET}}})
    assert "geheim" not in str(vars(seen[0]))
    assert vars(seen[0])["fields"]["received"] == 5
