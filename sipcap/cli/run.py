"""``sipcap run``: the service."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from sipcap.cli.listen import receive_options
from sipcap.cli.options import age_option, common_options, drain_option, extract_options
from sipcap.cli.packets import check_mode_options, ipip_options_of, mirror_options_of
from sipcap.cli.store import sink_options
from sipcap.config.keys import HEP, IPIP, MIRROR
from sipcap.config.reading import read_settings
from sipcap.config.settings import Override
from sipcap.heap import give_large_blocks_back
from sipcap.limits import HEP_PORT
from sipcap.routing import split_patterns
from sipcap.schemas import HOMER7
from sipcap.service.plan import Plan
from sipcap.service.supervisor import Supervisor
from sipcap.stopping import Stop

_LOGGER = logging.getLogger("sipcap")

# Options and the keys that they stand for, with what makes the key's value of the option's.
_KEYS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "capture_node": ("capture_node", lambda text: os.fsencode(text).decode(errors="replace")),
    "callid_aleg_header": (
        "callid_aleg_header", lambda text: tuple(name.strip() for name in text.split(";") if name.strip())
    ),
    "capture_bad_msgs": ("capture_bad_msgs", bool),
    "topoh_unmask": ("topoh_unmask", bool),
    "topoh_key": ("topoh_key", str),
    "topoh_prefix": ("topoh_prefix", lambda text: os.fsencode(text).decode(errors="replace")),
    "hook": ("event_callback", str),
    "hook_timeout": ("hook_timeout", float),
    "nonsip_hook": ("nonsip_hook", bool),
    "max_age": ("max_age", float),
    "db_url": ("db_url", str),
    "tables": ("table_name", lambda texts: "|".join(split_patterns(texts))),
    "mt_mode": ("mt_mode", str),
    "hash_source": ("hash_source", str),
    "schema": ("schema", str),
    "batch_size": ("batch_size", int),
    "batch_interval": ("batch_interval", float),
    "dead_letter": ("dead_letter", Path),
    "spool": ("spool", lambda path: False if str(path) == "off" else path),
    "spool_max": ("spool_max", int),
    "drain_timeout": ("drain_timeout", float),
    "user": ("user", str),
}  # fmt: skip
_LISTENING: Final[Mapping[str, str]] = {
    "mode": "mode", "endpoints": "listen", "auth_key": "auth_key", "allow": "allow", "tls_cert": "tls_cert",
    "tls_key": "tls_key", "tls_client_ca": "tls_client_ca", "rcvbuf": "rcvbuf", "children": "children",
    "iface": "iface", "promisc": "promisc", "bpf": "bpf", "direction": "direction",
}  # fmt: skip

_CUSTOM_FIELDS: Final = 3

_EPILOG = """\b
EXAMPLES
    $ sipcap run
    $ sipcap run --listen udp:0.0.0.0:9060 --db-url sqlite:////var/lib/sip.db
    $ sipcap run --config /etc/sipcap/modes.ini

\b
PROCESSES
    Each listener has as many capturing processes as it has children; each database has one that stores, so that
    none waits for another. What ends unasked is started again, and what it had in hand is counted as
    dropped{worker_killed}. Where several databases are written, one more process gives each record to its own.

\b
SIGNALS
    SIGTERM, SIGINT  take in what has arrived, store it within --drain-timeout, and end; a second one leaves at once
    SIGHUP           with --config: read the file again; sockets that stay the same stay open, what is switched off
                     stays off, and a file that cannot be used changes nothing. Without --config: as SIGTERM
    SIGUSR1          print the counters

\b
COUNTERS
    SIGUSR1, the end and sipcap status --json tell the same counters, of messages, and they add up: received +
    recovered = stored + reported + filtered + rejected + dead_letter + dropped + spooled + pending. recovered came out
    of the spool of an earlier run. spooled waits in the spool now; it goes in by itself when the database takes it,
    after the next start too, so that an end with records there is exit code 0. pending is on its way between two
    processes, 0 at the end. Lines for people leave out what is 0.

\b
SYSTEMD
    It tells of its state (Type=notify or notify-reload), feeds the watchdog (WatchdogSec=), takes over the sockets of a
    .socket unit that its listeners name, and keeps its spool in StateDirectory=. sipcap.service and sipcap.socket are
    installed in lib/systemd/system.

\b
FILES
    /etc/sipcap/modes.ini      the configuration that the systemd unit names; see modes.ini(5)
    sipcap.db                  the database in the working directory, where none is named
    /run/sipcap/sipcap.sock, $XDG_RUNTIME_DIR/sipcap.sock
                               the control socket, where none is named and the folder is there
    $STATE_DIRECTORY, $XDG_STATE_HOME/sipcap, ~/.local/state/sipcap
                               the spool, where none is named; the first that is set
    /var/lib/sipcap            the spool in place of ~/.local/state/sipcap, where root starts with --user; it is made
                               for that user"""


@click.command("run", epilog=_EPILOG)
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="modes.ini: listeners, capture modes, routes and all else; options win over it.",
)  # fmt: skip
@receive_options
@extract_options
@age_option
@sink_options
@click.option("--user", metavar="NAME[:GROUP]", help="Open the sockets as root, then be this user.")
@drain_option
@common_options
def command(**options: Any) -> int:
    """Receive HEP, or capture packets, and store the messages, unattended.

    Without options it hears udp:127.0.0.1:9060 and tcp:127.0.0.1:9060 and stores into sipcap.db in the working
    directory. It does what sipcap listen | sipcap store does, until it is stopped; records wait in the spool while
    the database takes none: --spool, by default $STATE_DIRECTORY or $XDG_STATE_HOME/sipcap; off for none. With
    --user, the default under the home of root would be of no use: it is /var/lib/sipcap then.
    """
    give_large_blocks_back()
    stop = Stop()
    stop.install()
    context = click.get_current_context()
    load = partial(_load, options, _overrides(context, options), _listening(context, options))
    supervisor = Supervisor(load, stop)
    supervisor.install(reloads=options["config"] is not None)
    if options["config"] is None and options["mode"] == HEP and not options["endpoints"]:
        _LOGGER.info("hearing this machine only; the network with --listen udp:0.0.0.0:%d", HEP_PORT)
    supervisor.run()
    return 0


def _load(options: Mapping[str, Any], overrides: Mapping[str, Override], listening: Mapping[str, Override]) -> Plan:
    """Read the configuration, with what the options say in its place."""
    patterns = split_patterns([options["report_table"]]) if options["report_table"] else ()
    settings = read_settings(options["config"], overrides, listening)
    return Plan(settings, patterns[0] if patterns else None, options["create"])


def _overrides(context: click.Context, options: Mapping[str, Any]) -> dict[str, Override]:
    found: dict[str, Override] = {}
    for name, (key, convert) in _KEYS.items():
        if (origin := _origin(context, name)) is not None:
            found[key] = Override(convert(options[name]), origin)
    if (origin := _origin(context, "custom_headers")) is not None:
        headers: tuple[str, ...] = options["custom_headers"]
        if len(headers) > _CUSTOM_FIELDS:
            raise click.BadParameter("three at most", param_hint="--custom-header")
        for number, header in enumerate(headers, start=1):
            found[f"custom_field{number}_header"] = Override(header, origin)
    patterns = split_patterns([options["report_table"]]) if options["report_table"] else ()
    if len(patterns) > 1:
        raise click.BadParameter("one pattern only", param_hint="--report-table")
    if options["schema"] == HOMER7 and (options["tables"] or options["report_table"]):
        raise click.UsageError(
            f"--table and --report-table do not go with --schema {HOMER7}: its readers know its tables"
        )
    return found


def _listening(context: click.Context, options: Mapping[str, Any]) -> dict[str, Override]:
    found = {
        key: Override(options[name], origin)
        for name, key in _LISTENING.items()
        if (origin := _origin(context, name)) is not None
    }
    if options["config"] is not None:
        return found
    check_mode_options(context)
    if options["mode"] == MIRROR:
        mirror_options_of(options)
    elif options["mode"] == IPIP:
        ipip_options_of(options)
    elif all(endpoint.protocol != "tls" for endpoint in options["endpoints"]):
        for name in ("tls_cert", "tls_key", "tls_client_ca"):
            if options[name] is not None:
                _LOGGER.warning("--%s has no effect without --listen tls:HOST:PORT", name.replace("_", "-"))
    return found


def _origin(context: click.Context, name: str) -> str | None:
    """The option or the variable that gives a value; None if nobody does."""
    source = context.get_parameter_source(name)
    if source not in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT):
        return None
    option = next(each for each in context.command.params if each.name == name)
    if source is ParameterSource.ENVIRONMENT:
        names = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
        return next((each for each in names if os.environ.get(each)), "the environment")
    return max(option.opts, key=len)
