"""modes.ini(5): every key has its line."""

from __future__ import annotations

import pytest

from sipcap.config.ini import parse_ini
from sipcap.config.keys import COLUMN_KEYS, SECTIONS, check_keys
from sipcap.config.manual import SECTION_TEXTS, TEXTS
from sipcap.devtools.gen_config_man import _EXAMPLE, config_page


@pytest.mark.parametrize("kind", SECTIONS)
def test_manual_explains_every_key(kind: str) -> None:
    """No key without a text, no text without a key; the columns have one together."""
    assert set(TEXTS[kind]) == set(SECTIONS[kind]) - set(COLUMN_KEYS)
    assert kind in SECTION_TEXTS


def test_page_names_every_key_and_tells_no_secret() -> None:
    """Each with its default."""
    page = config_page("2026-01-01")
    for kind, keys in TEXTS.items():
        for key in keys:
            assert f"\\fB{key}\\fR" in page, (kind, key)
    assert "[default: homer01]" in page


def test_example_of_the_page_can_be_used() -> None:
    """It is read as it stands there."""
    check_keys(parse_ini(_EXAMPLE.encode(), "modes.ini"))
