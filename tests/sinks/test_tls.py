"""TLS to the servers: what the URL asks for is what happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipcap.errors import CannotStart
from tests.support.databases import ServedDatabase, rows_of
from tests.support.records import sip_record
from tests.support.tls import self_signed

VERIFY = {
    "postgresql": "sslmode=verify-full&sslrootcert={ca}",
    "mysql": "ssl_mode=verify_identity&ssl_ca={ca}",
}


@pytest.fixture
def secured(served: ServedDatabase) -> ServedDatabase:
    """A database on a server with a certificate."""
    if served.server.tls is None:
        pytest.skip("not our server, or no openssl")
    return served


def url_of(secured: ServedDatabase, host: str, ca: Path | None = None) -> str:
    """The URL that asks for a proof of who the server is; its certificate is for ``localhost``."""
    assert secured.server.tls is not None
    query = VERIFY[secured.kind].format(ca=ca or secured.server.tls.cert)
    return secured.server.url(secured.name, query=query).replace("@127.0.0.1:", f"@{host}:")


def test_open_server_that_is_who_it_says_is_used(secured: ServedDatabase) -> None:
    """A certificate for the host's name, from the right authority, is accepted."""
    secured.sink(url_of(secured, "localhost")).write("1", {"sip_capture": rows_of(sip_record(1))})
    assert len(secured.rows()) == 1


def test_open_server_that_somebody_else_vouches_for_cannot_start(secured: ServedDatabase, tmp_path: Path) -> None:
    """A certificate of another authority ends the start."""
    stranger = self_signed(tmp_path, "stranger").cert
    with pytest.raises(CannotStart, match="certificate"):
        secured.sink(url_of(secured, "localhost", stranger))


def test_open_server_of_another_name_cannot_start(secured: ServedDatabase) -> None:
    """A certificate for another host is not enough where the name is asked for."""
    with pytest.raises(CannotStart, match="certificate"):
        secured.sink(url_of(secured, "127.0.0.1"))
    if secured.kind == "mysql":
        secured.sink(url_of(secured, "127.0.0.1").replace("verify_identity", "verify_ca"))


@pytest.mark.parametrize(
    ("mode", "is_encrypted"), [("", True), ("preferred", True), ("required", True), ("disabled", False)]
)
def test_open_mode_decides_whether_it_is_encrypted(mysql: ServedDatabase, mode: str, is_encrypted: bool) -> None:
    """What the server can is used unless it is disabled."""
    if mysql.server.tls is None:
        pytest.skip("not our server, or no openssl")
    mysql.sink(mysql.server.url(mysql.name, query=f"ssl_mode={mode}" if mode else ""))
    account = f"{mysql.server.user}_tls"
    mysql.execute(f"CREATE USER {account} IDENTIFIED BY 'p' REQUIRE SSL")
    try:
        mysql.execute(f"GRANT ALL ON {mysql.name}.* TO {account}")
        url = f"mysql://{account}:p@{mysql.server.host}:{mysql.server.port}/{mysql.name}?ssl_mode={mode or 'preferred'}"
        if is_encrypted:
            mysql.sink(url).close()
        else:
            with pytest.raises(CannotStart):
                mysql.sink(url)
    finally:
        mysql.execute(f"DROP USER {account}")
