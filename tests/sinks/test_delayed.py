"""``--insert-mode delayed``: INSERT DELAYED where the engine takes it, else plain, said once."""

from __future__ import annotations

import time

import pytest

from sipcap.batching import INSERT_MODES
from sipcap.sinks.registry import open_sink
from tests.conftest import RunSipcap
from tests.support.databases import Database, ServedDatabase, rows_of
from tests.support.kamailio_tables import mysql_sip_table
from tests.support.records import sip_lines, sip_record


def _rows_in_time(database: ServedDatabase, count: int) -> list[int]:
    """The numbers of the rows, once the server has got round to so many of them."""
    until_s = time.monotonic() + 30
    while len(rows := database.rows()) < count and time.monotonic() < until_s:
        time.sleep(0.05)
    return sorted(row["micro_ts"] - sip_record(0).micro_ts for row in rows)


@pytest.mark.parametrize("engine", ["MyISAM", "MEMORY"])
def test_delayed_goes_in_by_insert_delayed_where_the_engine_takes_it(
    mysql: ServedDatabase, engine: str, log: pytest.LogCaptureFixture
) -> None:
    """The server counts the rows as delayed ones, all are there in the end, and nothing is said against it."""
    table = mysql_sip_table(engine=engine)
    mysql.execute(table if engine != "MEMORY" else table.replace("varchar(1500)", "varchar(200)"))
    before = _delayed_writes(mysql)
    sink = open_sink(mysql.url, is_delayed=True)
    sink.write("1", {"sip_capture": rows_of(*map(sip_record, range(300)))})
    sink.close()
    assert _rows_in_time(mysql, 300) == list(range(300))
    assert _delayed_writes(mysql) - before == 300
    assert "DELAYED" not in log.text


def _delayed_writes(mysql: ServedDatabase) -> int:
    return int(mysql.execute("SHOW GLOBAL STATUS LIKE 'Delayed_writes'")[0]["Value"])


def test_delayed_engine_without_transactions_that_does_not_take_it_is_plain(
    mysql: ServedDatabase, log: pytest.LogCaptureFixture
) -> None:
    """The server's refusal costs no row, and is said once."""
    mysql.execute(mysql_sip_table(engine="Aria"))
    sink = open_sink(mysql.url, is_delayed=True)
    for number in range(3):
        sink.write(str(number), {"sip_capture": rows_of(sip_record(number))})
    sink.close()
    assert _rows_in_time(mysql, 3) == [0, 1, 2]
    assert log.text.count("table sip_capture does not take INSERT DELAYED: --insert-mode plain") == 1


def test_delayed_elsewhere_is_plain_and_said_once(database: Database, log: pytest.LogCaptureFixture) -> None:
    """A table with transactions, or another database: every batch is durable, and the user knows."""
    sink = open_sink(database.url, is_delayed=True)
    for number in range(3):
        sink.write(str(number), {"sip_capture": rows_of(sip_record(number))})
    sink.close()
    assert len(database.rows()) == 3
    assert log.text.count("--insert-mode plain") == 1


@pytest.mark.parametrize("mode", INSERT_MODES)
def test_insert_modes_store_everything_from_the_command_line(database: Database, mode: str, sipcap: RunSipcap) -> None:
    """Whatever the mode, the counters and the table say the same."""
    done = sipcap(
        "store", "--db-url", database.url, "--insert-mode", mode, "--batch-size", "100", stdin=sip_lines(2_050)
    )
    assert done.returncode == 0
    assert b"received 2050, stored 2050" in done.stderr
    assert sorted(row["micro_ts"] for row in database.rows()) == [sip_record(n).micro_ts for n in range(2_050)]


def test_insert_mode_that_there_is_not_is_a_usage_error(sipcap: RunSipcap) -> None:
    """The allowed values are named."""
    done = sipcap("store", "--insert-mode", "fast")
    assert done.returncode == 2
    assert b"'plain', 'delayed', 'async'" in done.stderr
