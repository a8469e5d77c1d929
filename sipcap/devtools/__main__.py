"""``python -m sipcap.devtools``: write, check or print what is made of the commands and of the configuration's keys."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from sipcap.devtools.gen_completions import completions
from sipcap.devtools.gen_man import man_pages, release_date
from sipcap.devtools.gen_man5 import CONFIG_PAGE, config_page
from sipcap.devtools.tree import read_tree

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("man", "completions")
"""Folders that hold generated files and nothing else."""


def generated(root: Path) -> dict[Path, str]:
    """Make every generated file of the repository in *root*: path to text."""
    tree = read_tree()
    files = {root / "man" / name: text for name, text in man_pages(tree, release_date(root)).items()}
    files[root / "man" / CONFIG_PAGE] = config_page(release_date(root))
    return files | {root / "completions" / name: text for name, text in completions(tree).items()}


def stale(root: Path, files: dict[Path, str]) -> list[Path]:
    """Files in the generated folders that no command accounts for."""
    present = (path for folder in FOLDERS for path in sorted((root / folder).glob("*")))
    return [path for path in present if path not in files]


def write(root: Path) -> None:
    """Bring the generated folders up to date."""
    files = generated(root)
    for path, text in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in stale(root, files):
        path.unlink()


def check(root: Path) -> str:
    """Compare the folders with the commands; the differences as a diff, empty if there are none."""
    files = generated(root)
    diff: list[str] = []
    for path in (*files, *stale(root, files)):
        name = str(path.relative_to(root))
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        diff += difflib.unified_diff(
            old.splitlines(keepends=True), files.get(path, "").splitlines(keepends=True), name, f"{name} (generated)"
        )
    return "".join(diff)


def main(args: Sequence[str] | None = None) -> int:
    """Run the tool; 1 if ``--check`` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m sipcap.devtools", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write man/ and completions/")
    what.add_argument("--check", action="store_true", help="show how the files differ from the commands")
    what.add_argument("--print", action="store_true", help="print all files")
    chosen = parser.parse_args(args)
    if not (ROOT / "pyproject.toml").exists():
        parser.exit(2, f"{ROOT} is no checkout of the sources\n")
    if chosen.write:
        write(ROOT)
    elif chosen.check:
        diff = check(ROOT)
        sys.stdout.write(diff)
        if diff:
            sys.stderr.write("man/ or completions/ are out of date: run python -m sipcap.devtools --write\n")
            return 1
    else:
        for path, text in generated(ROOT).items():
            sys.stdout.write(f"==> {path.relative_to(ROOT)} <==\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
