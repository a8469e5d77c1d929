"""What a service does, made of its settings: how records are made, and where each capture mode stores them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from sipcap.batching import INSERT_MODES, BatchOptions, batches_ahead
from sipcap.config.settings import DEFAULT, Settings
from sipcap.errors import CannotStart, all_of
from sipcap.hooks import Hook, load_hook
from sipcap.modes import DEFAULT_MODE, CaptureMode
from sipcap.pipeline import ExtractOptions
from sipcap.routes import Routes
from sipcap.routing import Router
from sipcap.schemas import HOMER7
from sipcap.sinks.base import Sink
from sipcap.sinks.budget import Budget
from sipcap.sinks.identity import identity_of
from sipcap.sinks.registry import open_sink
from sipcap.spool import Spool, SpoolPlace, place_key
from sipcap.wire.topoh import DEFAULT_KEY, DEFAULT_PREFIX, CallIdMask

OFF: Final = "capture_on is 0: nothing is stored until it is switched on"
"""As in the module, a configuration that does not say otherwise starts switched off."""

SYSTEM_SPOOL: Final = "/var/lib/sipcap"
"""What systemd's StateDirectory=sipcap is, too."""

_SERVICE: Final = "sipcap"
_BEGAN_AS_ROOT: Final = os.geteuid() == 0  # when this was loaded: a reload asks when root's rights are long gone
_POSTGRESQL: Final = ("postgresql", "postgresql_homer7")
_DRIVERS: Final[Mapping[str, Sequence[str]]] = {
    "sqlite": ("sqlite", "homer7_tables"), "postgresql": _POSTGRESQL, "postgres": _POSTGRESQL,
    "mysql": ("mysql", "mysql_connect"), "unixodbc": ("odbc", "odbc_connect"), "odbc": ("odbc", "odbc_connect"),
    "ndjson": ("ndjson",), "text": ("text",), "dbtext": ("text",),
}  # fmt: skip
"""Modules of ``sipcap.sinks`` by the scheme of a URL."""


@dataclass(frozen=True)
class Plan:
    """Settings, and what only options can say.

    Args:
        settings: what holds.
        report_pattern: one table for all reports; None = by HEP type.
        create: whether missing tables are created.
    """

    settings: Settings
    report_pattern: str | None = None
    create: bool = True

    def check(self) -> None:
        """Raise CannotStart for what can be seen to be impossible before anything is opened."""
        settings = self.settings
        found: list[str] = []
        if settings.schema == HOMER7 and settings.modes[DEFAULT_MODE].tables:
            found.append(
                f"{self._origin('table_name')}table_name does not go with schema {HOMER7}, whose tables are fixed"
            )
        if settings.schema == HOMER7 and self.report_pattern:
            found.append(f"--report-table does not go with schema {HOMER7}, whose tables are fixed")
        for mode in settings.modes.values():
            try:
                identity_of(mode.db_url)
            except CannotStart as error:
                found.append(str(error).replace("--db-url", self.source(mode)))
        if found:
            raise all_of(found, settings.path)

    def _origin(self, key: str) -> str:
        """The place of a key of ``[sipcap]``, for the beginning of a message; "" if it is not in the file."""
        origin = self.settings.origins[key]
        return f"{origin}: " if self.settings.path and origin.startswith(f"{self.settings.path}:") else ""

    def groups(self) -> list[tuple[CaptureMode, ...]]:
        """Capture modes by database: each has one process that stores, so that none waits for another."""
        found: dict[str, list[CaptureMode]] = {}
        for mode in self.settings.modes.values():
            found.setdefault(identity_of(mode.db_url), []).append(mode)
        return [tuple(modes) for modes in found.values()]

    def is_idle(self, mode: CaptureMode) -> bool:
        """Whether nobody has asked for this mode: the default database beside modes that are defined."""
        is_default = mode.name == DEFAULT_MODE and self.settings.origins["db_url"] == DEFAULT
        return is_default and len(self.settings.modes) > 1

    def source(self, mode: CaptureMode) -> str:
        """Where the database of a mode comes from, for messages."""
        if mode.name != DEFAULT_MODE:
            wanted = (f"capture_mode:{mode.name}", "db_url")
            origin = next((each.origin for each in self.settings.entries if (each.section, each.key) == wanted), "")
            return f"{origin}: capture mode {mode.name}: db_url".removeprefix(": ")
        origin = self.settings.origins["db_url"]
        return origin if origin.startswith("--") else "--db-url" if origin == DEFAULT else f"{origin}: db_url"

    def router(self, mode: CaptureMode) -> Router:
        """Choose tables as a mode does."""
        tables = () if self.settings.schema == HOMER7 else mode.tables
        return Router(tables, self.report_pattern, mode.mt_mode, mode.hash_source, self.settings.schema)

    def connect(self, mode: CaptureMode, budget: Budget) -> Sink:
        """Open the database of a mode; raises CannotStart."""
        try:
            return open_sink(
                mode.db_url, create=self.create, schema=self.settings.schema, budget=budget,
                is_delayed=self._insert_mode == "delayed", columns=self.settings.columns,
            )  # fmt: skip
        except CannotStart as error:
            raise type(error)(str(error).replace("--db-url", self.source(mode))) from None

    def preload(self) -> None:
        """Load the drivers of all databases: once for all processes, and while everything can still be read."""
        for mode in self.settings.modes.values():
            for name in _DRIVERS.get(mode.db_url.partition("://")[0].strip().lower(), ()):
                with suppress(ImportError):  # whoever connects tells what is missing
                    import_module(f"sipcap.sinks.{name}")

    def place(self, spool: Spool, mode: CaptureMode) -> SpoolPlace:
        """Where the records of a mode wait while its database is away; raises CannotStart."""
        return spool.place(mode.name, self.destination(mode))

    def report_strangers(self, spool: Spool) -> None:
        """Say what waits in the spool for none of the modes."""
        for mode in self.settings.modes.values():
            spool.claim(mode.name, self.destination(mode))
        spool.report_strangers()

    def destination(self, mode: CaptureMode) -> str:
        """Which database the spool means for a mode."""
        return f"{self.settings.schema} {identity_of(mode.db_url)}"

    def spool_keys(self) -> dict[str, str]:
        """How the folders of the spool begin that are for this plan, each with its capture mode."""
        return {place_key(mode.name, self.destination(mode)): mode.name for mode in self.settings.modes.values()}

    def batches(self) -> BatchOptions:
        """When a batch is written and how often it is tried.

        Without a spool, and if nobody says otherwise, it is tried until the service is stopped.
        """
        settings = self.settings
        retries: int | None = settings.insert_retries
        if self.spool_path() is None and not settings.is_set("insert_retries"):
            retries = None
        return BatchOptions(
            settings.batch_size, settings.batch_interval, retries, settings.insert_retry_timeout,
            batches_ahead(self._insert_mode),
        )  # fmt: skip

    @property
    def _insert_mode(self) -> str:
        return INSERT_MODES[self.settings.db_insert_mode]

    def spool_path(self) -> Path | None:
        """Where records wait while a database is away; None = nowhere."""
        if self.settings.spool is False:
            return None
        if isinstance(self.settings.spool, Path):
            return self.settings.spool
        return default_spool(os.environ, is_handed_over=_BEGAN_AS_ROOT and self.settings.user is not None)

    def extraction(self) -> ExtractOptions:
        """How messages become records; raises CannotStart if the hook cannot be loaded."""
        settings = self.settings
        return ExtractOptions(
            settings.capture_node,
            settings.callid_aleg_header,
            (settings.custom_field1_header, settings.custom_field2_header, settings.custom_field3_header),
            settings.capture_bad_msgs,
            self._hook(),
            settings.hook_timeout,
            settings.nonsip_hook,
            self._topoh(),
            settings.max_age,
            self.routes(),
        )

    def _hook(self) -> Hook | None:
        if not self.settings.event_callback:
            return None
        try:
            return load_hook(self.settings.event_callback)
        except CannotStart as error:
            place = self._origin("event_callback")
            raise type(error)(f"{place}event_callback: {error}" if place else str(error)) from None

    def _topoh(self) -> CallIdMask | None:
        settings = self.settings
        if not settings.topoh_unmask:
            return None
        key = DEFAULT_KEY if settings.topoh_key is None else os.fsencode(settings.topoh_key)
        return CallIdMask(key, settings.topoh_prefix or DEFAULT_PREFIX)

    def routes(self) -> Routes | None:
        """Where records go that name neither mode nor table themselves."""
        return Routes(self.settings.routes) if self.settings.routes else None

    @property
    def has_files(self) -> bool:
        """Whether something is read from files whose contents may change under the same name: hooks, certificates."""
        return bool(self.settings.event_callback) or any(each.tls_cert for each in self.settings.listeners)


def default_spool(environment: Mapping[str, str], *, is_handed_over: bool = False) -> Path:
    """The usual place of the spool (design 1.7).

    Args:
        environment: variables.
        is_handed_over: whether root starts, and another user goes on, who cannot reach the home of root.
    """
    if state := environment.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(state)
    if is_handed_over and not environment.get("XDG_STATE_HOME"):
        return Path(SYSTEM_SPOOL)
    home = environment.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111  # may stay "~"
    return Path(home, _SERVICE)
