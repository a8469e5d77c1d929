"""How fast records get into each database: ``python -m tests.bench.bench_sinks [--rows N] [sqlite|mysql|...]``.

For each database, into the table that sipcap makes, with all its indexes, empty at the beginning:

* sipcap: records through ``Batcher`` and the sink, 2,000 a transaction, with ``--insert-mode`` (plain); the rate and
  the table's size at each 100,000 rows, and the rate of each million: it falls as indexes outgrow the caches;
* the database's own bulk loader (psql's COPY, the client's LOAD DATA LOCAL, sqlite3's .import), fed the same rows
  from a file written beforehand, all in one transaction.

``SIPCAP_TEST_POSTGRESQL_URL`` and ``SIPCAP_TEST_MYSQL_URL`` name servers to use; without them private ones are
started, with the settings that they come with (each commit synchronised).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from sipcap.batching import INSERT_MODES, Batcher, BatchOptions, batches_ahead
from sipcap.counters import Counters
from sipcap.extract import Extractor
from sipcap.record import SIP_COLUMNS, Record
from sipcap.sinks.base import Row
from sipcap.sinks.registry import open_sink
from sipcap.sinks.rows import SIP_ROW, RowMaker
from sipcap.wire.hep import decode_datagram
from sipcap.wire.message import Message
from tests.support.database_server import DatabaseServer
from tests.support.messages import BASE_TS_US, hep3_datagram
from tests.support.servers import running

STEP = 100_000
MILLION = 1_000_000
DATABASES = ("sqlite", "postgresql", "mysql")
ROUNDS = 3  # the best one counts: what is slower was disturbed
TABLE = "sip_capture"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def records(first: int, count: int) -> list[Record]:
    """Distinct realistic records."""
    record_of = Extractor().record
    messages: list[Message] = []
    for number in range(first, first + count):
        decode_datagram(hep3_datagram(number), messages, BASE_TS_US)
    return [record_of(message, BASE_TS_US) for message in messages]


class Subject(ABC):
    """A database to measure."""

    mode: str

    @property
    @abstractmethod
    def url(self) -> str:
        """Where sipcap stores."""

    @abstractmethod
    def line(self, values: tuple[object, ...]) -> bytes:
        """A row, its id first, in the file of the bulk loader."""

    @abstractmethod
    def load(self, file: Path) -> None:
        """Run the bulk loader."""

    @abstractmethod
    def empty(self) -> None:
        """Remove all rows."""

    @abstractmethod
    def size(self) -> int:
        """Bytes of the table with its indexes."""


class Sqlite(Subject):
    """The embedded database."""

    mode = "executemany"
    _pragmas = "PRAGMA synchronous=FULL; PRAGMA cache_size=-32768; PRAGMA wal_autocheckpoint=4000; PRAGMA temp_store=2;"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "bench.db"

    @property
    def url(self) -> str:
        """See Subject."""
        return f"sqlite:///{self._path}"

    def line(self, values: tuple[object, ...]) -> bytes:
        """See Subject."""
        # .import fills all columns, the id among them, and knows no NULL.
        return ("\x1f".join("" if value is None else str(value) for value in values) + "\x1e").encode()

    def load(self, file: Path) -> None:
        """See Subject."""
        script = f"{self._pragmas}\n.mode ascii\n.import {file} {TABLE}\n"
        subprocess.run(["sqlite3", self._path], input=script.encode(), check=True, capture_output=True)

    def empty(self) -> None:
        """See Subject."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def size(self) -> int:
        """See Subject."""
        return sum(Path(f"{self._path}{suffix}").stat().st_size for suffix in ("", "-wal"))


class Served(Subject):
    """A database of a server."""

    def __init__(self, server: DatabaseServer) -> None:
        self.server = server
        self.database = server.create_database()

    @property
    def url(self) -> str:
        """See Subject."""
        return self.server.url(self.database)

    def line(self, values: tuple[object, ...]) -> bytes:
        """See Subject."""
        texts = ("\\N" if value is None else str(value).translate(_ESCAPES) for value in values[1:])
        return ("\t".join(texts) + "\n").encode()

    def empty(self) -> None:
        """See Subject."""
        self.server.execute(f"DROP TABLE IF EXISTS {TABLE}", self.database)


class Postgresql(Served):
    """PostgreSQL."""

    mode = "COPY"

    def load(self, file: Path) -> None:
        """See Subject."""
        copy = f"\\copy {TABLE} ({', '.join(SIP_ROW)}) FROM '{file}'"
        subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", self.url, "-c", copy], check=True)

    def size(self) -> int:
        """See Subject."""
        return int(self.server.execute(f"SELECT pg_total_relation_size('{TABLE}') AS size", self.database)[0]["size"])


class Mysql(Served):
    """MariaDB or MySQL."""

    mode = "LOAD DATA LOCAL"

    def load(self, file: Path) -> None:
        """See Subject."""
        server = self.server
        statement = f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {TABLE} CHARACTER SET utf8mb4 ({', '.join(SIP_ROW)})"
        subprocess.run(
            [
                "mysql", f"--host={server.host}", f"--port={server.port}", f"--user={server.user}", "--local-infile=1",
                self.database, "-e", statement,
            ],
            check=True,
            env=os.environ | {"MYSQL_PWD": server.password},
        )  # fmt: skip

    def size(self) -> int:
        """See Subject."""
        self.server.execute(f"ANALYZE TABLE {TABLE}", self.database)
        rows = self.server.execute(
            "SELECT data_length + index_length AS size FROM information_schema.tables"
            f" WHERE table_schema = DATABASE() AND table_name = '{TABLE}'",
            self.database,
        )
        return int(rows[0]["size"])


def through_sipcap(subject: Subject, total: int, mode: str) -> float:
    """Store records; prints rates on the way, returns seconds."""
    sink = open_sink(subject.url, is_delayed=mode == "delayed")
    batcher = Batcher(sink, BatchOptions(size=2_000, ahead=batches_ahead(mode)), Counters())
    together_s = 0.0
    before = 0, 0.0  # rows and seconds at the last million
    for first in range(0, total, STEP):
        rows = [Row(record, {}) for record in records(first, min(STEP, total - first))]
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        for row in rows:
            batcher.add(TABLE, row)
        batcher.flush()
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        together_s += took_s
        say(
            f"  sipcap, {mode}, {subject.mode}: {len(rows) / took_s:>8,.0f} rows/s, {1e6 * cpu_s / len(rows):.1f} µs of"
            f" its own CPU a row; then {first + len(rows):,} rows, {subject.size() / 1e6:,.0f} MB"
        )
        stored = first + len(rows)
        if stored % MILLION == 0:
            rate = (stored - before[0]) / (together_s - before[1])
            say(f"  sipcap, million {stored // MILLION}: {rate:>8,.0f} rows/s")
            before = stored, together_s
    batcher.close()
    return together_s


def through_loader(subject: Subject, file: Path) -> float:
    """Store the file; returns seconds."""
    began_s = time.perf_counter()
    subject.load(file)
    return time.perf_counter() - began_s


def make_table(subject: Subject) -> None:
    """Have sipcap make its table anew, and leave it empty."""
    subject.empty()
    sink = open_sink(subject.url)
    sink.write("bench", {TABLE: [Row(record, {}) for record in records(0, 1)]})
    sink.close()
    statement = f"DELETE FROM {TABLE}"
    if isinstance(subject, Served):
        subject.server.execute(f"TRUNCATE {TABLE}", subject.database)
        subject.server.execute("DELETE FROM sipcap_batches", subject.database)
    else:
        subprocess.run(["sqlite3", subject.url.removeprefix("sqlite:///"), statement], check=True)


def write_file(subject: Subject, path: Path, total: int) -> None:
    """Write what the bulk loader reads."""
    values = RowMaker(SIP_COLUMNS).values
    with path.open("wb") as file:
        for first in range(0, total, STEP):
            some = records(first, min(STEP, total - first))
            file.writelines(subject.line((first + at, *values(Row(each, {})))) for at, each in enumerate(some, 1))
    path.chmod(0o644)


def measure(name: str, subject: Subject, folder: Path, total: int, mode: str) -> None:
    """Measure one database both ways, in turns, and print."""
    file = folder / f"{name}.rows"
    write_file(subject, file, total)
    ours, theirs = [], []
    for _ in range(ROUNDS if total <= STEP else 1):
        make_table(subject)
        ours.append(total / through_sipcap(subject, total, mode))
        make_table(subject)
        theirs.append(total / through_loader(subject, file))
        say(f"  its own bulk loader: {theirs[-1]:>8,.0f} rows/s")
    subject.empty()
    say(
        f"{name}, {mode}: sipcap {max(ours):,.0f} rows/s, its own bulk loader {max(theirs):,.0f} rows/s:"
        f" {100 * max(ours) / max(theirs):.0f} %"
    )


def subjects(names: Sequence[str], folder: Path) -> Iterator[tuple[str, Subject]]:
    """The databases asked for, each when it is its turn."""
    for name in names:
        if name == "sqlite":
            yield name, Sqlite(folder)
        else:
            with running(name, durable=True) as server:
                yield name, {"postgresql": Postgresql, "mysql": Mysql}[name](server)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How fast records get into each database.")
    parser.add_argument("databases", nargs="*", choices=DATABASES, default=list(DATABASES), metavar="DATABASE")
    parser.add_argument("--rows", type=lambda text: int(text.replace("_", "")), default=STEP, metavar="N")
    parser.add_argument("--insert-mode", choices=INSERT_MODES, default=INSERT_MODES[0])
    asked = parser.parse_args()
    say(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores; {asked.rows:,} rows of about 1,100 bytes")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for name, subject in subjects(asked.databases, Path(folder)):
            measure(name, subject, Path(folder), asked.rows, asked.insert_mode)


if __name__ == "__main__":
    main()
