"""modes.ini(5) says everything that may stand in the file, and roff understands it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sipcap.config.keys import LISTEN_KEYS, MAIN_KEYS, ROUTE_HELP, SECTION_HELP, SECTIONS
from sipcap.config.reading import read_settings
from sipcap.config.values import allowed_of, text_value
from sipcap.devtools.gen_man5 import CONFIG_PAGE, config_page
from sipcap.routes import ROUTE_KEYS
from tests.support.programs import run_tool

PAGE = config_page("2026-01-02")
PLAIN = PAGE.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")


def test_config_page_has_no_mistakes(tmp_path: Path) -> None:
    """As mandoc checks it."""
    path = tmp_path / CONFIG_PAGE
    path.write_text(PAGE)
    assert run_tool("mandoc", "-T", "lint", str(path)) == ""


@pytest.mark.parametrize("kind", SECTIONS)
def test_config_page_has_every_key_of_a_section(kind: str) -> None:
    """No key is without its words."""
    assert f".SH [{kind}" in PLAIN
    section = PLAIN.partition(f".SH [{kind}")[2].partition(".SH ")[0]
    for key in SECTIONS[kind]:
        assert re.search(rf"^\.TP\n{key}$|\b{key}\b", section, re.MULTILINE), key


def test_config_keys_all_have_a_meaning() -> None:
    """The help stands beside the key: whole sentences."""
    texts = [key.help for key in (*MAIN_KEYS.values(), *LISTEN_KEYS.values())]
    texts += [*ROUTE_HELP.values(), *SECTION_HELP.values()]
    assert all(text.endswith(".") and len(text) > 15 for text in texts), texts
    assert set(ROUTE_HELP) == set(ROUTE_KEYS)
    assert set(SECTION_HELP) == set(SECTIONS)


def test_config_page_tells_ranges_and_defaults() -> None:
    """As the keys have them."""
    assert allowed_of(MAIN_KEYS["insert_retries"].read) == "0 to 500"
    filled = " ".join(PLAIN.split())
    assert "before it goes to the spool or dead letters. Takes 0 to 500. Default: 0." in filled
    assert "First half of the column node; the capture id follows. Default: homer01." in filled
    for key in (*MAIN_KEYS.values(), *LISTEN_KEYS.values()):
        assert allowed_of(key.read) or key.read is text_value


def test_config_page_has_an_example_that_can_be_used(tmp_path: Path) -> None:
    """It is read without an error."""
    text = PLAIN.partition(".SH EXAMPLES\n")[2].partition(".SH SEE ALSO")[0]
    path = tmp_path / "modes.ini"
    path.write_text("\n".join(line for line in text.splitlines() if line not in (".nf", ".fi", ".PP")))
    settings = read_settings(path)
    assert [listener.name for listener in settings.listeners] == ["hep", "span"]
    assert [route.name for route in settings.routes] == ["registrations"]


def test_config_page_has_no_default_for_the_database_of_a_capture_mode() -> None:
    """A named mode needs one; only the default mode has it by itself."""
    filled = {part.split("\n", 1)[0]: " ".join(part.split()) for part in PLAIN.split(".SH ")}
    assert "Default: sqlite:///sipcap.db." in filled["[sipcap]"]
    of_mode = filled["[capture_mode:NAME]"]
    assert "sqlite:///sipcap.db" not in of_mode
    assert "default capture mode" not in of_mode
    assert "it must be there. " in of_mode
