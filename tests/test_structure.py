"""The shape of the house: who may import what, and where captured text may be printed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from sipcap import limits
from tests.conftest import ROOT

LAYERS = (
    (
        "__init__", "errors", "limits", "counters", "endpoint", "ddl", "stopping", "quantities", "throttle", "watch",
        "latency", "shared", "hiding", "compiled", "heap",
    ),
    ("wire",),
    ("record", "extract", "ndjson", "schemas", "activity"),
    (
        "sources", "sinks", "routing", "modes", "config", "batching", "writing", "backlog", "deadletter", "spool",
        "spool_files", "recovering", "outlet", "turnstile", "inlet", "workers", "routes", "hooks", "hook_runner",
        "forwarding", "reporting",
    ),
    ("patterns", "tables", "forecast", "lanes", "pipeline", "capture_loop", "capturing", "replaying", "storing"),
    ("upkeep", "calls", "service", "exporting"),
    ("doctor",),
    ("cli",),
    ("devtools", "__main__"),
)  # fmt: skip
"""Folders and modules of ``sipcap``, the lowest first; one may import its own layer and those before it."""

NO_IO = frozenset({
    "asyncio", "click", "io", "logging", "multiprocessing", "os", "pathlib", "rich", "select", "selectors", "signal",
    "socket", "sqlite3", "ssl", "subprocess", "sys", "threading", "time",
})  # fmt: skip
"""What ``wire/`` must not know: it turns bytes into values and has no socket, file, clock or log."""

TERMINAL = {"click": ("cli", "devtools"), "rich": ("cli",)}
"""Who may use the libraries for terminals; the generators read the commands, which are Click objects."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted((ROOT / "sipcap").rglob("*.py"))
}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES or f"{name}.__init__" in MODULES else node.module


def _own(path: Path) -> set[str]:
    """The modules of sipcap that a file imports, as in MODULES."""
    names = {name for name in _imported(path) if name.partition(".")[0] == "sipcap"}
    return {name if name in MODULES else f"{name}.__init__" for name in names}


def _part(module: str) -> str:
    """The folder or module directly under ``sipcap``."""
    return module.split(".")[1]


def _layer(module: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if _part(module) in parts)


def test_layers_every_module_has_its_place() -> None:
    """A new folder or module of sipcap is put into a layer, and none is listed that is gone."""
    listed = [part for parts in LAYERS for part in parts]
    assert sorted(listed) == sorted({_part(module) for module in MODULES})


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward_only(module: str) -> None:
    """No module imports from a layer above its own."""
    above = {name for name in _own(MODULES[module]) if _layer(name) > _layer(module)}
    assert above == set()


def test_imports_have_no_cycle() -> None:
    """Within a layer, too, imports have an order."""
    TopologicalSorter({module: _own(path) for module, path in MODULES.items()}).prepare()


@pytest.mark.parametrize(("part", "other"), [("sources", "sinks"), ("sinks", "sources")])
def test_imports_sources_and_sinks_do_not_know_each_other(part: str, other: str) -> None:
    """Any source goes with any sink."""
    for module, path in MODULES.items():
        if _part(module) == part:
            assert not {name for name in _own(path) if _part(name) == other}, module


@pytest.mark.parametrize("module", [module for module in MODULES if _part(module) == "wire"])
def test_imports_of_wire_do_no_io(module: str) -> None:
    """Decoders and encoders work on bytes alone."""
    assert {name.partition(".")[0] for name in _imported(MODULES[module])} & NO_IO == set()


@pytest.mark.parametrize("library", TERMINAL)
def test_imports_of_terminal_libraries_stay_in_their_folders(library: str) -> None:
    """Only the command line knows that there is a terminal."""
    users = {_part(module) for module, path in MODULES.items() if library in map(_top, _imported(path))}
    assert users <= set(TERMINAL[library])


def _top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("module", [module for module in MODULES if module != "sipcap.cli.console"])
def test_printing_to_a_console_happens_in_one_file(module: str) -> None:
    """Captured text reaches a terminal through cli/console.py, which makes it harmless."""
    for node in ast.walk(_tree(MODULES[module])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr != "print", f"{module}:{node.lineno}"


@pytest.mark.parametrize("folder", sorted({path.parent for path in (ROOT / "tests").rglob("*.py")}))
def test_folders_of_tests_are_packages(folder: Path) -> None:
    """Two test files may have the same name, which only packages allow."""
    assert (folder / "__init__.py").exists()


@pytest.mark.parametrize("name", [name for name in vars(limits) if name.isupper()])
def test_limits_every_bound_is_used(name: str) -> None:
    """A bound that nothing keeps to is a promise that nobody keeps."""
    users = [path for module, path in MODULES.items() if module != "sipcap.limits" and name in _names(path)]
    assert users


@cache
def _names(path: Path) -> frozenset[str]:
    return frozenset(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(_tree(path))
        if isinstance(node, (ast.Name, ast.Attribute))
    )
