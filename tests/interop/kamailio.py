"""A private Kamailio on loopback: the sipcapture module as oracle, siptrace as sender."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .processes import free_udp_port, running, udp_is_bound, wait_until
from .tables import Database, tables_of_the_module

# Debian puts the daemon where an ordinary user's PATH does not look.
_SEARCH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_MODULE_FOLDERS = ("usr/lib/*/kamailio/modules", "usr/lib/kamailio/modules", "usr/lib64/kamailio/modules")
NEEDED_MODULES = ("sipcapture.so", "db_sqlite.so", "siptrace.so", "tm.so", "pv.so", "rr.so", "topoh.so")
# The release that the specification was measured on, and so the one that the tolerated differences are written for.
NEEDED_RELEASE = "5.6."

# One worker keeps the order of the datagrams, so that a later row proves that an earlier message was dealt with.
_COMMON = """\
#!KAMAILIO
debug=2
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
use_dns_cache=off
disable_core_dump=yes
listen=udp:127.0.0.1:{port}
mpath="{modules}/"
loadmodule "pv.so"
"""

# The larger buffer lets long messages through (spec 5.1: 64 kB hold about 32 kB of text).
_CAPTURE = """\
sql_buffer_size=400000
loadmodule "db_{driver}.so"
loadmodule "sipcapture.so"
modparam("sipcapture", "db_url", "{url}")
modparam("sipcapture", "capture_on", 1)
modparam("sipcapture", "hep_capture_on", 1)
request_route {{ sip_capture(); drop; }}
onreply_route {{ sip_capture(); drop; }}
"""

# A stateless hop: every message passes siptrace twice, once as it came and once as it goes on; and one log line
# for each request, which hlog() sends as HEP type 100.
_TRACE = """\
loadmodule "tm.so"
loadmodule "siptrace.so"
modparam("siptrace", "trace_on", 1)
modparam("siptrace", "trace_to_database", 0)
modparam("siptrace", "trace_mode", 1)
modparam("siptrace", "hep_mode_on", 1)
modparam("siptrace", "hep_version", {version})
modparam("siptrace", "hep_capture_id", {capture_id})
modparam("siptrace", "duplicate_uri", "sip:127.0.0.1:{collector}")
request_route {{ hlog("$rm came"); $du = "sip:127.0.0.1:{next_hop}"; forward(); exit; }}
"""

# This release knows no use mode 1: topoh edits each message before it is captured (spec 10.5), but not its Call-ID.
_UNMASK = """\
loadmodule "rr.so"
loadmodule "topoh.so"
modparam("topoh", "mask_callid", 1)
modparam("topoh", "mask_key", "{key}")
modparam("topoh", "callid_prefix", "{prefix}")
"""

# A stateless hop that hides the topology of whoever is before it.
_MASK = """\
loadmodule "rr.so"
loadmodule "topoh.so"
modparam("topoh", "mask_callid", 1)
modparam("topoh", "mask_key", "{key}")
modparam("topoh", "callid_prefix", "{prefix}")
modparam("topoh", "sanity_checks", 0)
request_route {{ $du = "sip:127.0.0.1:{next_hop}"; forward(); exit; }}
"""


def executable() -> str | None:
    """Return the path of the daemon, if there is one."""
    return shutil.which("kamailio") or shutil.which("kamailio", path=_SEARCH)


def module_folder() -> Path | None:
    """Return the folder that holds the modules these tests load, if there is one."""
    for pattern in _MODULE_FOLDERS:
        for folder in Path("/").glob(pattern):
            if all((folder / name).exists() for name in NEEDED_MODULES):
                return folder
    return None


def release() -> str:
    """Return the version that the daemon prints, for instance ``5.6.3``."""
    shown = subprocess.run([executable() or "kamailio", "-v"], capture_output=True, check=True, timeout=10)
    found = re.search(rb"kamailio (\d+\.\d+\.\d+)", shown.stdout)
    return found[1].decode() if found else "unknown"


@dataclass(frozen=True, slots=True)
class Capture:
    """A running sipcapture."""

    port: int
    database: Database
    log: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def _daemon(
    folder: Path, config: str, port: int, env: Mapping[str, str] | None = None, before: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    config_file, log = folder / "kamailio.cfg", folder / "kamailio.log"
    config_file.write_text(config, encoding="utf-8")
    argv = [*before, executable() or "kamailio", "-f", str(config_file), "-DD", "-E", "-m", "64", "-M", "8"]
    argv += ["-w", str(folder), "-Y", str(folder)]
    with running(argv, log, env=env) as process:
        wait_until(
            lambda: process.poll() is not None or udp_is_bound(port, pid=process.pid),
            f"Kamailio on port {port}",
        )
        if process.poll() is not None:
            raise RuntimeError(f"Kamailio did not start:\n{log.read_text(errors='replace')}")
        yield process, log


@contextlib.contextmanager
def capturing(folder: Path) -> Iterator[Capture]:
    """Run sipcapture on HEP over UDP (``nonsip_hook`` 0) into a SQLite file in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    database, port = folder / "oracle.db", free_udp_port()
    config = _COMMON.format(port=port, modules=module_folder())
    config += _CAPTURE.format(driver="sqlite", url=f"sqlite:///{database}")
    with tables_of_the_module(database), _daemon(folder, config, port) as (process, log):
        yield Capture(port, Database(database), log, process)


def has_driver(driver: str) -> bool:
    """Tell whether a database driver of Kamailio is installed."""
    folder = module_folder()
    return folder is not None and (folder / f"db_{driver}.so").exists()


@contextlib.contextmanager
def capturing_into(folder: Path, driver: str, url: str, *, more: str = "") -> Iterator[int]:
    """Run sipcapture into the table sip_capture of a server, its process in UTC (spec 3.7); yields its port.

    ``more`` are further lines of its configuration; a later ``children=`` takes the place of the first.
    """
    port = free_udp_port()
    config = _COMMON.format(port=port, modules=module_folder()) + _CAPTURE.format(driver=driver, url=url) + more
    with _daemon(folder, config, port, {"TZ": "UTC"}):
        yield port


@contextlib.contextmanager
def unmasking(folder: Path, *, key: str, prefix: str) -> Iterator[Capture]:
    """Run sipcapture with ``topoh_unmask`` 1, otherwise as ``capturing``."""
    folder.mkdir(parents=True, exist_ok=True)
    database, port = folder / "oracle.db", free_udp_port()
    config = _COMMON.format(port=port, modules=module_folder()) + _UNMASK.format(key=key, prefix=prefix)
    config += _CAPTURE.format(driver="sqlite", url=f"sqlite:///{database}")
    config += 'modparam("sipcapture", "topoh_unmask", 1)\n'
    with tables_of_the_module(database), _daemon(folder, config, port) as (process, log):
        yield Capture(port, Database(database), log, process)


@contextlib.contextmanager
def masking(folder: Path, *, next_hop: int, key: str, prefix: str) -> Iterator[int]:
    """Run a stateless hop to *next_hop* that masks Call-IDs with topoh; yields the hop's own port."""
    port = free_udp_port()
    config = _COMMON.format(port=port, modules=module_folder())
    with _daemon(folder, config + _MASK.format(key=key, prefix=prefix, next_hop=next_hop), port):
        yield port


@contextlib.contextmanager
def tracing(
    folder: Path, *, version: int, collector: int, next_hop: int, capture_id: int, before: Sequence[str] = ()
) -> Iterator[int]:
    """Run a stateless hop to *next_hop* whose siptrace sends HEP to *collector*; yields the hop's own port.

    ``before`` is a command that runs it, in another namespace for instance.
    """
    port = free_udp_port()
    config = _COMMON.format(port=port, modules=module_folder()) + _TRACE.format(
        version=version, capture_id=capture_id, collector=collector, next_hop=next_hop
    )
    with _daemon(folder, config, port, before=before):
        yield port
