"""PostgreSQL: tables of others, character sets, names, rights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg
import pytest

from sipcap.errors import CannotStart, SinkError
from sipcap.record import SIP_COLUMNS
from sipcap.sinks import postgresql as module
from sipcap.sinks.driver import Trouble
from tests.support.database_server import DatabaseServer
from tests.support.databases import ServedDatabase, rows_of
from tests.support.kamailio_tables import MISSING, postgresql_sip_table
from tests.support.records import INTEGERS, sip_record

EMPTY = {name: "" for name in SIP_COLUMNS if name not in INTEGERS and name != "date"}
KEYS = {"id", "ruri_user", "from_user", "to_user", "pid_user", "auth_user", "callid_aleg", "date", "callid"}


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def narrow(request: pytest.FixtureRequest, postgresql_server: DatabaseServer) -> Iterator[ServedDatabase]:
    """A database whose encoding is not UTF-8."""
    made = ServedDatabase(postgresql_server, f"ENCODING {request.param} TEMPLATE template0")
    yield made
    made.close()


def test_write_kamailio_table_is_filled_and_cut_to_its_widths(
    postgresql: ServedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """The table of Kamailio's script takes all it has columns for; rows that were cut are counted, columns named."""
    postgresql.execute(postgresql_sip_table())
    short = sip_record(1, msg="m" * 1_500, cseq="1 INVITE")
    long = sip_record(2, msg="m" * 1_501, cseq="c" * 26, callid="ü" * 101)
    lossy = sip_record(3, msg="a\ufffd", msg_b64=b"a\xff")
    with caplog.at_level(logging.WARNING, "sipcap"):
        adjusted = postgresql.sink().write("1", {"sip_capture": rows_of(short, long, lossy)})
    assert adjusted == (1, 1)
    first, second, third = postgresql.rows()
    for name in SIP_COLUMNS:
        if name not in MISSING:
            assert first[name] == getattr(short, name), name
    assert (second["msg"], second["cseq"], second["callid"]) == ("m" * 1_500, "c" * 25, "ü" * 100)
    assert third["msg"] == "a\ufffd"
    (said,) = [record.getMessage() for record in caplog.records]
    assert all(name in said for name in (*MISSING, "msg_raw", "envelope"))


def test_write_bytea_message_has_the_exact_bytes(postgresql: ServedDatabase) -> None:
    """A column of bytes takes the message as it was captured, and nothing is lost."""
    postgresql.execute(postgresql_sip_table(msg="bytea"))
    records = (sip_record(1, msg="ü\\x"), sip_record(2, msg="a\0\ufffd", msg_b64=b"a\0\xff"), sip_record(3, msg="n\0"))
    assert postgresql.sink().write("1", {"sip_capture": rows_of(*records)}) == (0, 0)
    assert [bytes(row["msg"]) for row in postgresql.rows()] == ["ü\\x".encode(), b"a\0\xff", b"n\0"]


def test_write_columns_of_text_as_bytes_are_cut_and_exact(postgresql: ServedDatabase) -> None:
    """Any column may be bytea, or a domain over a type with a width, or a number as text."""
    postgresql.execute("CREATE DOMAIN short AS varchar(3)")
    postgresql.execute(
        "CREATE TABLE odd (callid bytea, method short, source_port text, micro_ts numeric, node char(4))"
    )
    record = sip_record(1, callid="ü", method="INVITE", source_port=5060, node="n")
    assert postgresql.sink().write("1", {"odd": rows_of(record)}).truncated == 1
    (row,) = postgresql.rows("odd", "1")
    assert (bytes(row["callid"]), row["method"], row["source_port"]) == ("ü".encode(), "INV", "5060")
    assert (int(row["micro_ts"]), row["node"]) == (record.micro_ts, "n   ")


def test_write_date_with_zone_is_the_same_moment(postgresql: ServedDatabase) -> None:
    """A column that keeps moments gets them right, whatever zone the server has."""
    postgresql.execute("CREATE TABLE zoned (date timestamp with time zone, micro_ts bigint)")
    postgresql.sink().write("1", {"zoned": rows_of(sip_record(1))})
    (row,) = postgresql.execute("SELECT extract(epoch FROM date)::bigint * 1000000 - micro_ts AS rest FROM zoned")
    assert -1_000_000 < row["rest"] <= 0


def test_write_generated_column_is_left_to_the_server(postgresql: ServedDatabase) -> None:
    """What the server computes itself cannot be given."""
    postgresql.execute("CREATE TABLE made (msg text, method text GENERATED ALWAYS AS (left(msg, 3)) STORED)")
    postgresql.sink().write("1", {"made": rows_of(sip_record(1, msg="abcdef"))})
    assert postgresql.rows("made", "1") == [{"msg": "abcdef", "method": "abc"}]


def test_write_other_encoding_replaces_and_counts_what_it_cannot_hold(narrow: ServedDatabase) -> None:
    """A database in Latin-1 takes what Latin-1 has; the message stays exact beside it."""
    changes = ({"msg": "ascii"}, {"msg": "é名"}, {"from_user": "é"}, {"from_user": "名\0"})
    records = [sip_record(number, **EMPTY | change) for number, change in enumerate(changes)]
    adjusted = narrow.sink().write("1", {"sip_capture": rows_of(*records)})
    stored = narrow.execute("SELECT from_user, msg, msg_raw FROM sip_capture ORDER BY id")
    is_latin = narrow.execute("SHOW server_encoding")[0]["server_encoding"] == "LATIN1"
    assert adjusted == (0, 1)
    assert [row["from_user"] for row in stored] == ["", "", "é", "??" if is_latin else "名\ufffd"]
    assert [row["msg"] for row in stored] == ["ascii", "é?" if is_latin else "é名", "", ""]
    assert stored[1]["msg_raw"] == ("é名".encode() if is_latin else None)


def test_write_huge_indexed_text_is_cut_to_what_an_index_takes(postgresql: ServedDatabase) -> None:
    """A Call-ID of kilobytes does not fit an index: the row is stored, the tail is in the message."""
    callid = "".join(chr(0x4E00 + number) for number in range(3_000))
    assert postgresql.sink().write("1", {"sip_capture": rows_of(sip_record(1, callid=callid, ruri=callid))}) == (1, 0)
    (row,) = postgresql.rows()
    assert row["callid"] == callid[: len(row["callid"])]
    assert 2_500 < len(row["callid"].encode()) <= 2_600
    assert row["ruri"] == callid


def test_write_long_names_that_begin_alike_get_all_indexes(postgresql: ServedDatabase) -> None:
    """Index names that would be cut to the same 63 bytes do not cost a table its indexes."""
    names = [f"{'x' * 62}{last}" for last in "ab"]
    postgresql.sink().write("1", {name: rows_of(sip_record(1)) for name in names})
    for name in names:
        assert indexed(postgresql, name) == KEYS


def test_write_name_of_a_renamed_table_gets_all_indexes(postgresql: ServedDatabase) -> None:
    """Indexes keep their names when their table is renamed; the new table has its own."""
    sink = postgresql.sink()
    sink.write("1", {"sip_capture": rows_of(sip_record(1))})
    postgresql.execute("ALTER TABLE sip_capture RENAME TO sip_capture_old")
    sink.write("2", {"sip_capture": rows_of(sip_record(2))})
    assert indexed(postgresql, "sip_capture") == KEYS
    assert len(postgresql.rows("sip_capture_old")) == 1


def indexed(database: ServedDatabase, table: str) -> set[str]:
    """The first columns of a table's indexes."""
    found = database.execute(
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
        f" WHERE i.indrelid = '{table}'::regclass"
    )
    return {row["attname"] for row in found}


@pytest.mark.parametrize("name", ["x" * 64, "ü" * 32, "pg_capture", "PG_CLASS".lower()])
def test_write_name_that_the_server_would_change_or_keeps_is_refused(postgresql: ServedDatabase, name: str) -> None:
    """The server cuts long names silently: two tables would become one."""
    with pytest.raises(SinkError) as caught:
        postgresql.sink().write("1", {name: rows_of(sip_record(1))})
    assert not caught.value.transient


def test_write_name_of_something_else_is_refused(postgresql: ServedDatabase) -> None:
    """A sequence is not a table."""
    postgresql.execute("CREATE SEQUENCE numbers")
    with pytest.raises(SinkError, match="not a table") as caught:
        postgresql.sink().write("1", {"numbers": rows_of(sip_record(1))})
    assert not caught.value.transient


def test_write_account_without_create_stores_and_says_what_is_missing(
    postgresql: ServedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """An account that may insert and no more stores; that a commit in doubt may count twice is said."""
    role = f"{postgresql.name}_writer"
    postgresql.execute(postgresql_sip_table())
    postgresql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT INSERT ON sip_capture TO {role}")
    postgresql.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        postgresql.execute(f"GRANT USAGE ON SEQUENCE sip_capture_id_seq TO {role}")
        server = postgresql.server
        sink = postgresql.sink(f"postgresql://{role}:p@{server.host}:{server.port}/{postgresql.name}")
        sink.write("1", {"sip_capture": rows_of(sip_record(1))})
        with pytest.raises(SinkError) as caught:
            sink.write("2", {"other": rows_of(sip_record(1))})
        assert not caught.value.transient
        assert len(postgresql.rows()) == 1
        assert sum("sipcap_batches" in record.getMessage() for record in caplog.records) == 1
        sink.close()
    finally:
        postgresql.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_open_read_only_database_cannot_start(postgresql: ServedDatabase) -> None:
    """A database that takes nothing shows at the start, and is a passing trouble later."""
    sink = postgresql.sink()
    sink.write("1", {"sip_capture": rows_of(sip_record(1))})
    postgresql.execute(f"ALTER DATABASE {postgresql.name} SET default_transaction_read_only = on")
    with pytest.raises(CannotStart, match="read-only"):
        postgresql.sink()


def test_write_locked_table_is_transient(postgresql: ServedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever locks a table for long makes the batch fail for now, and does not hang us."""
    sink = postgresql.sink()
    sink.write("1", {"sip_capture": rows_of(sip_record(1))})
    monkeypatch.setattr(module, "_BEGIN", "BEGIN; SET LOCAL lock_timeout = '50ms'")
    server = postgresql.server
    with psycopg.connect(
        host=server.host, port=server.port, user=server.user, password=server.password, dbname=postgresql.name
    ) as other:
        other.execute("LOCK TABLE sip_capture IN EXCLUSIVE MODE")
        with pytest.raises(SinkError) as caught:
            sink.write("2", {"sip_capture": rows_of(sip_record(2))})
        assert caught.value.transient
        other.rollback()
    sink.write("2", {"sip_capture": rows_of(sip_record(2))})
    assert len(postgresql.rows()) == 2


@pytest.mark.parametrize("form", ["folder", "file", "kamailio", "libpq"])
def test_open_socket_of_the_machine_is_reached(postgresql: ServedDatabase, form: str) -> None:
    """A server is reached by the folder of its socket, by the socket, and as Kamailio writes it."""
    server = postgresql.server
    if not server.is_private:
        pytest.skip("not our server")
    who, _, _ = server.url("").partition(f"@{server.host}")
    path = server.folder / f".s.PGSQL.{server.port}"
    url = {
        "folder": f"{who}@:{server.port}/{postgresql.name}?socket={server.folder}",
        "file": f"{who}@localhost/{postgresql.name}?socket={path}",
        "kamailio": f"{who}@unix({path})/{postgresql.name}",
        "libpq": f"{who}@:{server.port}/{postgresql.name}?host={server.folder}",
    }[form]
    postgresql.sink(url).write("1", {"sip_capture": rows_of(sip_record(1))})
    assert len(postgresql.rows()) == 1


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        ("40P01", Trouble.CLASH), ("40001", Trouble.CLASH), ("53100", Trouble.BUSY), ("53300", Trouble.BUSY),
        ("57P01", Trouble.BUSY), ("55P03", Trouble.BUSY), ("25006", Trouble.BUSY), ("08006", Trouble.LOST),
        ("22001", Trouble.REFUSED), ("23514", Trouble.REFUSED), ("42501", Trouble.REFUSED), ("54000", Trouble.REFUSED),
    ],
)  # fmt: skip
def test_trouble_is_told_by_the_state(state: str, trouble: Trouble) -> None:
    """What the server says decides whether to try again, and how soon."""
    driver = module.PostgresqlDriver(module.parse_postgresql_url("postgresql://h/d"))
    driver._connection = SimpleNamespace(closed=False)  # type: ignore[assignment]  # it is asked for nothing else
    assert driver.trouble(psycopg.errors.lookup(state)()) is trouble
