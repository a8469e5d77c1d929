"""Records through ODBC: data sources, foreign tables, troubles."""

from __future__ import annotations

import importlib
import logging
import types
from typing import Any, cast

import pytest

from sipcap.errors import CannotStart, SinkError
from sipcap.sinks.base import Adjusted
from sipcap.sinks.naming import Naming
from sipcap.sinks.odbc import OdbcDriver
from sipcap.sinks.odbc_connect import Connection, connect, parse_odbc_url
from sipcap.sinks.odbc_dialect import Dialect
from sipcap.sinks.registry import open_sink
from tests.conftest import RunSipcap
from tests.support.databases import Database, rows_of
from tests.support.odbc import DataSources, OdbcPostgresql, OdbcSqlite, driver_file
from tests.support.records import line_of, report_record, sip_lines, sip_record

SECRET = "s3cr;t}wörd"
QUOTED_SECRET = "s3cr%3Bt%7Dw%C3%B6rd"
UTC = "2023-11-14 22:13:20"


# The URL and the driver


@pytest.mark.parametrize("scheme", ["unixodbc", "odbc", "UnixODBC"])
def test_url_names_a_data_source_and_an_account(scheme: str) -> None:
    """User and password are percent-decoded, and what is shown has neither."""
    url = parse_odbc_url(f"{scheme}://u%40h:{QUOTED_SECRET}@localhost/My-Source.1")
    assert (url.user, url.password, url.database) == ("u@h", SECRET, "My-Source.1")
    assert SECRET not in repr(url) + url.place


@pytest.mark.parametrize(
    "rest",
    ["h", "h/", "h/a;PWD=x", "h/{x}", "h/a b", "h/x?dsn=y", "h/x?fast_executemany=2", "unix(/s)/x", "h/x?socket=/s"],
)
def test_url_that_names_no_data_source_cannot_start(rest: str) -> None:
    """Nothing is guessed, nothing gets into the driver's own words, and the password is not repeated."""
    with pytest.raises(CannotStart, match="--db-url") as caught:
        parse_odbc_url(f"unixodbc://u:{QUOTED_SECRET}@{rest}")
    assert SECRET not in str(caught.value)


def test_url_with_a_host_elsewhere_says_that_it_has_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    """Kamailio's URLs have a host, which its driver and this one leave to the data source."""
    parse_odbc_url("unixodbc://u:p@localhost/x")
    assert caplog.text == ""
    parse_odbc_url("unixodbc://u:p@db.example/x")
    assert "the host has no effect; the data source x says where it is" in caplog.text


class FakeApi:
    """What a connection is asked for."""

    Error: type[Exception] = RuntimeError
    pooling = False
    said = ""

    def connect(self, connstring: str, /, **_options: object) -> Any:
        """Remember it."""
        self.said = connstring


@pytest.mark.parametrize(
    ("account", "said"),
    [
        ("", "DSN=x"),
        ("u@", "DSN=x;UID=u"),
        ("u:p@", "DSN=x;UID=u;PWD=p"),
        ("u:@", "DSN=x;UID=u;PWD={}"),
        (f"a%20b:{QUOTED_SECRET}@", "DSN=x;UID={a b};PWD={s3cr;t}}wörd}"),
    ],
)
def test_connect_quotes_what_has_a_meaning(account: str, said: str) -> None:
    """A password is a password, whatever characters it has."""
    api = FakeApi()
    connect(api, parse_odbc_url(f"odbc://{account}localhost/x"))
    assert api.said == said


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("No module named 'pyodbc'", "pip install 'sipcap[odbc]'"),
        ("libodbc.so.2: cannot open shared object file", "the system's package unixodbc"),
    ],
)
def test_open_without_the_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch, error: str, hint: str) -> None:
    """What is missing is one of two things, and the message tells which."""

    def fail(name: str) -> types.ModuleType:
        raise ImportError(error)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(CannotStart, match="the driver for ODBC is missing") as caught:
        open_sink("unixodbc://localhost/x")
    assert hint in str(caught.value)


def test_open_unknown_data_source_cannot_start(data_sources: DataSources) -> None:
    """A name that no odbc.ini has ends the start in one line."""
    driver_file("sqlite")
    with pytest.raises(CannotStart, match=r"cannot use data source nowhere: .*not found") as caught:
        open_sink(f"unixodbc://u:{QUOTED_SECRET}@localhost/nowhere")
    assert "\n" not in str(caught.value)


def test_open_wrong_password_cannot_start_and_does_not_show_it(odbc_postgresql: OdbcPostgresql) -> None:
    """What the server says of an account is said, and no secret."""
    with pytest.raises(CannotStart, match="password authentication failed") as caught:
        open_sink(f"unixodbc://sipcap:{QUOTED_SECRET}@localhost/{odbc_postgresql.source}")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_of_an_error_never_has_the_password(odbc_sqlite: OdbcSqlite) -> None:
    """Some drivers repeat what they were given."""
    driver = OdbcDriver(parse_odbc_url(f"odbc://u:{QUOTED_SECRET}@localhost/x"))
    error = driver.errors[0]("08001", f"[08001] bad attribute PWD={SECRET}\nmore")
    assert driver.text(error) == "[08001] bad attribute PWD=***"


# Command line


@pytest.mark.parametrize("kind", ["odbc_sqlite", "odbc_postgresql"])
def test_store_fills_tables_and_goes_on_with_them(request: pytest.FixtureRequest, sipcap: RunSipcap, kind: str) -> None:
    """From its command line, sipcap makes tables in a data source, and finds them again."""
    database: Database = request.getfixturevalue(kind)
    lines = sip_lines(30) + line_of(report_record(1))
    for _ in range(2):
        done = sipcap("store", "--db-url", database.url, "--batch-size", "7", stdin=lines)
        assert (done.returncode, done.stderr) == (0, b"sipcap: received 31, stored 30, reported 1\n")
    assert [row["callid"] for row in database.rows()] == [f"call-{number}@host" for number in range(30)] * 2
    assert [row["date"] for row in database.rows("report_capture")] == [UTC] * 2


def test_homer7_has_tables_of_its_own(odbc_sqlite: OdbcSqlite) -> None:
    """Every schema has its columns."""
    open_sink(odbc_sqlite.url, schema="homer7").write("a", {"hep_proto_1_call": rows_of(sip_record(1))})
    (row,) = odbc_sqlite.rows("hep_proto_1_call")
    assert (row["sid"], row["create_date"][:19], row["raw"]) == ("call-1@host", UTC, "msg 1")


# Foreign tables

KAMAILIO = (
    "CREATE TABLE sip_capture (id serial, date timestamp NOT NULL, micro_ts bigint, method varchar(5) NOT NULL,"
    ' source_port varchar(9), callid varchar, msg varchar(10), node character(6), "Extra" int)'
)  # fmt: skip


def test_write_foreign_table_is_filled_and_cut_to_its_widths(odbc_postgresql: OdbcPostgresql) -> None:
    """Text is cut to the width of its column, and only where there is one; times and numbers take the column's type."""
    odbc_postgresql.execute(KAMAILIO)
    long = sip_record(1, method="SUBSCRIBE", callid="x" * 3_000, msg="é" * 11, node="n", source_port=5060)
    short = sip_record(2, method="ACK", msg="é" * 10, node="n")
    sink = odbc_postgresql.sink()
    assert sink.write("1", {"sip_capture": rows_of(long, short)}) == Adjusted(truncated=1)
    first, second = odbc_postgresql.rows(order="id")
    assert (first["method"], first["callid"], first["msg"]) == ("SUBSC", "x" * 3_000, "é" * 10)
    assert (first["date"], first["source_port"], first["node"]) == (UTC, "5060", "n     ")
    assert (second["method"], second["msg"], second["Extra"]) == ("ACK", "é" * 10, None)


def test_write_table_of_the_same_name_elsewhere_does_not_matter(odbc_postgresql: OdbcPostgresql) -> None:
    """What another schema has under this name neither hides the missing table nor cuts its text."""
    odbc_postgresql.execute("CREATE SCHEMA other")
    odbc_postgresql.execute("CREATE TABLE other.sip_capture (callid varchar(3))")
    assert odbc_postgresql.sink().write("1", {"sip_capture": rows_of(sip_record(1))}) == Adjusted()
    assert odbc_postgresql.rows()[0]["callid"] == "call-1@host"


def test_write_time_with_zone_is_the_same_moment(odbc_postgresql: OdbcPostgresql) -> None:
    """A date is UTC for a server in Tokyo, too; what is no date is refused."""
    odbc_postgresql.execute("CREATE TABLE t (date timestamptz, micro_ts bigint)")
    sink = odbc_postgresql.sink()
    sink.write("1", {"t": rows_of(sip_record(1))})
    found = odbc_postgresql.execute("SELECT extract(epoch FROM date)::bigint AS seconds FROM t")
    assert found == [{"seconds": 1_700_000_000}]
    with pytest.raises(SinkError) as caught:
        sink.write("2", {"t": rows_of(sip_record(1, date="soon"))})
    assert not caught.value.transient


def test_write_sqlite_column_takes_any_width(odbc_sqlite: OdbcSqlite) -> None:
    """SQLite does not keep to the widths of its columns: nothing is cut there."""
    odbc_sqlite.execute("CREATE TABLE t (micro_ts bigint, method varchar(3))")
    assert odbc_sqlite.sink().write("1", {"t": rows_of(sip_record(1))}) == Adjusted()
    assert odbc_sqlite.rows("t")[0]["method"] == "method 1"


def test_create_without_indexes_is_no_failure(
    odbc_postgresql: OdbcPostgresql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An index that an engine does not take is done without, and said."""
    original = Dialect.statements

    def statements(self: Dialect, kind: str, name: str, naming: Naming) -> list[str]:
        return [original(self, kind, name, naming)[0], "CREATE INDEX nonsense"]

    monkeypatch.setattr(Dialect, "statements", statements)
    with caplog.at_level(logging.INFO, "sipcap"):
        odbc_postgresql.sink().write("1", {"sip_capture": rows_of(sip_record(1))})
    assert "an index of sip_capture could not be created: [42601] ERROR: syntax error" in caplog.text
    assert len(odbc_postgresql.rows()) == 1


def test_name_that_the_engine_would_cut_is_refused_for_good(odbc_postgresql: OdbcPostgresql) -> None:
    """Two long names that begin alike would be one table."""
    with pytest.raises(SinkError, match="more than 63 bytes") as caught:
        odbc_postgresql.sink().write("1", {"é" * 32: rows_of(sip_record(1))})
    assert not caught.value.transient


class Asked:
    """A connection that only says what it is: an engine without marks around names, and without transactions."""

    def getinfo(self, number: int) -> object:
        """SQLGetInfo."""
        return {17: "X", 29: " ", 35: 0, 46: 0}[number]

    def cursor(self) -> Any:
        """SQLGetTypeInfo."""
        found = [("number", -5), ("memo", -1), ("wmemo", -10)]
        return types.SimpleNamespace(getTypeInfo=lambda: found, close=lambda: None)


def test_dialect_uses_the_data_sources_own_words() -> None:
    """Types are what the driver calls them; without marks around names, only plain ones can be."""
    dialect = Dialect(cast("Connection", Asked()))
    table, *indexes = dialect.statements("report", "mine")
    assert "\n    micro_ts number,\n" in table
    assert "\n    msg wmemo,\n    msg_raw LONGVARBINARY,\n" in table
    assert all(text.endswith(("ON mine (micro_ts)", "ON mine (date)")) for text in indexes)
    assert not dialect.has_transactions
    for name in ("a b", "ü", "1a", 'a"'):
        with pytest.raises(Exception, match="knows no table that is called"):
            dialect.check_name(name)
