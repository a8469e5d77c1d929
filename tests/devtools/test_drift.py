"""What is committed is what the commands would generate."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipcap.devtools import __main__ as devtools
from tests.conftest import ROOT


def test_generated_files_are_up_to_date() -> None:
    """A change of a command comes with its man page and completions: ``python -m sipcap.devtools --write``."""
    assert devtools.check(ROOT) == ""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the repository, up to date."""
    for name in ("CHANGELOG.md", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    devtools.write(tmp_path)
    return tmp_path


def test_write_makes_what_check_expects(checkout: Path) -> None:
    """Writing once is enough, and writing twice changes nothing."""
    assert devtools.check(checkout) == ""
    before = {path: path.read_text() for path in checkout.rglob("*") if path.is_file()}
    devtools.write(checkout)
    assert {path: path.read_text() for path in checkout.rglob("*") if path.is_file()} == before


def test_check_shows_what_changed(checkout: Path) -> None:
    """A page that was edited by hand is found, with the difference."""
    page = checkout / "man" / "sipcap.1"
    page.write_text(page.read_text().replace("Show the version", "Show a version"))
    diff = devtools.check(checkout)
    assert "--- man/sipcap.1" in diff
    assert "-Show a version and exit.\n+Show the version and exit.\n" in diff


def test_check_finds_missing_and_stale_files(checkout: Path) -> None:
    """A new command without its page is found, and so is the page of a command that is gone."""
    (checkout / "man" / "sipcap.1").unlink()
    (checkout / "man" / "sipcap-gone.1").write_text("gone\n")
    diff = devtools.check(checkout)
    assert "+++ man/sipcap.1 (generated)" in diff
    assert "-gone" in diff
    devtools.write(checkout)
    assert devtools.check(checkout) == ""
    assert not (checkout / "man" / "sipcap-gone.1").exists()


def test_tool_check_fails_and_names_the_command(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever broke it is told how to repair it."""
    monkeypatch.setattr(devtools, "ROOT", checkout)
    assert devtools.main(["--check"]) == 0
    (checkout / "completions" / "sipcap").write_text("")
    assert devtools.main(["--check"]) == 1
    assert "python -m sipcap.devtools --write" in capsys.readouterr().err
    assert devtools.main(["--write"]) == 0
    assert devtools.main(["--check"]) == 0


def test_tool_print_shows_every_file(capsys: pytest.CaptureFixture[str]) -> None:
    """--print shows what --write would write."""
    assert devtools.main(["--print"]) == 0
    text = capsys.readouterr().out
    assert "==> man/sipcap.1 <==" in text
    assert "==> completions/_sipcap <==" in text


def test_tool_outside_a_checkout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package has no folders to write into."""
    monkeypatch.setattr(devtools, "ROOT", tmp_path)
    with pytest.raises(SystemExit):
        devtools.main(["--write"])
    assert list(tmp_path.iterdir()) == []
