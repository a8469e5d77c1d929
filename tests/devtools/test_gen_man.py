"""The man pages say everything, and roff understands them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipcap.devtools.gen_man import man_pages, page_name, release_date
from sipcap.devtools.tree import Command, read_tree
from tests.conftest import ROOT
from tests.devtools.sample import SAMPLE
from tests.support.programs import run_tool

PAGES = man_pages(SAMPLE, "2026-01-02")
REAL = list(read_tree().walk())


def _rendered(page: str, folder: Path) -> str:
    path = folder / "page.1"
    path.write_text(page)
    return run_tool("mandoc", "-T", "ascii", "-O", "width=100", str(path)).replace("_\b", "")


@pytest.mark.parametrize("name", PAGES)
def test_man_page_of_the_sample_has_no_mistakes(name: str, tmp_path: Path) -> None:
    """Backslashes, leading dots and quotes in help texts are no roff commands."""
    path = tmp_path / name
    path.write_text(PAGES[name])
    assert run_tool("mandoc", "-T", "lint", str(path)) == ""


def test_man_pages_committed_have_no_mistakes() -> None:
    """What is installed passes mandoc's own check."""
    assert run_tool("mandoc", "-T", "lint", *map(str, sorted((ROOT / "man").glob("*.1")))) == ""


def test_man_page_text_arrives_unchanged(tmp_path: Path) -> None:
    """What the help says is what man shows, character by character."""
    text = _rendered(PAGES["sipcap.1"], tmp_path)
    assert "back\\slash - and a dash" in text
    assert ".TH is no heading, and" in text
    assert "'quoted' at a line's start" in text
    assert "    .PP | 'as it'   stands\n" in text
    assert "    second --line\\\n" in text
    assert "    ~/.sample  its `file`\n" in text


def test_man_page_has_the_sections_in_order() -> None:
    """The sections are those that a reader expects, and those of the epilog."""
    titles = [line.removeprefix(".SH ") for line in PAGES["sipcap-listen.1"].splitlines() if line.startswith(".SH")]
    assert titles == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES", "LIMITS", "SEE ALSO",
    ]  # fmt: skip


def test_man_page_of_a_group_lists_its_commands() -> None:
    """A group's page leads to the pages of its commands, hidden ones excepted."""
    assert sorted(PAGES) == [
        "sipcap-listen.1", "sipcap-replay.1", "sipcap-status.1", "sipcap-tables-create-all.1", "sipcap-tables.1",
        "sipcap.1",
    ]  # fmt: skip
    assert "\\fBsipcap\\-tables\\-create\\-all\\fR(1)\nCreate them." in PAGES["sipcap-tables.1"]
    assert "ghost" not in PAGES["sipcap.1"]


def test_man_page_names_the_variables() -> None:
    """Every variable that sets an option is listed; an explicit one comes first."""
    page = PAGES["sipcap-listen.1"]
    assert page.index("\\fBKEY_FILE\\fR") < page.index("\\fBSIPCAP_LISTEN_KEY\\fR")
    assert "SECRET" not in page


@pytest.mark.parametrize("command", REAL, ids=lambda command: page_name(command.path))
def test_man_page_of_each_command_has_each_option(command: Command) -> None:
    """No command and no option is without its entry."""
    page = (ROOT / "man" / f"{page_name(command.path)}.1").read_text()
    for option in command.options:
        for name in option.names:
            assert f"\\fB{name}\\fR".replace("-", "\\-") in page


@pytest.mark.parametrize(
    ("changelog", "epoch", "expected"),
    [
        ("## [Unreleased]\n\n## [1.2.0] - 2026-03-04\n\n## [1.1.0] - 2025-01-01\n", "0", "2026-03-04"),
        ("## [Unreleased]\n", "86400", "1970-01-02"),
        ("## [Unreleased]\n\nSince 2026-03-04.\n", "0", "1970-01-01"),
    ],
)
def test_release_date_is_that_of_the_newest_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changelog: str, epoch: str, expected: str
) -> None:
    """The date of a page depends on the source and never on the day it is made."""
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert release_date(tmp_path) == expected
