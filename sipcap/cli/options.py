"""Options that several commands share, each defined once."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from sipcap.cli.common import Env, common_options
from sipcap.cli.console import wants_color
from sipcap.endpoint import Endpoint, parse_endpoint
from sipcap.hooks import load_hook
from sipcap.limits import DRAIN_TIMEOUT_S, HOOK_TIMEOUT_S
from sipcap.ndjson import encode_records
from sipcap.pipeline import Encode, ExtractOptions
from sipcap.record import Record
from sipcap.sources.addresses import Network, parse_networks
from sipcap.wire.topoh import DEFAULT_KEY, DEFAULT_PREFIX, CallIdMask

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_LOGGER = logging.getLogger("sipcap")
_MAX_SECRET_BYTES: Final = 65_536
_LONGEST_S: Final = 100 * 365 * 86_400.0


class EndpointType(click.ParamType[Endpoint]):
    """``[udp:|tcp:|tls:]HOST:PORT[-PORT]``."""

    name = "endpoint"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Endpoint:
        """Read an endpoint, or say how one looks."""
        if isinstance(value, Endpoint):
            return value
        try:
            return parse_endpoint(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SecretType(click.ParamType[str]):
    """A secret: as it is, or ``@FILE`` for the first line of a file, so that ``ps`` does not show it.

    Bytes that are no UTF-8 are kept as surrogates, on the command line as in a file: ``os.fsencode``
    gives them back.
    """

    name = "secret"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read the secret, from its file if it is in one."""
        text = str(value)
        if not text.startswith("@"):
            return text
        try:
            with Path(text[1:]).open("rb") as file:
                return os.fsdecode(file.readline(_MAX_SECRET_BYTES).rstrip(b"\r\n"))
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL
            self.fail(f"cannot read {text[1:]}: {getattr(error, 'strerror', None) or error}", param, ctx)


class KeyType(SecretType):
    """A secret that is compared with what others send: an empty one would be no secret."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read the key, or say that there is none."""
        return super().convert(value, param, ctx) or self.fail("the key is empty", param, ctx)


class NetworkType(click.ParamType[Network]):
    """An address or a network in CIDR notation."""

    name = "cidr"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Network:
        """Read a network."""
        try:
            return parse_networks([value])[0]
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SecondsType(click.ParamType[float]):
    """A time span in seconds, 0 or more; what no clock can hold (``inf``) is a hundred years."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the number."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not seconds >= 0:  # nan is not
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return min(seconds, _LONGEST_S)


class TimeoutType(SecondsType):
    """A time span in seconds, above 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the number."""
        return super().convert(value, param, ctx) or self.fail(f"{value!r} is no time", param, ctx)


def options_bundle(*options: Decorator) -> Decorator:
    """Several options as one decorator, in the order in which they stand in the help."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


extract_options = options_bundle(
    click.option(
        "--capture-node", default="homer01", show_default=True, metavar="NAME", help="First half of the column node."
    ),
    click.option(
        "--callid-aleg-header", default="X-CID", show_default=True, metavar="NAME[;NAME]",
        help="Headers whose first present one gives callid_aleg.",
    ),
    click.option(
        "--custom-header", "custom_headers", multiple=True, metavar="NAME",
        help="Headers for custom_field1, 2 and 3, up to three times.  [default: Mac, IP, Port]",
    ),
    click.option(
        "--no-capture-bad-msgs", "capture_bad_msgs", is_flag=True, callback=lambda _ctx, _param, value: not value,
        help="Reject SIP that lacks Via, From, To, Call-ID or CSeq instead of storing what can be read.",
    ),
    click.option(
        "--topoh-unmask", is_flag=True, help="Take the mask of Kamailio's topoh off Call-IDs; msg keeps what was sent."
    ),
    click.option(
        "--topoh-key", type=KeyType(), metavar="KEY|@FILE", help="mask_key of topoh.  [default: topoh's own]"
    ),
    click.option(
        "--topoh-prefix", metavar="TEXT", help=f"callid_prefix of topoh.  [default: {DEFAULT_PREFIX}]"
    ),
    click.option(
        "--hook", metavar="MODULE:CALLABLE|FILE.py:CALLABLE",
        help="Ask this Python callable about each SIP message: 1 or None go on, 0 drops it, a Route says where to.",
    ),
    click.option(
        "--hook-timeout", type=TimeoutType(), default=HOOK_TIMEOUT_S, show_default=True, metavar="SECONDS",
        help="How long the hook may take for one message, which is dropped if it takes longer.",
    ),
    click.option("--nonsip-hook", is_flag=True, help="Ask the hook about HEP that is not SIP, too."),
)  # fmt: skip
"""How messages become records; read by ``extract_options_of``."""

age_option = click.option(
    "--max-age", type=TimeoutType(), metavar="SECONDS",
    help="Give what is older when it arrives the time of its arrival; original_ts_us keeps its own.  [default: off]",
)  # fmt: skip
"""For live input; read by ``extract_options_of``."""

format_option = click.option(
    "--format", "output_format", type=click.Choice(["auto", "json", "line"]), default="auto", show_default=True,
    help="auto: NDJSON into a pipe or file, one line a message on a terminal.",
)  # fmt: skip
drain_option = click.option(
    "--drain-timeout", type=SecondsType(), default=DRAIN_TIMEOUT_S, show_default=True, metavar="SECONDS",
    help="How long to go on, once stopped, with what has been taken in.",
)  # fmt: skip


def extract_options_of(options: Mapping[str, Any]) -> ExtractOptions:
    """Make the ExtractOptions that ``extract_options``, and ``age_option`` if the command has it, describe.

    Raises:
        click.BadParameter: more than three custom headers.
        CannotStart: the hook cannot be loaded.
    """
    defaults = ExtractOptions().custom_headers
    custom_headers: tuple[str, ...] = options["custom_headers"]
    if len(custom_headers) > len(defaults):
        raise click.BadParameter("three at most", param_hint="--custom-header")
    return ExtractOptions(
        os.fsencode(options["capture_node"]).decode(errors="replace"),  # a command line may be no text, a column is
        tuple(name.strip() for name in options["callid_aleg_header"].split(";") if name.strip()),
        (*custom_headers, *defaults[len(custom_headers) :]),
        options["capture_bad_msgs"],
        None if options["hook"] is None else load_hook(options["hook"]),
        options["hook_timeout"],
        options["nonsip_hook"],
        _topoh_of(options),
        options.get("max_age"),
    )


def _topoh_of(options: Mapping[str, Any]) -> CallIdMask | None:
    key: str | None = options["topoh_key"]
    prefix: str | None = options["topoh_prefix"]
    if not options["topoh_unmask"]:
        for name in ("topoh_key", "topoh_prefix"):
            if options[name] is not None:
                _LOGGER.warning("--%s has no effect without --topoh-unmask", name.replace("_", "-"))
        return None
    return CallIdMask(
        DEFAULT_KEY if key is None else os.fsencode(key),
        DEFAULT_PREFIX if prefix is None else os.fsencode(prefix).decode(errors="replace"),
    )


def encoder_for(output_format: str) -> Encode:
    """Choose how records are written to stdout."""
    if output_format == "json" or (output_format == "auto" and not sys.stdout.isatty()):
        return encode_records
    color = wants_color(Env.current().color, sys.stdout)

    def encode(records: Sequence[Record]) -> bytes:
        from sipcap.cli.lines import format_line  # noqa: PLC0415  # only terminals need it

        return "".join(f"{format_line(record, color)}\n" for record in records).encode()

    return encode


__all__ = [
    "EndpointType", "KeyType", "NetworkType", "SecondsType", "SecretType", "TimeoutType", "age_option",
    "common_options", "drain_option", "encoder_for", "extract_options", "extract_options_of", "format_option",
    "options_bundle",
]  # fmt: skip
