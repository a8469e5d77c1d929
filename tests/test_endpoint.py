"""Endpoints as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:9060", Endpoint("udp", "127.0.0.1", 9060, 9060)),
        ("udp:0.0.0.0:9060", Endpoint("udp", "0.0.0.0", 9060, 9060)),
        ("TCP:*:9061", Endpoint("tcp", "*", 9061, 9061)),
        ("tls:[::1]:9062", Endpoint("tls", "::1", 9062, 9062)),
        ("[2001:db8::1]:5060-5090", Endpoint("udp", "2001:db8::1", 5060, 5090)),
        ("[fe80::1%eth0.100]:5060", Endpoint("udp", "fe80::1%eth0.100", 5060, 5060)),
        ("[::ffff:192.0.2.1]:5060", Endpoint("udp", "::ffff:192.0.2.1", 5060, 5060)),
        ("[::]:0", Endpoint("udp", "::", 0, 0)),
        ("hep.example.com:9060", Endpoint("udp", "hep.example.com", 9060, 9060)),
        ("my_host-1:09060", Endpoint("udp", "my_host-1", 9060, 9060)),
        ("udp:tcphost:1", Endpoint("udp", "tcphost", 1, 1)),
        (" udp:a:1 ", Endpoint("udp", "a", 1, 1)),
        ("a:0-65535", Endpoint("udp", "a", 0, 65_535)),
    ],
)
def test_parse_reads_what_the_design_says(text: str, endpoint: Endpoint) -> None:
    """Protocol, host and port or ports; udp if nothing is said."""
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "9060", ":9060", "host", "host:", "host:x", "host:65536", "host:1-", "host:-1", "host:2-1",
        "host:1-2-3",
        "host:1-65536", "udp:9060", "tcp:9060", "TLS:9060", "udp::9060", "sctp:host:9060", "udp:tcp:9060", "::1:9060",
        "2001:db8::1:9060", "[::1]", "[::1]9060", "[]:1", "[host]:1", "[1.2.3.4]:1", "[*]:1", "a b:1", "http://host:1",
        "u:p@host:1", "host:\u0661\u0662", "host:" + "1" * 5_000, "host:1\n2", "[::1%]:1",
    ],
)  # fmt: skip
def test_parse_what_is_none_says_so(text: str) -> None:
    """What cannot be meant is refused, with the text and in one short line."""
    with pytest.raises(ValueError, match=r"no endpoint|ports go from 0 to 65535"):
        parse_endpoint(text)


@given(text=st.text(max_size=30) | st.from_regex(r"(udp:|tcp:)?[a-z*\[\]:.0-9]{0,12}:[0-9-]{0,8}", fullmatch=True))
def test_parse_any_text_is_an_endpoint_or_a_value_error(text: str) -> None:
    """Nothing else is raised, and an endpoint written out is read as itself."""
    try:
        endpoint = parse_endpoint(text)
    except ValueError:
        return
    assert parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize("text", ["udp:127.0.0.1:9060", "tls:[::1]:5060-5061", "tcp:*:1"])
def test_str_is_what_the_user_writes(text: str) -> None:
    """Messages name an endpoint as the command line does."""
    assert str(parse_endpoint(text)) == text
