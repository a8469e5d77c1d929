"""Data sources in trouble: locks, connections that get lost, drivers that cannot do what is asked of them."""

from __future__ import annotations

import sqlite3

import pytest

from sipcap.errors import SinkError
from sipcap.sinks import odbc_connect
from sipcap.sinks.driver import Trouble
from sipcap.sinks.odbc import OdbcDriver
from sipcap.sinks.odbc_connect import parse_odbc_url
from sipcap.sinks.odbc_dialect import Dialect
from tests.sinks.test_outages import end_connections, numbers
from tests.support.database_server import DatabaseServer
from tests.support.databases import Database, rows_of
from tests.support.odbc import DataSources, OdbcPostgresql, OdbcSqlite
from tests.support.proxy import Proxy
from tests.support.records import sip_record


@pytest.mark.parametrize(
    ("state", "text", "trouble"),
    [
        ("08S01", "", Trouble.LOST), ("08003", "", Trouble.LOST), ("57P01", "", Trouble.LOST),
        ("HYT01", "", Trouble.LOST), ("40001", "", Trouble.CLASH), ("40P01", "", Trouble.CLASH),
        ("53100", "", Trouble.BUSY), ("57014", "", Trouble.BUSY), ("HYT00", "", Trouble.BUSY),
        ("25006", "", Trouble.BUSY), ("HY000", "database is locked (5)", Trouble.BUSY),
        ("HY000", "disk I/O error", Trouble.BUSY), ("HY000", "attempt to write a readonly database", Trouble.BUSY),
        ("HY000", "Lock wait timeout exceeded", Trouble.BUSY), ("HY000", "database or disk is full", Trouble.BUSY),
        ("HY000", "UNIQUE constraint failed: t.blocked", Trouble.REFUSED), ("22001", "", Trouble.REFUSED),
        ("23505", "", Trouble.REFUSED), ("42S22", "", Trouble.REFUSED), ("HY004", "", Trouble.REFUSED),
        ("", "anything", Trouble.REFUSED),
    ],
)  # fmt: skip
def test_trouble_is_told_by_the_state(
    odbc_sqlite: OdbcSqlite, monkeypatch: pytest.MonkeyPatch, state: str, text: str, trouble: Trouble
) -> None:
    """What passes is tried again, what does not is refused, and a connection that is gone is known."""
    driver = OdbcDriver(parse_odbc_url("odbc://localhost/x"))
    monkeypatch.setattr(OdbcDriver, "connected", True)
    assert driver.trouble(driver.errors[0](state, f"[{state}] {text}")) is trouble


def test_write_locked_database_is_transient_and_succeeds_later(
    odbc_sqlite: OdbcSqlite, data_sources: DataSources
) -> None:
    """Somebody who holds the database for long is an outage, and no reason to drop a row."""
    name = data_sources.add("sqlite", Database=odbc_sqlite._path, Timeout=100)
    sink = odbc_sqlite.sink(f"odbc://localhost/{name}")
    other = sqlite3.connect(odbc_sqlite._path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SinkError, match="locked") as caught:
        sink.write("1", {"sip_capture": rows_of(sip_record(1))})
    assert caught.value.transient
    other.close()
    sink.write("1", {"sip_capture": rows_of(sip_record(1))})
    assert len(odbc_sqlite.rows()) == 1


def test_write_idle_connection_ended_by_the_server_goes_on(odbc_postgresql: OdbcPostgresql) -> None:
    """A connection that was ended while nothing was to do costs no batch."""
    sink = odbc_postgresql.sink()
    sink.write("1", {"sip_capture": rows_of(sip_record(0))})
    end_connections(odbc_postgresql)
    sink.write("2", {"sip_capture": rows_of(sip_record(1))})
    assert numbers(odbc_postgresql) == [0, 1]


@pytest.mark.parametrize("passing", [False, True], ids=["on the way there", "on the way back"])
@pytest.mark.parametrize("moment", [b"sipcap_batches", b"call-3@host", b"COMMIT"], ids=["ledger", "rows", "commit"])
def test_write_connection_cut_in_a_batch_stores_it_once(
    odbc_postgresql: OdbcPostgresql, data_sources: DataSources, moment: bytes, passing: bool
) -> None:
    """Wherever a connection is cut, the commit's answer included, the batch is there once."""
    with Proxy(odbc_postgresql.server.host, odbc_postgresql.server.port) as proxy:
        keys = {"Servername": "127.0.0.1", "Port": proxy.port, "Database": odbc_postgresql.name, "SSLmode": "disable"}
        source = data_sources.add("postgresql", **keys)
        sink = odbc_postgresql.sink(odbc_postgresql.url.replace(odbc_postgresql.source, source))
        sink.write("1", {"sip_capture": rows_of(sip_record(0))})
        proxy.passing, proxy.cut_at = passing, moment
        sink.write("2", {"sip_capture": rows_of(*map(sip_record, range(1, 6)))})
        assert proxy.cuts == 1
    assert numbers(odbc_postgresql) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["odbc_sqlite", "odbc_postgresql"])
def test_write_fast_where_the_driver_does_not_take_it_is_slow(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Who asks for many rows at a time gets all rows all the same, each once."""
    database: Database = request.getfixturevalue(kind)
    sink = database.sink(f"{database.url}?fast_executemany=1")
    for batch in range(2):
        sink.write(str(batch), {"sip_capture": rows_of(sip_record(batch, msg="x" * 9_000))})
    assert [row["callid"] for row in database.rows()] == ["call-0@host", "call-1@host"]
    assert caplog.text.count("does not take fast_executemany: rows go in one by one") == 1


def test_open_engine_without_transactions_says_at_least_once(
    odbc_sqlite: OdbcSqlite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a data source cannot promise is said at the start."""
    original = Dialect.__init__

    def without(self: Dialect, connection: odbc_connect.Connection) -> None:
        original(self, connection)
        self.has_transactions = False

    monkeypatch.setattr(Dialect, "__init__", without)
    sink = odbc_sqlite.sink()
    assert "knows no transactions: a batch that fails may be stored in part or twice (at least once)" in caplog.text
    sink.write("1", {"sip_capture": rows_of(sip_record(1))})
    assert len(odbc_sqlite.rows()) == 1


def test_write_row_that_is_refused_does_not_show_what_was_captured(
    odbc_postgresql: OdbcPostgresql, postgresql_server: DatabaseServer
) -> None:
    """The lines of an error that repeat values are left out."""
    odbc_postgresql.execute("CREATE TABLE t (micro_ts bigint PRIMARY KEY, msg text)")
    with pytest.raises(SinkError, match="duplicate key") as caught:
        odbc_postgresql.sink().write("1", {"t": rows_of(sip_record(1), sip_record(1))})
    assert "1700000000" not in str(caught.value)
