"""Servers that go away in the middle: what is stored is stored once, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sipcap.batching import Batcher, BatchOptions
from sipcap.counters import Counters
from sipcap.errors import CannotStart, SinkError
from sipcap.sinks.base import Row
from sipcap.sinks.registry import open_sink
from tests.support.database_server import free_port
from tests.support.databases import ServedDatabase, rows_of
from tests.support.proxy import Proxy
from tests.support.records import sip_record

PLAIN = {"postgresql": "sslmode=disable", "mysql": "ssl_mode=disabled"}
"""What lets the proxy see the bytes."""


@pytest.fixture
def proxy(served: ServedDatabase) -> Iterator[Proxy]:
    """A proxy before the server."""
    with Proxy(served.server.host, served.server.port) as made:
        yield made


def proxied(served: ServedDatabase, proxy: Proxy) -> str:
    """The URL of the database through the proxy."""
    return served.server.url(served.name, port=proxy.port, query=PLAIN[served.kind])


def numbers(served: ServedDatabase) -> list[int]:
    """The numbers of the records that are stored."""
    return [row["micro_ts"] - sip_record(0).micro_ts for row in served.rows(order="micro_ts")]


@pytest.mark.parametrize("passing", [False, True], ids=["on the way there", "on the way back"])
@pytest.mark.parametrize("moment", [b"sipcap_batches", b"call-3@host", b"COMMIT"], ids=["ledger", "rows", "commit"])
def test_write_connection_cut_in_a_batch_stores_it_once(
    served: ServedDatabase, proxy: Proxy, moment: bytes, passing: bool
) -> None:
    """Wherever a connection is cut, the commit's answer included, the batch is there once."""
    sink = served.sink(proxied(served, proxy))
    sink.write("1", {"sip_capture": rows_of(sip_record(0))})
    proxy.passing, proxy.cut_at = passing, moment
    sink.write("2", {"sip_capture": rows_of(*map(sip_record, range(1, 6)))})
    assert proxy.cuts == 1
    assert numbers(served) == [0, 1, 2, 3, 4, 5]


def test_write_in_doubt_and_server_away_is_settled_by_the_next_attempt(served: ServedDatabase, proxy: Proxy) -> None:
    """A batch that was committed while its answer got lost is not stored again, and its counts come out."""
    served.execute("CREATE TABLE narrow (micro_ts bigint, callid varchar(3))")
    sink = served.sink(proxied(served, proxy))
    tables = {"narrow": rows_of(*map(sip_record, range(5)))}
    proxy.passing, proxy.cut_at, proxy.refusing = True, b"COMMIT", True
    for _ in range(2):
        with pytest.raises(SinkError) as caught:
            sink.write("1", tables)
        assert caught.value.transient
    proxy.refusing = False
    assert sink.write("1", tables).truncated == 5
    assert len(served.rows("narrow", "micro_ts")) == 5


def test_write_idle_connection_ended_by_the_server_goes_on(served: ServedDatabase) -> None:
    """A connection that a server or firewall ended while nothing was to do costs no batch."""
    sink = served.sink()
    sink.write("1", {"sip_capture": rows_of(sip_record(0))})
    end_connections(served)
    sink.write("2", {"sip_capture": rows_of(sip_record(1))})
    assert numbers(served) == [0, 1]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_write_batch_that_another_connection_still_holds_waits_for_its_end(served: ServedDatabase, end: str) -> None:
    """A server may not know yet that a connection is gone: what became of its batch is waited for, not guessed."""
    sink = served.sink()
    sink.write("1", {"sip_capture": rows_of(sip_record(0))})
    with served.server.session(served.name) as run:
        run("BEGIN")
        run(f"INSERT INTO sipcap_batches VALUES ('2', {int(time.time())})")
        later = threading.Timer(0.3, run, [end])
        later.start()
        sink.write("2", {"sip_capture": rows_of(sip_record(1))})
        later.join()
    assert numbers(served) == ([0] if end == "COMMIT" else [0, 1])


def end_connections(served: ServedDatabase) -> None:
    """Have the server end all other connections to a database."""
    if served.kind == "postgresql":
        served.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{served.name}' AND pid <> pg_backend_pid()"
        )
        return
    for row in served.execute("SHOW PROCESSLIST"):
        if row["db"] == served.name and row["Command"] == "Sleep":
            served.execute(f"KILL {row['Id']}")


def test_batcher_server_killed_in_a_load_stores_every_record_once(served: ServedDatabase) -> None:
    """Kill -9 of the server while batches come in, a restart seconds later: each record is there exactly once."""
    if not served.server.is_private:
        pytest.skip("not our server")
    counters = Counters()
    sink = served.sink()
    batcher = Batcher(sink, BatchOptions(size=50, retries=100, retry_timeout_s=60), counters)
    crash = threading.Thread(target=restart, args=(served, lambda: counters.stored >= 400))
    crash.start()
    total = 0
    while crash.is_alive() or total < 2_000:
        batcher.add("sip_capture", Row(sip_record(total), {}))
        total += 1
    batcher.flush()
    crash.join()
    assert counters.stored == total
    assert counters.retries > 0
    assert numbers(served) == list(range(total))


def restart(served: ServedDatabase, when: Callable[[], bool]) -> None:
    """Kill the server once something is so, and start it again after a moment."""
    until_s = time.monotonic() + 30
    while not when() and time.monotonic() < until_s:
        time.sleep(0.01)
    served.server.kill()
    time.sleep(0.3)
    served.server.start()


@pytest.mark.parametrize("trouble", ["password", "database", "port", "host"])
def test_open_server_that_cannot_be_used_says_why_without_the_password(served: ServedDatabase, trouble: str) -> None:
    """Wrong password, unknown database, nobody there, unknown host: one line, no secret."""
    server = served.server
    url = {
        "password": server.url(served.name, password="s3cret-word"),
        "database": server.url("nowhere"),
        "port": server.url(served.name, port=free_port()),
        "host": f"{server.scheme}://me:s3cret-word@host.invalid/x",
    }[trouble]
    with pytest.raises(CannotStart) as caught:
        open_sink(url)
    text = str(caught.value)
    assert "s3cret-word" not in text
    assert server.password not in text or not server.password
    assert "\n" not in text
    assert f"{server.scheme}://" in text


def test_write_connection_lost_and_none_to_be_had_is_transient(served: ServedDatabase, proxy: Proxy) -> None:
    """A server that turns connections away may take them later, and then takes the batch."""
    sink = served.sink(proxied(served, proxy))
    proxy.refusing, proxy.cut_at = True, b"sipcap_batches"
    with pytest.raises(SinkError) as caught:
        sink.write("1", {"sip_capture": rows_of(sip_record(0))})
    assert caught.value.transient
    proxy.refusing = False
    sink.write("1", {"sip_capture": rows_of(sip_record(0))})
    assert numbers(served) == [0]
