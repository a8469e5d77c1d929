"""From the URL of a MySQL server to what pymysql is told."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from sipcap.errors import CannotStart
from sipcap.limits import SERVER_CONNECT_S, SERVER_SILENCE_S
from sipcap.sinks.url import DatabaseUrl, parse_url

DEFAULT_PORT: Final = 3306
OPTIONS: Final = frozenset({"connect_timeout", "ssl_ca", "ssl_cert", "ssl_key", "ssl_mode"})
SSL_MODES: Final = ("disabled", "preferred", "required", "verify_ca", "verify_identity")
"""As the clients of MySQL call them; without one it is verify_ca with ssl_ca, preferred without."""

_SQL_MODE: Final = "STRICT_ALL_TABLES,STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION"


def parse_mysql_url(url: str) -> DatabaseUrl:
    """Read ``mysql://``; raises CannotStart."""
    return parse_url(url, "mysql", DEFAULT_PORT, OPTIONS)


def parameters(url: DatabaseUrl) -> dict[str, Any]:
    """What pymysql is told."""
    timeout = url.options.get("connect_timeout", str(SERVER_CONNECT_S))
    if not timeout.isdecimal() or not 0 < int(timeout) <= SERVER_SILENCE_S:
        raise CannotStart(f"--db-url: connect_timeout is not a number of seconds up to {SERVER_SILENCE_S}")
    return {
        "user": url.user,
        # pymysql would send Latin-1, where accounts are made with UTF-8.
        "password": (url.password or "").encode(),
        "host": url.host or "localhost",
        "port": url.port,
        "unix_socket": url.socket or None,
        "database": url.database,
        "charset": "utf8mb4",
        "sql_mode": _SQL_MODE,
        "autocommit": True,
        "local_infile": True,
        "connect_timeout": int(timeout),
        "read_timeout": SERVER_SILENCE_S,
        "write_timeout": SERVER_SILENCE_S,
        "program_name": "sipcap",
    } | _tls(url.options)


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    files = {name: options[name] for name in ("ssl_ca", "ssl_cert", "ssl_key") if name in options}
    mode = options.get("ssl_mode", "verify_ca" if "ssl_ca" in files else "required" if files else "preferred").lower()
    if mode not in SSL_MODES:
        raise CannotStart(f"--db-url: unknown ssl_mode {mode!r}; known: {', '.join(SSL_MODES)}")
    if mode == "disabled":
        return {"ssl_disabled": True}
    if mode == "preferred" and not files:
        return {}
    try:
        context = ssl.create_default_context(cafile=files.get("ssl_ca"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the certificates that MySQL makes for itself do not pass it
        context.check_hostname = mode == "verify_identity"
        context.verify_mode = ssl.CERT_REQUIRED if mode.startswith("verify_") else ssl.CERT_NONE
        if "ssl_cert" in files:
            context.load_cert_chain(files["ssl_cert"], files.get("ssl_key"))
    except OSError as error:
        raise CannotStart(f"--db-url: cannot use the TLS files: {error.strerror or error}") from None
    return {"ssl": context}
