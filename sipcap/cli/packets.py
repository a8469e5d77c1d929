"""Options of the capture modes that look at packets, and which option has an effect in which mode."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import click
from click.core import ParameterSource

from sipcap.endpoint import Endpoint
from sipcap.sources.interfaces import ANY, AUTO
from sipcap.sources.ipip import IpipOptions
from sipcap.sources.mirror import MirrorOptions

_LOGGER = logging.getLogger("sipcap")

packet_options = (
    click.option("--iface", metavar="NAME", help="Interface to capture on, with mirror and ipip.  [default: any]"),
    click.option("--promisc", is_flag=True, help="With mirror: take packets that are sent to others, too."),
    click.option(
        "--bpf", is_flag=False, flag_value=AUTO, metavar="[EXPR]",
        help="With mirror: a filter that runs in the kernel, as tcpdump has them. Without EXPR it follows from the "
        "ports of --listen, and lets their fragments, VLANs and tunnels through.",
    ),
    click.option(
        "--direction", type=click.Choice(["in", "out", "both"]), default="both", show_default=True,
        help="With mirror: what the interface receives, sends, or both.",
    ),
)  # fmt: skip
"""In the order of the help; read by ``mirror_options_of`` and ``ipip_options_of``."""

_ONLY_IN: Final = {
    "iface": ("ipip", "mirror"), "promisc": ("mirror",), "bpf": ("mirror",), "direction": ("mirror",),
    "auth_key": ("hep",), "allow": ("hep",), "tls_cert": ("hep",), "tls_key": ("hep",), "tls_client_ca": ("hep",),
}  # fmt: skip
"""Options that have an effect in some modes only."""


def check_mode_options(context: click.Context) -> None:
    """Refuse options that were given, on the command line or by a variable, and have no effect in this mode.

    Raises:
        click.UsageError: names the option and the mode.
    """
    mode: str = context.params["mode"]
    for name, modes in _ONLY_IN.items():
        given = context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
        if given and mode not in modes:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} has no effect in mode {mode}, only in {' and '.join(modes)}")


def mirror_options_of(options: Mapping[str, Any]) -> MirrorOptions:
    """Make the MirrorOptions that the options describe.

    Raises:
        click.UsageError: two options that do not go together.
    """
    endpoints: tuple[Endpoint, ...] = options["endpoints"]
    ports = _ports(endpoints)
    iface: str = options["iface"] or ANY
    if options["promisc"] and iface == ANY:
        raise click.UsageError("--promisc needs --iface: it is for one interface")
    if options["bpf"] == AUTO and not ports:
        raise click.UsageError("--bpf without a filter follows from the ports of --listen, of which there are none")
    for endpoint in endpoints:
        if endpoint.host not in ("*", "0.0.0.0", "::"):  # noqa: S104  # compared, not bound
            _LOGGER.warning("mode mirror takes SIP of all addresses: %s has no effect, only the port", endpoint.host)
    return MirrorOptions(
        iface, ports, options["bpf"], options["promisc"], options["direction"], options["children"], options["rcvbuf"],
        drain_s=options["drain_timeout"] / 2,  # the other half is for the reader of our output
    )  # fmt: skip


def ipip_options_of(options: Mapping[str, Any]) -> IpipOptions:
    """Make the IpipOptions that the options describe; raises as ``mirror_options_of``."""
    endpoints: tuple[Endpoint, ...] = options["endpoints"]
    iface: str | None = options["iface"]
    return IpipOptions(
        [endpoint.host for endpoint in endpoints],
        _ports(endpoints),
        None if iface == ANY else iface,
        options["children"],
        options["rcvbuf"],
        drain_s=options["drain_timeout"] / 2,
    )


def _ports(endpoints: tuple[Endpoint, ...]) -> list[range]:
    """The ports that SIP has; none if one endpoint leaves them open with port 0."""
    for endpoint in endpoints:
        if endpoint.protocol != "udp":  # which is also what stands there if nothing does
            raise click.UsageError(f"--listen {endpoint}: write HOST:PORT; the ports are those of every protocol")
    if any(endpoint.last_port == 0 for endpoint in endpoints):
        return []
    return [range(endpoint.port, endpoint.last_port + 1) for endpoint in endpoints]
