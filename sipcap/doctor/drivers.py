"""Libraries and programs that a configuration needs."""

from __future__ import annotations

import importlib
import shlex
import shutil
import sys
from collections.abc import Iterator

from sipcap.compiled import ENABLED, twins
from sipcap.doctor.finding import Finding, fine, wrong

_MODULES = {
    "postgresql": ("psycopg", "psycopg[binary]"), "postgres": ("psycopg", "psycopg[binary]"),
    "mysql": ("pymysql", "pymysql"), "unixodbc": ("pyodbc", "sipcap[odbc]"), "odbc": ("pyodbc", "sipcap[odbc]"),
}  # fmt: skip
"""By the scheme of a URL: the module, and what to install."""


def scheme_of(url: str) -> str:
    """The scheme of a database URL, in small letters."""
    return url.partition("://")[0].strip().lower()


def check_driver(scheme: str) -> Iterator[Finding]:
    """Look whether the driver of a kind of database can be loaded; SQLite and folders need none."""
    if scheme in _MODULES:
        yield check_module(*_MODULES[scheme])


def check_module(name: str, package: str) -> Finding:
    """Look whether a library can be imported.

    Args:
        name: of the module.
        package: what pip installs.
    """
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if "libodbc" in str(error):
            return wrong(f"driver {name}: {error}", "sudo apt-get install -y unixodbc")
        return wrong(f"driver {name}: {error}", f"{shlex.quote(sys.executable)} -m pip install '{package}'")
    version = getattr(module, "__version__", None) or getattr(module, "version", "")
    return fine(f"driver {name} {version}".rstrip())


def check_compiled() -> Finding:
    """Look whether the hot functions are compiled; without, all is the same but slower."""
    if twins() is not None:
        return fine("compiled code is used")
    if not ENABLED:
        return fine("compiled code is switched off by SIPCAP_COMPILED=0: slower")
    return fine("no compiled code: slower; installing sipcap makes it where gcc and python3-dev are")


def check_program(name: str, package: str) -> Finding:
    """Look whether a program is there."""
    path = shutil.which(name)
    if path is None:
        return wrong(f"program {name} is not on the path", f"sudo apt-get install -y {package}")
    return fine(f"program {name}: {path}")
