"""The README tells how to do in sipcap what the module does; nothing is left out of it."""

from __future__ import annotations

import re

import pytest

from sipcap.config.keys import COLUMN_KEYS, MODULE_KEYS
from tests.conftest import ROOT

_PART = (ROOT / "README.md").read_text().partition("## From Kamailio's sipcapture")[2].partition("\n## ")[0]
ROWS = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in _PART.splitlines() if line.startswith("| ")][2:]
_LEFT = " ".join(row[0] for row in ROWS)


@pytest.mark.parametrize("key", MODULE_KEYS)
def test_parity_table_has_each_parameter(key: str) -> None:
    """Under its own name, in the column of the module."""
    assert f"`{key}`" in _LEFT


@pytest.mark.parametrize(
    "name",
    [
        "sip_capture()", "report_capture(", "float2int(", "sip_capture_forward(", "event_route[sipcapture:request]",
        "$hep(version)", "KEMI `sip_capture`", "sip_capture_table", "sip_capture_mode", "sipcapture.status",
        "captured_requests", "captured_replies", "*_column",
    ],
)  # fmt: skip
def test_parity_table_has_each_function_route_rpc_and_statistic(name: str) -> None:
    """What a script, a console or a monitor may have used."""
    assert name in _LEFT


def test_parity_table_names_columns_that_there_are() -> None:
    """The first and the last stand for all."""
    keys = list(COLUMN_KEYS)
    assert f"`{keys[0]}` … `{keys[-1]}`" in _LEFT


def test_parity_table_says_how_in_every_row() -> None:
    """Two columns, and neither is empty."""
    assert len(ROWS) > 25
    assert all(len(row) == 2 and all(row) for row in ROWS), ROWS


def test_parity_table_names_no_parameter_that_there_is_not() -> None:
    """A key that is gone does not stay in the text as if it were still read."""
    named = set(
        re.findall(r"`(\w+_\w+)`", " ".join(row[0] for row in ROWS[: len(MODULE_KEYS)] if "the same" in row[1]))
    )
    assert named <= {*MODULE_KEYS, *COLUMN_KEYS}
