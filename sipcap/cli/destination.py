"""Where records go: database, tables and schema, by options, variables and capture modes (design 1.4 and 1.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sipcap.cli.options import SecretType, options_bundle
from sipcap.config.capture_modes import ModesFile, read_modes
from sipcap.errors import CannotStart
from sipcap.modes import DEFAULT_MODE, BadMode, CaptureMode, parse_mode
from sipcap.routes import Route, Routes
from sipcap.routing import HASH_SOURCES, MT_MODES, Router, split_patterns
from sipcap.schemas import DEFAULT_TABLE, HOMER7, SCHEMAS, SIPCAPTURE
from sipcap.sinks.base import Sink
from sipcap.sinks.budget import Budget
from sipcap.sinks.identity import identity_of
from sipcap.sinks.registry import open_sink
from sipcap.sinks.url import DEFAULT_URL
from sipcap.spool import Spool, SpoolPlace
from sipcap.wire.message import SIP_PAYLOAD


class ModeType(click.ParamType[CaptureMode | str]):
    """The name of a capture mode, or a whole one in the module's notation, which may stand in ``@FILE``."""

    name = "mode"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> CaptureMode | str:
        """Read it, or say where it is wrong."""
        text = SecretType().convert(value, param, ctx)
        if "=" not in text:
            return text
        try:
            return parse_mode(text)
        except BadMode as error:
            self.fail(str(error), param, ctx)


# These have no default of Click's: whether one of them was given decides if it wins over a capture mode.
db_url_option = click.option(
    "--db-url", type=SecretType(), metavar="URL|@FILE", envvar=["SIPCAP_STORE_DB_URL", "SIPCAP_DB_URL"],
    help=f"The database.  [default: {DEFAULT_URL}]",
)  # fmt: skip
schema_option = click.option(
    "--schema", type=click.Choice(SCHEMAS),
    help="Columns and tables: the module's; the same in HOMER 5's tables by method and day; or HOMER 7's.  "
         f"[default: {SIPCAPTURE}]",
)  # fmt: skip
create_option = click.option(
    "--create/--no-create", default=True, show_default=True, help="Create tables that are missing."
)
destination_options = options_bundle(
    db_url_option,
    click.option(
        "--table", "tables", multiple=True, metavar="PATTERN[|PATTERN]",
        help="Tables for SIP, strftime in UTC of the message's time; repeatable.  "
             f"[default: {DEFAULT_TABLE}, or what --schema has]",
    ),
    click.option(
        "--report-table", metavar="PATTERN",
        help="Table for reports.  [default: rtcp_capture, logs_capture or report_capture by HEP type, or what "
             "--schema has]",
    ),
    click.option(
        "--mt-mode", type=click.Choice(MT_MODES), help="How one of several tables is chosen.  [default: rand]",
    ),
    click.option(
        "--hash-source", type=click.Choice(HASH_SOURCES, case_sensitive=False),
        help="What --mt-mode hash looks at.  [default: call_id]",
    ),
    schema_option,
    create_option,
)  # fmt: skip
"""Where records are stored; read by ``destination_of``."""

mode_options = options_bundle(
    click.option(
        "--config", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help="Takes database and tables from a capture mode of this file, where no option says otherwise.",
    ),
    click.option(
        "--capture-mode", type=ModeType(), metavar="NAME|DEFINITION|@FILE",
        help=f"A mode of --config, or a whole one: NAME=>db_url=URL;table_name=A|B.  [default: {DEFAULT_MODE}]",
    ),
)  # fmt: skip
"""Capture modes; read by ``destination_of``."""


@dataclass(frozen=True)
class Destination:
    """Where records go.

    Args:
        mode: with what the options say in place of its own values.
        schema: one of ``schemas.SCHEMAS``.
        report_pattern: one table for all reports; None = by HEP type.
        create: whether missing tables are created.
        source: of the mode's database URL, for messages.
        others: modes that records may name; None = what they name does not count.
        budget: of new tables; None = any number.
        is_delayed: insert mode ``delayed``; see ``open_sink``.
        columns: the names that columns have in the tables, by the module's; see ``open_sink``.
        routes: which records go to another mode or table; None = none does.
        routed: tables for SIP in the mode's database that only routes of the configuration name.
    """

    mode: CaptureMode
    schema: str = SIPCAPTURE
    report_pattern: str | None = None
    create: bool = True
    source: str = "--db-url"
    others: Mapping[str, CaptureMode] | None = field(default=None)
    budget: Budget | None = None
    is_delayed: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    routes: Routes | None = None
    routed: tuple[str, ...] = ()

    def router(self) -> Router:
        """Choose tables as the mode does."""
        mode = self.mode
        return Router(mode.tables, self.report_pattern, mode.mt_mode, mode.hash_source, self.schema)

    def connect(self) -> Sink:
        """Open the mode's database; raises CannotStart."""
        try:
            return open_sink(
                self.mode.db_url,
                create=self.create,
                schema=self.schema,
                budget=self.budget,
                is_delayed=self.is_delayed,
                columns=self.columns,
            )
        except CannotStart as error:
            raise type(error)(str(error).replace("--db-url", self.source)) from None

    def place(self, spool: Spool) -> SpoolPlace:
        """Where the mode's records wait while its database is away; raises CannotStart."""
        return spool.place(self.mode.name, f"{self.schema} {identity_of(self.mode.db_url)}")

    def other(self, name: str) -> Destination:
        """Where the records go that name another mode."""
        assert self.others is not None, "asked for one of them"
        mode = self.others[name]
        if self.schema == HOMER7:
            mode = replace(mode, tables=())
        return replace(self, mode=mode, source=_source(mode), others=None, routes=None)


def destination_of(options: dict[str, Any]) -> Destination:
    """Make the Destination that ``destination_options`` and, if the command has them, ``mode_options`` describe.

    Raises:
        click.UsageError: options that exclude each other.
        CannotStart: the configuration is wrong, or has no such mode.
    """
    file = read_modes(options["config"]) if options.get("config") else None
    mode = _mode(options.get("capture_mode"), file)
    schema = _given(options, "schema") or (file.schema if file else None) or SIPCAPTURE
    tables, reports = _given(options, "tables"), _given(options, "report_table")
    if schema == HOMER7:
        _check_fixed(mode, tables or reports)
    url = _given(options, "db_url")
    patterns = split_patterns([reports]) if reports else ()
    if len(patterns) > 1:
        raise click.BadParameter("one pattern only", param_hint="--report-table")
    chosen = replace(
        mode,
        db_url=url or mode.db_url,
        tables=split_patterns(tables) if tables else mode.tables,
        mt_mode=_given(options, "mt_mode") or mode.mt_mode,
        hash_source=_given(options, "hash_source") or mode.hash_source,
    )
    names_count = file is not None and not url and options["capture_mode"] is None
    return Destination(
        chosen,
        schema,
        patterns[0] if patterns else None,
        options["create"],
        "--db-url" if url or not (file or options.get("capture_mode")) else _source(mode),
        file.modes if file and names_count else None,
        is_delayed=options.get("insert_mode") == "delayed",
        columns=file.columns if file else {},
        routes=Routes(file.routes) if file and names_count and not tables else None,
        routed=_routed(file.routes, mode) if file and schema != HOMER7 else (),
    )


def _routed(routes: Sequence[Route], mode: CaptureMode) -> tuple[str, ...]:
    own = (route for route in routes if (route.capture_mode or DEFAULT_MODE) == mode.name)
    return tuple(route.table for route in own if route.table and route.hep_types <= {SIP_PAYLOAD})


def database_of(options: dict[str, Any]) -> Destination:
    """The database that ``--db-url``, ``--config`` and ``--capture-mode`` name, and what the mode says of its tables.

    Raises:
        CannotStart: the configuration is wrong, or has no such mode.
    """
    nothing: dict[str, Any] = {"tables": (), "schema": None, "report_table": None, "mt_mode": None, "hash_source": None}
    return destination_of({**options, **nothing, "create": True})


def _given(options: dict[str, Any], name: str) -> Any:
    """The value of an option, None if it was not given.

    A capture mode that is named on the command line is nearer than what a variable says.
    """
    context = click.get_current_context()
    is_variable = context.get_parameter_source(name) is ParameterSource.ENVIRONMENT
    if is_variable and context.get_parameter_source("capture_mode") is ParameterSource.COMMANDLINE:
        return None
    return options[name]


def _mode(chosen: CaptureMode | str | None, file: ModesFile | None) -> CaptureMode:
    if isinstance(chosen, CaptureMode):
        return chosen
    if file is not None:
        return file.mode(chosen or DEFAULT_MODE)
    if chosen:
        raise click.UsageError("--capture-mode NAME needs --config FILE, or a whole definition: NAME=>db_url=URL;...")
    return CaptureMode()


def _check_fixed(mode: CaptureMode, tables: object) -> None:
    if tables:
        raise click.UsageError(
            f"--table and --report-table do not go with --schema {HOMER7}: its readers know its tables"
        )
    if mode.tables:
        raise CannotStart(
            f"capture mode {mode.name}: table_name does not go with schema {HOMER7}, whose tables are fixed"
        )


def _source(mode: CaptureMode) -> str:
    return f"capture mode {mode.name}: db_url"
