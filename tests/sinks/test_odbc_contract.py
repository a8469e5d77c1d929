"""What every sink of records does (``test_contract.py``, ``test_contract_tables.py``), through ODBC."""

from __future__ import annotations

import pytest

from tests.sinks import test_contract, test_contract_tables
from tests.support.databases import Database

NOT_HERE = {"test_definitions_as_they_stand_make_the_tables_that_the_sink_fills"}
"""The types in sql/odbc/ are those of ODBC, for which each engine has names of its own."""

for module in (test_contract, test_contract_tables):
    found = {name: test for name, test in vars(module).items() if name.startswith("test_")}
    globals().update({name: test for name, test in found.items() if name not in NOT_HERE})


@pytest.fixture(params=["odbc_sqlite", "odbc_postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty database behind a data source, once of each kind."""
    made: Database = request.getfixturevalue(request.param)
    return made
