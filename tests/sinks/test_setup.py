"""``sql/<database>/setup.sql``: a server set up as an administrator would, and used without a superuser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from sipcap.ddl import read_ddl
from sipcap.errors import CannotStart
from sipcap.sinks.registry import open_sink
from tests.conftest import RunSipcap
from tests.support.database_server import DatabaseServer
from tests.support.records import sip_lines

_PASSWORD = "a longer 'word"
DATABASE, USERS = "homer_data", ("homer_user", "homer_reader")


def _run_script(server: DatabaseServer, folder: Path) -> None:
    """Run the script with the server's own client, as it stands but for the passwords and where users come from."""
    script = folder / "setup.sql"
    text = read_ddl(server.scheme, "setup").replace("'CHANGE_ME'", "'" + _PASSWORD.replace("'", "''") + "'")
    script.write_text(text.replace("'localhost'", "'%'"), encoding="utf-8")
    where = [f"--host={server.host}", f"--port={server.port}"]
    if server.scheme == "mysql":
        argv, secret = ["mysql", *where, f"--user={server.user}"], {"MYSQL_PWD": server.password}
    else:
        argv = [
            "psql",
            *where,
            f"--username={server.user}",
            "-v",
            "ON_ERROR_STOP=1",
            "-q",
            "-f",
            str(script),
            "postgres",
        ]
        secret = {"PGPASSWORD": server.password}
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not here")
    with script.open("rb") as stdin:
        done = subprocess.run(argv, stdin=stdin, capture_output=True, check=False, env=os.environ | secret, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["postgresql", "mysql"])
def set_up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabaseServer]:
    """A private server on which the script has been run; what it made is removed afterwards."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    if not server.is_private:
        pytest.skip("not our server")
    _run_script(server, tmp_path)
    yield server
    server.drop_database(DATABASE)
    for user in USERS:
        server.execute(f"DROP USER {user}" + ("@'%'" if server.scheme == "mysql" else ""))


def _url(server: DatabaseServer, user: str) -> str:
    return f"{server.scheme}://{user}:{quote(_PASSWORD, '')}@{server.host}:{server.port}/{DATABASE}"


@pytest.mark.parametrize("schema", ["sipcapture", "homer5", "homer7"])
def test_setup_lets_its_users_do_what_they_are_for_and_no_more(
    set_up: DatabaseServer, schema: str, sipcap: RunSipcap
) -> None:
    """The one stores and looks after tables, the other searches, and cannot write."""
    writer, reader = _url(set_up, USERS[0]), _url(set_up, USERS[1])
    stored = sipcap("store", "--db-url", writer, "--schema", schema, stdin=sip_lines(50))
    assert (stored.returncode, b"stored 50" in stored.stderr) == (0, True), stored.stderr
    assert b"stored twice" not in stored.stderr  # the ledger could be made
    pattern = {"sipcapture": "sip_capture", "homer5": "sip_capture_rest_%Y%m%d", "homer7": "hep_proto_1_default"}[
        schema
    ]
    found = sipcap("search", "--db-url", reader, "--table", pattern)
    assert (found.returncode, len(found.stdout.splitlines())) == (0, 50), found.stderr
    with pytest.raises(CannotStart, match="denied"):
        open_sink(reader)


def test_setup_lets_upkeep_create_and_drop(set_up: DatabaseServer, sipcap: RunSipcap) -> None:
    """``sipcap tables`` needs no superuser either."""
    options = ("--db-url", _url(set_up, USERS[0]), "--table", "sip_capture_%Y%m%d")
    created = sipcap("tables", "create", "--ahead", "2d", *options)
    assert created.returncode == 0, created.stderr
    listed = sipcap("tables", "list", *options, "--format", "json")
    names = [json.loads(line)["table"] for line in listed.stdout.splitlines()]
    assert len(names) >= 3, listed.stderr
    dropped = sipcap("tables", "drop", *names, *options)
    assert dropped.returncode == 0, dropped.stderr
    assert not sipcap("tables", "list", *options, "--format", "json").stdout
