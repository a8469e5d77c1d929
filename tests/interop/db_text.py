"""A private Kamailio that reads, and changes, tables of its db_text."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import kamailio
from .processes import free_udp_port, wait_until

MODULES = ("db_text.so", "sqlops.so", "xlog.so")

_CONFIG = """\
loadmodule "xlog.so"
modparam("xlog", "buf_size", 200000)
loadmodule "db_text.so"
modparam("db_text", "file_buffer_size", {buffer})
loadmodule "sqlops.so"
modparam("sqlops", "sqlcon", "it=>text://{folder}")
request_route {{ exit; }}
event_route[core:worker-one-init] {{
{statements}
xlog("L_ERR", "ALL IS DONE\\n");
}}
"""

_RUN = """sql_query("it", '{statement}', "ra");"""

_SHOW = """\
sql_query("it", "select {column} from {table}", "ra");
$var(row) = 0;
while ($var(row) < $dbr(ra=>rows)) {{
    xlog("L_ERR", "CELL $var(row) {column} $(dbr(ra=>[$var(row),0]){{s.encode.hexa}})\\n");
    $var(row) = $var(row) + 1;
}}
"""

_CELL = re.compile(rb"CELL (\d+) (\w+) ([0-9a-f]*)\n")


@contextlib.contextmanager
def _having_done(work: Path, folder: Path, statements: str) -> Iterator[str]:
    """Kamailio after it has done this, with what it logged; it writes what it has changed when it is left."""
    port = free_udp_port()
    config = kamailio._COMMON.format(port=port, modules=kamailio.module_folder())
    config += _CONFIG.format(folder=folder, statements=statements, buffer=100_000)
    with kamailio._daemon(work, config, port) as (_, log):
        wait_until(lambda: b"ALL IS DONE" in log.read_bytes(), "Kamailio's queries")
        yield log.read_text(errors="replace")


def rows_read(work: Path, folder: Path, table: str, columns: Sequence[str]) -> list[dict[str, bytes]]:
    """What Kamailio reads of these columns; numbers as their digits, and what is NULL as nothing."""
    statements = "".join(_SHOW.format(column=column, table=table) for column in columns)
    rows: list[dict[str, bytes]] = []
    with _having_done(work, folder, statements) as log:
        for row, column, digits in _CELL.findall(log.encode()):
            while len(rows) <= int(row):
                rows.append({})
            rows[int(row)][column.decode()] = bytes.fromhex(digits.decode())
    return rows


def run_statements(work: Path, folder: Path, statements: Sequence[str]) -> None:
    """Let Kamailio change tables; it writes them when it ends."""
    with _having_done(work, folder, "\n".join(_RUN.format(statement=statement) for statement in statements)):
        pass
