"""MariaDB and MySQL: tables of others, character sets, engines, ways to insert."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pymysql
import pytest

from sipcap.errors import CannotStart, SinkError
from sipcap.record import SIP_COLUMNS
from sipcap.sinks.driver import Trouble
from sipcap.sinks.mysql import MysqlDriver
from sipcap.sinks.mysql_connect import parse_mysql_url
from tests.support.databases import ServedDatabase, rows_of
from tests.support.kamailio_tables import mysql_sip_table
from tests.support.records import sip_record

HOSTILE = "a\x1d\x1e\x1f\\'\"`\t\r\n\0N\x1dN\\N%s'); DROP TABLE x; -- ü名😀"


@pytest.fixture
def forbidding(mysql: ServedDatabase) -> Iterator[ServedDatabase]:
    """A database on a server that does not allow LOAD DATA LOCAL."""
    if not mysql.server.is_private:
        pytest.skip("not our server")
    mysql.execute("SET GLOBAL local_infile = 0")
    yield mysql
    mysql.execute("SET GLOBAL local_infile = 1")


def test_write_hostile_text_goes_in_and_comes_out(mysql: ServedDatabase) -> None:
    """What separates fields and rows may stand in any field."""
    names = ("from_user", "callid", "ruri", "custom_field3", "msg")
    records = [sip_record(number, **{name: HOSTILE}) for number, name in enumerate(names)]
    assert mysql.sink().write("1", {"sip_capture": rows_of(*records)}) == (0, 0)
    for row, name in zip(mysql.rows(), names, strict=True):
        expected = HOSTILE.replace("\0", "\ufffd") if name == "msg" else HOSTILE
        assert row[name] == expected
    assert mysql.rows()[-1]["msg_raw"] == HOSTILE.encode()


def test_write_server_that_forbids_load_data_gets_inserts(
    forbidding: ServedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Without LOCAL INFILE the same rows go in by INSERT, and that is said once."""
    with caplog.at_level(logging.INFO, "sipcap"):
        sink = forbidding.sink()
        records = [sip_record(number, callid=HOSTILE, msg=HOSTILE, msg_b64=b"\xff\0'") for number in range(2)]
        sink.write("1", {"sip_capture": rows_of(*records)})
        sink.write("2", {"sip_capture": rows_of(sip_record(3, msg="x" * 3_000_000))})
    first, second, third = forbidding.rows()
    assert (first["callid"], first["msg"], first["msg_raw"]) == (HOSTILE, HOSTILE.replace("\0", "\ufffd"), b"\xff\0'")
    assert second["date"] == "2023-11-14 22:13:20"
    assert len(third["msg"]) == 3_000_000
    assert ["local_infile" in record.getMessage() for record in caplog.records] == [True]


def test_write_row_larger_than_a_packet_is_refused_alone(forbidding: ServedDatabase) -> None:
    """What no statement can hold is refused before it costs the connection; statements stay below the limit."""
    forbidding.execute("SET GLOBAL max_allowed_packet = 65536")
    try:
        sink = forbidding.sink()
        sink.write("1", {"sip_capture": rows_of(*(sip_record(number, msg="x" * 20_000) for number in range(20)))})
        with pytest.raises(SinkError, match="max_allowed_packet") as caught:
            sink.write("2", {"sip_capture": rows_of(sip_record(1, msg="x" * 60_000))})
        assert not caught.value.transient
        sink.write("3", {"sip_capture": rows_of(sip_record(1))})
    finally:
        forbidding.execute("SET GLOBAL max_allowed_packet = 16777216")
    assert len(forbidding.rows()) == 21


def test_write_load_that_is_forbidden_meanwhile_goes_on_by_insert(mysql: ServedDatabase) -> None:
    """An administrator may forbid it while we run."""
    if not mysql.server.is_private:
        pytest.skip("not our server")
    sink = mysql.sink()
    sink.write("1", {"sip_capture": rows_of(sip_record(1))})
    mysql.execute("SET GLOBAL local_infile = 0")
    try:
        sink.write("2", {"sip_capture": rows_of(sip_record(2))})
    finally:
        mysql.execute("SET GLOBAL local_infile = 1")
    assert len(mysql.rows()) == 2


def test_write_kamailio_table_is_filled_and_cut_and_cleaned(mysql: ServedDatabase) -> None:
    """The table of HOMER 5's script, of three-byte UTF-8 and partitioned, takes everything, cut to its widths."""
    mysql.execute(mysql_sip_table())
    short = sip_record(1, family=2)
    records = rows_of(short, sip_record(2, msg="ü" * 1_501), sip_record(3, from_user="😀"), sip_record(4, msg="😀"))
    assert mysql.sink().write("1", {"sip_capture": records}) == (1, 2)
    first, second, third, fourth = mysql.rows()
    assert {name: first[name] for name in SIP_COLUMNS} == {name: getattr(short, name) for name in SIP_COLUMNS}
    assert (second["msg"], third["from_user"], fourth["msg"]) == ("ü" * 1_500, "\ufffd", "\ufffd")


def test_write_latin1_table_replaces_and_counts(mysql: ServedDatabase) -> None:
    """A table in Latin-1, which in MySQL is Windows' one, takes what that has."""
    mysql.execute(mysql_sip_table(charset="latin1"))
    sink = mysql.sink()
    assert sink.write("1", {"sip_capture": rows_of(sip_record(1, from_user="é€"))}) == (0, 0)
    assert sink.write("2", {"sip_capture": rows_of(sip_record(2, from_user="名"))}) == (0, 1)
    assert [row["from_user"] for row in mysql.rows()] == ["é€", "?"]


def test_write_columns_of_bytes_take_exact_bytes(mysql: ServedDatabase) -> None:
    """Blobs take the message as it was captured; a narrow one what fits."""
    mysql.execute("CREATE TABLE raw (micro_ts bigint, msg blob, callid varbinary(3))")
    sink = mysql.sink()
    payload = b"a\0\xff\x1f\x1d\\'"
    record = sip_record(1, msg="a\0\ufffd\x1f\x1d\\'", msg_b64=payload, callid="ab")
    assert sink.write("1", {"raw": rows_of(record)}) == (0, 0)
    assert sink.write("2", {"raw": rows_of(sip_record(2, msg="x" * 70_000, callid="abcd"))}) == (1, 0)
    first, second = mysql.rows("raw", "micro_ts")
    assert (first["msg"], first["callid"]) == (payload, b"ab")
    assert (len(second["msg"]), second["callid"]) == (65_535, b"abc")


def test_write_text_is_cut_between_characters(mysql: ServedDatabase) -> None:
    """TEXT has a width in bytes: what is cut ends with a whole character."""
    assert mysql.sink().write("1", {"sip_capture": rows_of(sip_record(1, ruri="x" + "名" * 30_000))}) == (1, 0)
    assert mysql.rows()[0]["ruri"] == "x" + "名" * 21_844


def test_write_value_that_load_data_would_bend_is_refused(mysql: ServedDatabase) -> None:
    """LOAD DATA LOCAL would store another number or date and warn: nothing of such a batch is stored."""
    mysql.execute("CREATE TABLE small (micro_ts bigint, source_port smallint, date datetime)")
    sink = mysql.sink()
    for record in (
        sip_record(1, source_port=70_000),
        sip_record(1, date="2023-02-30 00:00:00"),
        sip_record(1, date=""),
    ):
        with pytest.raises(SinkError) as caught:
            sink.write("1", {"small": rows_of(sip_record(0), record)})
        assert not caught.value.transient
    assert mysql.rows("small", "micro_ts") == []


def test_write_warnings_without_loss_store_each_row_once(mysql: ServedDatabase) -> None:
    """A table whose trigger warns of every row is filled by INSERT, each row once."""
    mysql.execute("CREATE TABLE noisy (micro_ts bigint, msg text)")
    mysql.execute(
        "CREATE TRIGGER warns BEFORE INSERT ON noisy FOR EACH ROW"
        " SIGNAL SQLSTATE '01000' SET MESSAGE_TEXT = 'nothing', MYSQL_ERRNO = 1642"
    )
    sink = mysql.sink()
    for batch in range(2):
        sink.write(f"{batch}", {"noisy": rows_of(*map(sip_record, range(3)))})
    assert len(mysql.rows("noisy", "micro_ts")) == 6


def test_write_engine_without_transactions_stores_and_says_so(
    mysql: ServedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """MyISAM cannot take anything back: at least once, said once."""
    mysql.execute(mysql_sip_table(engine="MyISAM"))
    sink = mysql.sink()
    for batch in range(2):
        sink.write(f"{batch}", {"sip_capture": rows_of(sip_record(batch))})
    assert len(mysql.rows()) == 2
    assert sum("transactions" in record.getMessage() for record in caplog.records) == 1


def test_write_names_that_the_server_finds_alike_are_two_tables(mysql: ServedDatabase) -> None:
    """Only the catalogue's comparison takes e and é, a and A for the same."""
    for number, name in enumerate(("cafe", "café", "CAFE")):
        mysql.sink().write(f"{number}", {name: rows_of(sip_record(1))})
    assert mysql.tables() == {"cafe", "café", "CAFE", "sipcap_batches"}


def test_write_names_that_cannot_be_are_refused(mysql: ServedDatabase) -> None:
    """Names of more than 64 characters, that end with a blank, or of characters that names cannot have."""
    sink = mysql.sink()
    for number, name in enumerate(("x" * 65, "blank ", "smile😀")):
        with pytest.raises(SinkError) as caught:
            sink.write(f"{number}", {name: rows_of(sip_record(1))})
        assert not caught.value.transient, name


def test_write_view_is_filled(mysql: ServedDatabase) -> None:
    """A view that can be inserted into is as good as a table."""
    mysql.execute("CREATE TABLE base (micro_ts bigint, msg text, hidden int)")
    mysql.execute("CREATE VIEW seen AS SELECT micro_ts, msg FROM base")
    mysql.sink().write("1", {"seen": rows_of(sip_record(1))})
    assert len(mysql.rows("base", "micro_ts")) == 1


def test_create_table_has_the_eight_indexes(mysql: ServedDatabase) -> None:
    """Our own table is searched as the module's is."""
    mysql.sink().write("1", {"sip_capture": rows_of(sip_record(1))})
    indexed = {row["Column_name"] for row in mysql.execute("SHOW INDEX FROM sip_capture")}
    keys = {"ruri_user", "from_user", "to_user", "pid_user", "auth_user", "callid_aleg", "date", "callid"}
    assert indexed == {"id", *keys}


@pytest.mark.parametrize("form", ["localhost/{name}?socket={path}", "unix({path})/{name}"])
def test_open_socket_of_the_machine_is_reached(mysql: ServedDatabase, form: str) -> None:
    """A server is reached by its socket, also as Kamailio writes it."""
    server = mysql.server
    if not server.is_private:
        pytest.skip("not our server")
    who, _, _ = server.url("").partition(f"@{server.host}")
    url = f"{who}@{form.format(name=mysql.name, path=server.folder / 'socket')}"
    mysql.sink(url).write("1", {"sip_capture": rows_of(sip_record(1))})
    assert len(mysql.rows()) == 1


@pytest.mark.parametrize(
    "query", ["ssl_mode=verify_identity", "ssl_mode=maybe", "ssl_ca=/nowhere", "ssl_cert=/", "connect_timeout=x"]
)
def test_open_option_that_cannot_be_kept_cannot_start(mysql: ServedDatabase, query: str) -> None:
    """What was asked for and is not there ends the start, instead of going on in clear text."""
    with pytest.raises(CannotStart):
        mysql.sink(mysql.server.url(mysql.name, query=query))


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (1213, Trouble.CLASH), (1205, Trouble.BUSY), (1040, Trouble.BUSY), (1021, Trouble.BUSY), (1114, Trouble.BUSY),
        (1290, Trouble.BUSY), (1053, Trouble.LOST), (2006, Trouble.LOST), (2013, Trouble.LOST), (0, Trouble.LOST),
        (1406, Trouble.REFUSED), (1366, Trouble.REFUSED), (1142, Trouble.REFUSED), (4025, Trouble.REFUSED),
    ],
)  # fmt: skip
def test_trouble_is_told_by_the_number(code: int, trouble: Trouble) -> None:
    """What the server says decides whether to try again, and how soon."""
    driver = MysqlDriver(parse_mysql_url("mysql://h/d"))
    driver._connection = SimpleNamespace(open=True)  # type: ignore[assignment]  # it is asked for nothing else
    assert driver.trouble(pymysql.err.OperationalError(code, "")) is trouble
    driver._connection = None
