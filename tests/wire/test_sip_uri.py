"""Addresses in SIP (spec/sipcapture.md 3.3 to 3.5 and the table of 12)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipcap.wire.sip_uri import (
    branch_of,
    hide_quoted,
    parameter_finder,
    port_number,
    read_address,
    read_request_uri,
    read_tagged_address,
    split_name_addr,
    split_uri,
    tag_of,
)

URIS = {
    "sip:bob@biloxi.com": ("bob", "biloxi.com", ""),
    "sip:bob@biloxi.com:5070;transport=udp": ("bob", "biloxi.com", "5070"),
    "SIPS:Bob@Biloxi.com": ("Bob", "Biloxi.com", ""),
    "sip:biloxi.com": ("", "biloxi.com", ""),
    "sip:biloxi.com:5060;lr": ("", "biloxi.com", "5060"),
    "sip:bob:pw@h:1": ("bob", "h", "1"),
    "sip:bob:@h": ("bob", "h", ""),
    "sip:bob@[2001:db8::1]:5070": ("bob", "[2001:db8::1]", "5070"),
    "sip:[::1]": ("", "[::1]", ""),
    "sip:[::1]:7;lr": ("", "[::1]", "7"),
    "sip:bob@[::1": ("bob", "[::1", ""),
    "sip:bob@[::1]x": ("bob", "[::1]", ""),
    "sip:bob@2001:db8::1": ("bob", "2001:db8::1", ""),
    "sip:+1234;npdi@h;user=phone": ("+1234", "h", ""),
    "sip:+1234;npdi@h;x=1;USER=Phone;lr?a=b": ("+1234", "h", ""),
    "sip:+1234;npdi@h": ("+1234;npdi", "h", ""),
    "sip:+1234;npdi@h;user=phones": ("+1234;npdi", "h", ""),
    "sip:+1234;npdi@h?user=phone": ("+1234;npdi", "h", ""),
    "sip:+1234;user=phone@h": ("+1234;user=phone", "h", ""),
    "sip:a%40b@h": ("a%40b", "h", ""),
    "sip:user;par=u%40example.net@example.com": ("user;par=u%40example.net", "example.com", ""),
    "sip:a&=+$,b@c": ("a&=+$,b", "c", ""),
    "sip:bob@under_score.com": ("bob", "under_score.com", ""),
    "sip:@host": ("", "host", ""),
    "sip:bob@h?Subject=x;y&Route=<sip:z>": ("bob", "h", ""),
    "sip:bob@h:99999": ("bob", "h", "99999"),
    "sip:bob@h:": ("bob", "h", ""),
    "sip:bob@h:port": ("bob", "h", "port"),
    "sip: bob@h : 5060 ;lr": (" bob", "h", "5060"),
    "sip:bob@": ("bob", "", ""),
    "sip:": ("", "", ""),
    "tel:+1(201)555;phone-context=x": ("+1(201)555", "", ""),
    "tel:1?x=y": ("1", "", ""),
    "TEL:911": ("911", "", ""),
    "urn:service:sos": ("service", "sos", ""),
    "URN:service:sos.fire": ("service", "sos.fire", ""),
    "http://x/": ("", "", ""),
    "bob@h": ("", "", ""),
    "sipx:bob@h": ("", "", ""),
    "": ("", "", ""),
    ":": ("", "", ""),
    "*": ("", "", ""),
}


@pytest.mark.parametrize("uri", URIS)
def test_uri_of_any_scheme_splits_into_user_host_port(uri: str) -> None:
    """User without password, escapes kept, IPv6 with its brackets; what is no URI of SIP gives nothing."""
    assert split_uri(uri) == URIS[uri]
    assert read_request_uri(uri) == URIS[uri][:2]


def test_request_uri_in_brackets_is_read() -> None:
    """RFC 4475 section 3.1.2.7 encloses the request URI in <>."""
    assert read_request_uri("<sip:user@example.com>") == ("user", "example.com")


ADDRESSES = {
    '"Alice" <sip:alice@atlanta.com>;tag=1928301774': ("alice", "atlanta.com", "", "1928301774"),
    "<sip:bob@biloxi.com>": ("bob", "biloxi.com", "", ""),
    "<sip:alice@192.0.2.4:5088>": ("alice", "192.0.2.4", "5088", ""),
    "<sip:192.0.2.4:5088;transport=tcp>;tag=x": ("", "192.0.2.4", "5088", "x"),
    "Alice Smith <sip:alice@a.com>;tag=1": ("alice", "a.com", "", "1"),
    "sip:alice@atlanta.com;tag=xx": ("alice", "atlanta.com", "", "xx"),
    "sip:alice@atlanta.com:7": ("alice", "atlanta.com", "7", ""),
    "sip:alice@atlanta.com ;tag=xx": ("alice", "atlanta.com", "", "xx"),
    "sip:a,b@c;tag=1": ("a,b", "c", "", "1"),
    "<sip:alice@atlanta.com;tag=inside>;tag=out": ("alice", "atlanta.com", "", "out"),
    "<sip:alice@atlanta.com;tag=inside>": ("alice", "atlanta.com", "", ""),
    '<sip:alice@atlanta.com>;tag="quoted"': ("alice", "atlanta.com", "", "quoted"),
    '<sip:alice@atlanta.com>;x=";tag=no";tag=yes': ("alice", "atlanta.com", "", "yes"),
    "<sip:a@b> ; TAG = 12 ; x=y": ("a", "b", "", "12"),
    "<sip:a@b>;x=y;tag=12;z": ("a", "b", "", "12"),
    "<sip:a@b>;tag=12  ": ("a", "b", "", "12"),
    "<sip:a@b>;tag=\r\n 12": ("a", "b", "", "12"),
    "<sip:a@b>;tag": ("a", "b", "", ""),
    "<sip:a@b>;tag=": ("a", "b", "", ""),
    "<sip:a@b>;stag=1;tagx=2": ("a", "b", "", ""),
    "<sip:a@b>;tag=1;tag=2": ("a", "b", "", "1"),
    '"a;b" <tel:123>;tag=q': ("123", "", "", "q"),
    '"<sip:no@no>" <sip:a@b>;tag=1': ("a", "b", "", "1"),
    '"say \\"<sip:no@no>\\", x" <sip:a@b>;tag=1': ("a", "b", "", "1"),
    '"back\\\\" <sip:a@b>;tag=1': ("a", "b", "", "1"),
    '"Müller, Jörg" <sip:a@b>': ("a", "b", "", ""),
    '"" <sip:a@b>': ("a", "b", "", ""),
    '"A"<sip:a@b>': ("a", "b", "", ""),
    '"A"\r\n <sip:a@b>': ("a", "b", "", ""),
    '"unclosed <sip:a@b>;tag=1': ("a", "b", "", "1"),
    '"no brackets" sip:a@b;tag=1': ("a", "b", "", "1"),
    '"no <brackets>" sip:a@b;tag=1': ("a", "b", "", "1"),
    "<sip:a@b;tag=1": ("a", "b", "", "1"),
    "< sip:a@b >;tag=1": ("a", "b", "", "1"),
    "<SIP:a@b>": ("a", "b", "", ""),
    "<sip:a@h1>, <sip:b@h2:7>": ("a", "h1", "", ""),
    "<sip:a@h1>, <sip:b@h2>;tag=2": ("a", "h1", "", ""),
    "sip:a@h1, sip:b@h2;tag=2": ("a", "h1", "", ""),
    "sip:a@h1, <sip:b@h2>;tag=2": ("a", "h1", "", ""),
    "sip:a@h1;x=<sip:b@h2>;tag=2": ("a", "h1", "", "2"),
    "Time: now <sip:a@b>": ("a", "b", "", ""),
    "<bad>;tag=1": ("", "", "", "1"),
    "<>;tag=1": ("", "", "", "1"),
    "garbage": ("", "", "", ""),
    "*": ("", "", "", ""),
    "<": ("", "", "", ""),
    ">": ("", "", "", ""),
    '"': ("", "", "", ""),
    '"\\': ("", "", "", ""),
    "": ("", "", "", ""),
}


@pytest.mark.parametrize("value", ADDRESSES)
def test_address_in_a_header_is_read_with_its_tag(value: str) -> None:
    """The first address with or without brackets; quotes hide what they hold; broken ones give what they can."""
    user, host, port, tag = ADDRESSES[value]
    assert read_tagged_address(value) == (user, host, tag)
    assert read_address(value) == (user, host, port)


VIAS = {
    "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds": "z9hG4bK776asdhds",
    "SIP/2.0/UDP a:1;rport;branch=z9;received=1.2.3.4": "z9",
    "SIP / 2.0 / UDP a:1 ; branch = zz ; x": "zz",
    "SIP/2.0/UDP a;BRANCH=z9": "z9",
    'SIP/2.0/UDP a;branch="z9"': "z9",
    'SIP/2.0/UDP a;x=";branch=no";branch=yes': "yes",
    "SIP/2.0/UDP a;branch=one, SIP/2.0/UDP b;branch=two": "one",
    "SIP/2.0/UDP a, SIP/2.0/UDP b;branch=two": "",
    "SIP/2.0/UDP [::1]:5060;branch=z9\r\n ;rport": "z9",
    "SIP/2.0/UDP a": "",
    "SIP/2.0/UDP a;branch=z9 (comment)": "z9",
    'SIP/2.0/UDP a;x="q";branch=z9 (comment)': "z9",
    "SIP/2.0/UDP a;branch": "",
    "SIP/2.0/UDP a;branch=": "",
    "SIP/2.0/UDP a;branch=;rport": "",
    "SIP/2.0/UDP a;xbranch=no": "",
    "bad": "",
    "": "",
}


@pytest.mark.parametrize("via", VIAS)
def test_branch_of_the_first_via_is_read(via: str) -> None:
    """Blanks, case and quotes do no harm; the second Via of a line is another's."""
    assert branch_of(via) == VIAS[via]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("1", 1), ("5060", 5060), ("65535", 65_535), ("65536", 0), ("99999", 0), ("005060", 5060),
        ("000000", 0), ("", 0), ("-1", 0), ("+1", 0), (" 1", 0), ("1 ", 0), ("5_0", 0), ("٥٠٦٠", 0), ("²", 0),
        ("9" * 60_000, 0), ("0" * 60_000 + "7", 7),
    ],
)  # fmt: skip
def test_port_number_of_any_text_is_a_port_or_zero(text: str, number: int) -> None:
    """Only ASCII digits up to 65535 are a port, however many zeros lead."""
    assert port_number(text) == number


def test_parameter_finder_with_commas_searches_all_values() -> None:
    """Credentials are separated by commas; a semicolon means nothing there."""
    find = parameter_finder("nonce", separator=",")
    assert find(', realm="a,nonce=b", nonce = "x;y" , z') == "x;y"
    assert find(",nonce=x;y,z") == "x;y"


@given(text=st.text(alphabet='ab"\\<;,', max_size=30))
def test_hide_quoted_keeps_places_and_what_is_outside(text: str) -> None:
    """The hidden text is as long as the text, and differs from it only by more quotes."""
    hidden = hide_quoted(text)
    assert len(hidden) == len(text)
    assert all(there in (here, '"') for here, there in zip(text, hidden, strict=True))


_pieces = st.sampled_from([
    '"', "\\", "<", ">", ";", ",", ":", "@", "=", " ", "\t", "\r\n ", "?", "[::1]", "*", "sip:", "sips:", "SIP:",
    "tel:", "urn:", "a", "b.c", "+1", "tag=x", ";tag=1", "; tag = 2", "branch=z", "user=phone", "5060", "<sip:a@b>",
    "\ufffd", "ß",
])  # fmt: skip
_values = st.lists(_pieces, max_size=12).map("".join)
_well_formed = st.builds(
    "{}<sip:{}@{}{}{}>{}".format,
    st.sampled_from(["", "Bob ", '"Bob" ', '"B\\"ob"\t', '"B<o>b"', "B:ob ", '"B\\\\" ']),
    st.sampled_from(["bob", "+1;x", "b:pw", "", "b%40", "b,c"]),
    st.sampled_from(["h", "h.de", "[::1]", "1.2.3.4", "h ", ""]),
    st.sampled_from(["", ":5060", ":", ":x", ":99999999"]),
    st.sampled_from(["", ";lr", ";user=phone", ";a=b;c", "?x=y", ";x=>"]),
    st.sampled_from(["", ";tag=1", ";tag=1;x", ";x;tag=1", ' ;tag="1"', ";tag=1 ", ",<sip:x@y>;tag=2", ";tag="]),
)


@given(value=_values | _well_formed)
@example(value='"a\\" <sip:no@x>" <sip:a@b>')
def test_usual_forms_read_as_the_reference_does(value: str) -> None:
    """The fast patterns are only that: whatever they match reads the same taken apart."""
    uri, rest = split_name_addr(value)
    user, host, port = split_uri(uri)
    assert read_tagged_address(value) == (user, host, tag_of(rest))
    assert read_address(value) == (user, host, port)
    assert read_request_uri(value) == split_uri(value.strip("<>"))[:2]


_via = st.lists(st.sampled_from(['"', ",", ";rport", " ", "\r\n ", "a", ";x=1", "="]), max_size=6).map("".join)


@given(before=_via, name=st.sampled_from([";branch=", "; Branch =", ";branch", "branch="]), after=_via)
def test_usual_branch_reads_as_the_reference_does(before: str, name: str, after: str) -> None:
    """The shortcut of branch_of finds what the parameter finder finds."""
    via = f"{before}{name}{after}"
    assert branch_of(via) == parameter_finder("branch")(via)


HOSTILE = [
    '"',
    "<",
    ">",
    ":",
    ";",
    ",",
    "\\",
    "@",
    " ",
    "\r\n ",
    '"\\',
    ";tag",
    ";tag ",
    '<"',
    ":@",
    "sip:",
    '";',
    ", ",
    "[",
    "?",
]
READERS: list[Callable[[str], object]] = [read_tagged_address, read_address, read_request_uri, branch_of]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("start", ["", "sip:", "<sip:a@b;", '"', ";tag=", "<sip:a@b>;tag"])
def test_readers_of_64_kb_of_one_thing_take_linear_time(start: str, piece: str) -> None:
    """No input makes a pattern go over it again and again."""
    value = start + piece * (64_000 // len(piece))
    began = time.perf_counter()
    for read in READERS:
        read(value)
    assert time.perf_counter() - began < 0.5
