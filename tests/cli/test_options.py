"""Options that several commands share: what they take, and what they say to what they do not take."""

from __future__ import annotations

import logging
import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from sipcap.cli.listen import command as listen
from sipcap.cli.listen import hep_options_of
from sipcap.cli.options import (
    EndpointType,
    KeyType,
    NetworkType,
    SecondsType,
    SecretType,
    encoder_for,
    extract_options_of,
)
from sipcap.endpoint import Endpoint
from sipcap.ndjson import encode_records
from sipcap.pipeline import ExtractOptions


def convert(kind: click.ParamType[Any], value: str) -> Any:
    """What an option of this kind makes of a value."""
    return kind.convert(value, None, None)


def refusal(kind: click.ParamType[Any], value: str) -> str:
    """What it says to a value that it does not take."""
    with pytest.raises(click.UsageError) as caught:
        convert(kind, value)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:9060", Endpoint("udp", "127.0.0.1", 9060, 9060)),
        ("TCP:host.example.com:1-65535", Endpoint("tcp", "host.example.com", 1, 65_535)),
        ("tls:[2001:db8::1]:9061", Endpoint("tls", "2001:db8::1", 9061, 9061)),
        ("*:9060", Endpoint("udp", "*", 9060, 9060)),
        ("udp:[fe80::1%eth0]:0", Endpoint("udp", "fe80::1%eth0", 0, 0)),
    ],
)
def test_endpoint_takes_every_form(text: str, endpoint: Endpoint) -> None:
    """Protocol, IPv6 in brackets, any address and ranges are read, and an Endpoint passes as it is."""
    assert convert(EndpointType(), text) == endpoint
    assert EndpointType().convert(endpoint, None, None) is endpoint


@pytest.mark.parametrize(
    "text", ["", "9060", "host", "host:", ":9060", "sctp:h:1", "h:65536", "h:9-8", "::1:9060", "h:1:2", "[::1]", "h:-1"]
)
def test_endpoint_says_what_is_wrong(text: str) -> None:
    """The refusal quotes what was typed and says how an endpoint looks."""
    said = refusal(EndpointType(), text)
    assert repr(text) in said
    assert "HOST:PORT" in said or "65535" in said


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\nmore\n", "s3cret"),
        (b" kept \n", " kept "),
        (b"", ""),
        (b"k\xe4se\n", "k\udce4se"),
    ],
)
def test_secret_is_the_first_line_of_a_file(tmp_path: Path, content: bytes, secret: str) -> None:
    """@FILE keeps a secret out of the list of processes; bytes that are no UTF-8 are kept."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert convert(SecretType(), f"@{path}") == secret
    assert os.fsencode(secret) == content.partition(b"\n")[0].rstrip(b"\r")


def test_secret_as_it_is() -> None:
    """Whatever does not begin with @ is the secret itself."""
    assert convert(SecretType(), "a@b") == "a@b"


def test_secret_in_an_endless_file_does_not_fill_the_memory() -> None:
    """A device named by mistake is read to a bound."""
    assert len(convert(SecretType(), "@/dev/zero")) <= 65_536


@pytest.mark.parametrize("name", ["/nowhere/secret", "/", "", "a\0b"])
def test_secret_in_a_file_that_cannot_be_read_is_refused(name: str) -> None:
    """The refusal names the file and the reason, without an error number."""
    said = refusal(SecretType(), f"@{name}")
    assert said.startswith(f"cannot read {name}: ")
    assert "Errno" not in said


def test_key_must_not_be_empty(tmp_path: Path) -> None:
    """An empty variable or file would let everybody in who sends an empty key."""
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert refusal(KeyType(), "") == refusal(KeyType(), f"@{empty}") == "the key is empty"
    assert convert(KeyType(), "x") == "x"


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1/8", "2001:db8::/32"])
def test_network_takes_addresses_and_networks(text: str) -> None:
    """A single address is a network of one; bits behind the mask do no harm."""
    assert convert(NetworkType(), text) == ip_network(text, strict=False)


def test_network_says_what_is_wrong() -> None:
    """The refusal quotes what was typed."""
    assert "'10.0.0.0/99'" in refusal(NetworkType(), "10.0.0.0/99")


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("0.25", 0.25), ("1e3", 1_000.0), ("inf", 3_153_600_000.0)])
def test_seconds_are_numbers_that_a_clock_can_hold(text: str, seconds: float) -> None:
    """For ever is a hundred years, which a wait can be told."""
    assert convert(SecondsType(), text) == seconds


@pytest.mark.parametrize("text", ["-1", "nan", "-inf", "", "ten", "1s"])
def test_seconds_refuse_what_is_none(text: str) -> None:
    """NaN is neither a time nor for ever."""
    assert repr(text) in refusal(SecondsType(), text)


def given(**options: object) -> dict[str, object]:
    """Options of extraction as click gives them, with these values."""
    usual = {"capture_node": "n", "callid_aleg_header": "X-CID", "custom_headers": (), "capture_bad_msgs": True}
    functions = {"hook": None, "hook_timeout": 5.0, "nonsip_hook": False}
    topoh = {"topoh_unmask": False, "topoh_key": None, "topoh_prefix": None}
    return usual | functions | topoh | options


@pytest.mark.parametrize(
    ("custom", "expected"),
    [
        ((), ("Mac", "IP", "Port")),
        (("X-A",), ("X-A", "IP", "Port")),
        (("X-A", "", "X-C"), ("X-A", "", "X-C")),
    ],
)
def test_extract_options_fill_custom_headers(custom: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Headers that are not given keep their defaults; an empty name switches one off."""
    assert extract_options_of(given(custom_headers=custom)).custom_headers == expected


def test_extract_options_refuse_a_fourth_custom_header() -> None:
    """There are three columns."""
    with pytest.raises(click.BadParameter, match="three"):
        extract_options_of(given(custom_headers=("a", "b", "c", "d")))


def test_extract_options_split_aleg_headers() -> None:
    """Names stand between semicolons; blanks and empty ones do not count."""
    made = extract_options_of(given(callid_aleg_header=" X-CID ;; X-CID1;", capture_bad_msgs=False))
    assert made == ExtractOptions("n", ("X-CID", "X-CID1"), capture_bad_msgs=False)


def test_extract_options_make_text_of_a_node_that_is_none() -> None:
    """A command line may hold any bytes; the column node is text."""
    assert extract_options_of(given(capture_node="n\udcff")).capture_node == "n\ufffd"


@pytest.mark.parametrize(
    ("output_format", "terminal", "is_json"),
    [("json", True, True), ("auto", False, True), ("auto", True, False), ("line", False, False)],
)
def test_encoder_follows_format_and_terminal(
    monkeypatch: pytest.MonkeyPatch, output_format: str, terminal: bool, is_json: bool
) -> None:
    """NDJSON into pipes, lines for people on a terminal, and either on demand."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert (encoder_for(output_format) is encode_records) is is_json


def usage_error(*args: str) -> Result:
    """A ``listen`` that does not begin."""
    done = CliRunner().invoke(listen, list(args))
    assert done.exit_code == 2, done.output
    return done


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--listen", "nonsense"], "'nonsense' is no endpoint"),
        (["--children", "0"], "--children"),
        (["--children", "65"], "--children"),
        (["--count", "0"], "--count"),
        (["--count", "x"], "--count"),
        (["--duration", "nan"], "--duration"),
        (["--drain-timeout", "-1"], "--drain-timeout"),
        (["--rcvbuf", "99999999999"], "--rcvbuf"),
        (["--rcvbuf", "1"], "--rcvbuf"),
        (["--auth-key", ""], "empty"),
        (["--auth-key", "@/nowhere/key"], "cannot read"),
        (["--allow", "10.0.0.0/33"], "10.0.0.0/33"),
        (["--tls-cert", "/nowhere/cert"], "--tls-cert"),
        (["--format", "xml"], "--format"),
        (["--mode", "quantum"], "--mode"),
        (["surplus"], "surplus"),
    ],
)
def test_listen_refuses_wrong_values(args: list[str], words: str) -> None:
    """What cannot be meant is a usage error that names the option or the value; nothing is bound."""
    assert words in usage_error(*args).output


def options(**changes: object) -> dict[str, object]:
    """What Click hands to a command that receives."""
    names = ("rcvbuf", "auth_key", "tls_cert", "tls_key", "tls_client_ca")
    return {**dict.fromkeys(names), "endpoints": (), "allow": (), "drain_timeout": 10.0, **changes}


def test_hep_options_default_to_this_machine() -> None:
    """Without --listen, the loopback interface on HEP's port, by each protocol asked for."""
    assert hep_options_of(options()).endpoints == (Endpoint("udp", "127.0.0.1", 9060, 9060),)
    assert [each.protocol for each in hep_options_of(options(), ("udp", "tcp")).endpoints] == ["udp", "tcp"]


def test_hep_options_take_keys_of_any_bytes() -> None:
    """A key that is no UTF-8 reaches the comparison as the bytes that were typed."""
    assert hep_options_of(options(auth_key="k\udce4se")).auth_key == b"k\xe4se"


@pytest.mark.parametrize(("protocol", "warned"), [("tls", 0), ("tcp", 1)])
def test_hep_options_warn_of_certificates_that_nobody_uses(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, protocol: str, warned: int
) -> None:
    """Whoever gives a certificate expects TLS, and is told if there is none."""
    monkeypatch.setattr(logging.getLogger("sipcap"), "propagate", True)
    hep_options_of(options(endpoints=(Endpoint(protocol, "127.0.0.1", 0, 0),), tls_cert=Path("cert")))
    assert sum("--tls-cert has no effect" in text for text in caplog.messages) == warned
