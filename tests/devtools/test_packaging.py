"""What an installation consists of."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from sipcap import ddl
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def test_packages_are_all_listed() -> None:
    """A folder of sipcap that is not in pyproject.toml would be missing in the wheel."""
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "sipcap").rglob("__init__.py")}
    assert sorted(SETUPTOOLS["packages"]) == sorted({".".join(folder.parts) for folder in folders} | {"sipcap.sql"})


def test_compiled_module_is_listed_with_all_its_parts() -> None:
    """Where it cannot be compiled, the installation goes on without; a part that nobody includes would be dead."""
    folder = ROOT / "sipcap" / "compiled"
    (listed,) = SETUPTOOLS["ext-modules"]
    assert (listed["name"], listed["sources"], listed["optional"]) == (
        "sipcap.compiled.native", ["sipcap/compiled/native.pyx"], True
    )  # fmt: skip
    parts = {path.name for path in folder.glob("*.pxi")}
    assert set(re.findall('include "(.*)"', (folder / "native.pyx").read_text())) == parts
    kinds = {"*.pyx", "*.pxd", "*.pxi", "*.pyi"}
    assert set(SETUPTOOLS["package-data"]["sipcap.compiled"]) == kinds
    assert set(listed["depends"]) == {
        f"sipcap/compiled/{path.name}" for kind in ("*.pxd", "*.pxi") for path in folder.glob(kind)
    }


def test_data_files_cover_the_generated_folders() -> None:
    """Every man page and completion is installed, each where its reader looks."""
    shared = {folder: found for folder, found in SETUPTOOLS["data-files"].items() if folder.startswith("share/")}
    installed = {path for patterns in shared.values() for p in patterns for path in ROOT.glob(p)}
    assert installed == {*(ROOT / "man").iterdir(), *(ROOT / "completions").iterdir()}


def test_package_data_covers_sql() -> None:
    """Every table definition is installed."""
    files = {path for path in (ROOT / "sql").rglob("*") if path.is_file()}
    assert files == {
        path for pattern in SETUPTOOLS["package-data"]["sipcap.sql"] for path in (ROOT / "sql").glob(pattern)
    }


@pytest.mark.parametrize(
    "path", sorted((ROOT / "sql").rglob("*.sql")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_ddl_of_a_checkout_is_found(path: Path) -> None:
    """A clean checkout and an editable installation read the folder at the top."""
    assert ddl.read_ddl(path.parent.name, path.stem) == path.read_text()


def test_ddl_of_an_installation_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package reads its own folder, not one beside it."""
    own, beside = tmp_path / "sipcap" / "sql", tmp_path / "sql"
    for folder in (own, beside):
        (folder / "sqlite").mkdir(parents=True)
        (folder / "sqlite" / "x.sql").write_text(str(folder))
    monkeypatch.setattr(ddl, "_FOLDERS", (own, beside))
    assert ddl.read_ddl("sqlite", "x") == str(own)


def test_ddl_of_a_damaged_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the folder the message says what to do."""
    monkeypatch.setattr(ddl, "_FOLDERS", (tmp_path / "one", tmp_path / "two"))
    with pytest.raises(FileNotFoundError, match="install sipcap again"):
        ddl.ddl_folder()


def test_types_are_checked_strictly_everywhere() -> None:
    """No module is exempted from mypy --strict; only libraries without types may be unknown."""
    mypy = PROJECT["tool"]["mypy"]
    assert mypy["strict"] is True
    assert set(mypy["packages"]) == {"sipcap", "tests"}
    assert "exclude" not in mypy
    for override in mypy.get("overrides", []):
        assert set(override) <= {"module", "ignore_missing_imports"}
