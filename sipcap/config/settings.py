"""Everything that a configuration says, typed, and where each value comes from (design 1.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from sipcap.config.ini import IniFile, Section
from sipcap.config.values import Key
from sipcap.endpoint import Endpoint
from sipcap.modes import CaptureMode
from sipcap.routes import Route
from sipcap.sources.addresses import Network

DEFAULT: Final = "default"
"""The origin of a value that nobody has set."""


class Entry(NamedTuple):
    """One effective value, for people."""

    section: str
    key: str
    value: str
    """As it would stand in a file; a secret is hidden."""
    origin: str
    """``modes.ini:12``, the option or the variable that says so, or ``default``."""


class Override(NamedTuple):
    """A value that wins over the file's: of an option or a variable."""

    value: Any
    origin: str


def read_value(ini: IniFile, section: Section, key: str, meaning: Key) -> Override:
    """Read one value of a file; raises CannotStart with its place."""
    value = section.values[key]
    try:
        return Override(meaning.read(value.text), f"{ini.path}:{value.line}")
    except ValueError as error:
        raise ini.error(value.line, f"[{section.name}] {key} {error}") from None


@dataclass(frozen=True)
class Listener:
    """``[listen:NAME]``, or what a ``…_capture_on`` adds.

    ``endpoints`` of mode ``ipip`` and ``mirror`` filter; ports 0 to 0 there are any. ``bpf`` is ``auto``, a pcap
    filter, or "" for none. ``origin`` says where it is defined.
    """

    name: str
    mode: str
    endpoints: tuple[Endpoint, ...]
    iface: str = ""
    promisc: bool = False
    bpf: str = ""
    direction: str = "both"
    children: int = 1
    rcvbuf: int = 0
    auth_key: str | None = field(default=None, repr=False)
    allow: tuple[Network, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    origin: str = field(default=DEFAULT, compare=False)


@dataclass(frozen=True)
class Settings:
    """A whole configuration. The fields have the names of the keys of ``[sipcap]``.

    Args:
        path: of the file; "" if there is none.
        modes: all capture modes by name; ``default`` comes first.
        listeners: at least one.
        columns: the database's name of each column that has another one there.
        spool: None = the usual place, False = none.
        entries: every effective value with its origin.
        origins: where the keys of ``[sipcap]`` come from.
    """

    path: str
    modes: Mapping[str, CaptureMode]
    listeners: tuple[Listener, ...]
    routes: tuple[Route, ...]
    columns: Mapping[str, str]
    entries: tuple[Entry, ...] = field(compare=False, repr=False)
    origins: Mapping[str, str] = field(compare=False, repr=False)

    capture_on: bool
    capture_node: str
    nonsip_hook: bool
    event_callback: str
    db_insert_mode: int
    insert_retries: int
    insert_retry_timeout: int
    callid_aleg_header: tuple[str, ...]
    custom_field1_header: str
    custom_field2_header: str
    custom_field3_header: str
    capture_bad_msgs: bool
    topoh_unmask: bool

    schema: str
    batch_size: int
    batch_interval: float
    spool: Path | bool | None
    spool_max: int
    dead_letter: Path | None
    dead_letter_max: int
    hook_timeout: float
    topoh_key: str | None = field(repr=False)
    topoh_prefix: str
    user: str | None
    control_socket: Path | None
    control_group: str | None
    binrpc_socket: Path | None
    rpc_fifo: Path | None
    metrics_listen: str | None
    drain_timeout: float
    max_age: float | None

    def is_set(self, key: str) -> bool:
        """Whether somebody has set a key of ``[sipcap]``."""
        return self.origins[key] != DEFAULT
