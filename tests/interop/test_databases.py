"""The same traffic into MariaDB and PostgreSQL, by Kamailio's sipcapture and by sipcap: the rows are equal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.database_server import DatabaseServer
from tests.support.kamailio_tables import WIDTHS
from tests.support.servers import mysql_server, postgresql_server

from . import kamailio
from .cases import SENTINEL_PORT, Case
from .compare import Outcome, Watched, deliver
from .differences import TOLERATED, explanation
from .headers import values
from .predicates import pairs
from .product import serving_into
from .refusals import refusal
from .served import DRIVERS, ServedTable, account, database, in_utc
from .tables import COLUMNS, Row, text
from .tolerance import Difference

__all__ = ["mysql_server", "postgresql_server"]

_CUT = Difference(
    "originator_cut",
    frozenset({"originator_ip"}),
    "Kamailio's driver for PostgreSQL ends a text at the NUL that the module puts over a colon: defect 12",
    lambda pair: values(pair.payload, "X-OIP") != [] and text(pair.product).startswith(f"{text(pair.oracle)}:"),
)
_LEAST = 1_000
"""Messages that both store; a comparison of less would show little."""


@pytest.fixture(params=sorted(DRIVERS))
def server(request: pytest.FixtureRequest, kamailio_here: None) -> Iterator[DatabaseServer]:
    """Each server, with Kamailio's driver for it."""
    if not kamailio.has_driver(DRIVERS[request.param]):
        if os.environ.get("CI") == "true":
            pytest.fail(f"Kamailio's db_{DRIVERS[request.param]} is needed in CI")
        pytest.skip(f"Kamailio's db_{DRIVERS[request.param]} is not here")
    found: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    if not found.is_private:
        pytest.skip("its time zone is not ours to set")
    with in_utc(found):
        yield found


def _plain(cases: list[Case]) -> list[Case]:
    """Those that fit the module's table: what is too wide, or no text of its character set, the server refuses.

    A NUL within text, which PostgreSQL takes nowhere, becomes U+FFFD in sipcap, as in SQLite's column ``msg``.
    """
    return [
        case
        for case in cases
        if len(case.payload) <= WIDTHS["msg"] and case.payload.isascii() and b"\0" not in case.payload
    ]


def _by_port(table: ServedTable) -> dict[object, Row]:
    return {row["source_port"]: row for row in table.rows() if row["source_port"] != SENTINEL_PORT}


def _ask(port: int, table: Watched, cases: list[Case]) -> None:
    deliver(port, table, [case.datagram for case in cases])


def test_rows_of_kamailio_and_sipcap_are_equal_in_a_server(
    server: DatabaseServer, cases: list[Case], tmp_path: Path
) -> None:
    """In all 44 columns, in the module's table and in sipcap's own, but for the differences that SQLite's rows have."""
    plain = _plain(cases)
    with ExitStack() as stack:
        name, theirs = stack.enter_context(database(server, table_of_the_module=True))
        url = stack.enter_context(account(server, name))
        with kamailio.capturing_into(tmp_path / "oracle", DRIVERS[server.scheme], url) as port:
            _ask(port, theirs, plain)
        expected = _by_port(theirs)
        for is_modules in (True, False):
            ours_name, ours = stack.enter_context(database(server, table_of_the_module=is_modules))
            with serving_into(tmp_path / f"product {is_modules}", server.url(ours_name)) as port:
                _ask(port, ours, plain)
            _compare(plain, expected, _by_port(ours))


def _compare(cases: list[Case], expected: dict[object, Row], found: dict[object, Row]) -> None:
    both = 0
    odd = []
    for case in cases:
        port = case.envelope.source_port
        if port not in expected:
            continue
        outcome = Outcome(case, expected[port], "", found.get(port))
        if outcome.product is None:
            assert refusal(outcome) is not None, case.name
            continue
        both += 1
        odd += [
            f"{case.name!r}: {pair.column}: Kamailio {pair.oracle!r}, sipcap {pair.product!r}"
            for pair in pairs(outcome, COLUMNS)
            if explanation(pair, (*TOLERATED, _CUT)) is None
        ]
    assert not odd, f"{len(odd)} unexplained:\n" + "\n".join(odd[:20])
    assert both >= _LEAST
