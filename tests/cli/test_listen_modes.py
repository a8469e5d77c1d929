"""Which options go with which capture mode: what would have no effect is refused or said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click
import pytest

from sipcap.cli.listen import source_of
from sipcap.cli.main import cli
from sipcap.sources.hep import HepSource
from sipcap.sources.ipip import IpipSource
from sipcap.sources.mirror import MirrorSource
from tests.conftest import RunSipcap

MIRROR, IPIP = ("--mode", "mirror"), ("--mode", "ipip")


def _parsed(*args: str, command: str = "listen") -> click.Context:
    """The context of a command line that is not run."""
    found = cli.get_command(click.Context(cli), command)
    assert isinstance(found, click.Command)
    return found.make_context(command, list(args))


def _source(*args: str, command: str = "listen") -> Any:
    with _parsed(*args, command=command) as context:
        return source_of(context.params)


@pytest.mark.parametrize("command", ["listen", "run"])
@pytest.mark.parametrize(("args", "kind"), [((), HepSource), (MIRROR, MirrorSource), (IPIP, IpipSource)])
def test_mode_chooses_the_source(command: str, args: tuple[str, ...], kind: type[Any]) -> None:
    """Each mode has its source, in the service as well."""
    assert isinstance(_source(*args, command=command), kind)


@pytest.mark.parametrize(
    ("args", "option", "modes"),
    [
        (("--promisc",), "--promisc", "mirror"),
        (("--bpf", "udp"), "--bpf", "mirror"),
        (("--bpf",), "--bpf", "mirror"),
        (("--iface", "lo"), "--iface", "ipip and mirror"),
        (("--direction", "both"), "--direction", "mirror"),
        ((*IPIP, "--promisc"), "--promisc", "mirror"),
        ((*IPIP, "--bpf", "udp"), "--bpf", "mirror"),
        ((*IPIP, "--allow", "10.0.0.0/8"), "--allow", "hep"),
        ((*MIRROR, "--auth-key", "x"), "--auth-key", "hep"),
        ((*MIRROR, "--tls-cert", "/dev/null"), "--tls-cert", "hep"),
    ],
)
def test_option_without_effect_is_a_usage_error(
    sipcap: RunSipcap, args: tuple[str, ...], option: str, modes: str
) -> None:
    """It names the option and the modes in which it has one."""
    if "/dev/null" in args:
        args = tuple("/etc/hostname" if word == "/dev/null" else word for word in args)
    done = sipcap("listen", *args)
    assert done.returncode == 2
    said = re.sub(r"\s+", " ", done.stderr.decode())
    assert f"{option} has no effect in mode" in said
    assert f"only in {modes}" in said


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((*MIRROR, "--promisc"), "--promisc needs --iface"),
        ((*MIRROR, "--promisc", "--iface", "any"), "--promisc needs --iface"),
        ((*MIRROR, "--bpf"), "follows from the ports of --listen"),
        ((*MIRROR, "--listen", "*:0", "--bpf"), "follows from the ports of --listen"),
        ((*MIRROR, "--listen", "tcp:*:5060"), "write HOST:PORT"),
        ((*IPIP, "--listen", "tls:*:5060"), "write HOST:PORT"),
    ],
)
def test_options_that_do_not_go_together(sipcap: RunSipcap, args: tuple[str, ...], text: str) -> None:
    """They are a usage error that says why."""
    done = sipcap("listen", *args)
    assert (done.returncode, text in done.stderr.decode()) == (2, True), done.stderr


def test_option_without_effect_counts_from_a_variable_too(sipcap: RunSipcap) -> None:
    """An option is given by a variable as it is on the command line."""
    env: Mapping[str, str] = {"SIPCAP_LISTEN_PROMISC": "1"}
    done = sipcap("listen", env=env)
    assert (done.returncode, b"--promisc has no effect in mode hep" in done.stderr) == (2, True), done.stderr


def test_mirror_options_are_those_of_the_command_line() -> None:
    """Ports of all endpoints, the filter, the direction and the rest arrive."""
    source = _source(
        *MIRROR, "--iface", "eth7", "--listen", "*:5060-5062", "--listen", "0.0.0.0:5080", "--bpf", "--promisc",
        "--direction", "in", "--children", "3", "--rcvbuf", "1000000", "--drain-timeout", "4",
    )  # fmt: skip
    options = source._options
    assert (options.iface, list(options.ports)) == ("eth7", [range(5060, 5063), range(5080, 5081)])
    assert (options.bpf, options.promisc, options.direction) == ("auto", True, "in")
    assert (options.children, options.rcvbuf_bytes, options.drain_s) == (3, 1_000_000, 2.0)


def test_mirror_says_that_an_address_has_no_effect(log: pytest.LogCaptureFixture) -> None:
    """As in the module, --listen filters ports only."""
    assert list(_source(*MIRROR, "--listen", "192.0.2.1:5060")._options.ports) == [range(5060, 5061)]
    assert "192.0.2.1 has no effect, only the port" in log.text


def test_ipip_options_are_those_of_the_command_line() -> None:
    """Port 0 is no filter, as in raw_socket_listen without a port."""
    options = _source(*IPIP, "--listen", "192.0.2.1:0", "--listen", "[2001:db8::1]:5060", "--iface", "eth7")._options
    assert (list(options.addresses), list(options.ports)) == (["192.0.2.1", "2001:db8::1"], [])
    assert options.iface == "eth7"
    options = _source(*IPIP, "--iface", "any")._options
    assert (list(options.addresses), list(options.ports), options.iface) == ([], [], None)
