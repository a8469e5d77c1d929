"""Routes: which record takes which."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given

from sipcap.endpoint import Endpoint
from sipcap.extract import Extractor
from sipcap.limits import MAX_ROUTED_VALUE
from sipcap.record import Record
from sipcap.routes import BadRoute, Routes, make_route
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US, reply, sip
from tests.support.records import records, report_record, sip_record


def routes_of(*values: dict[str, str]) -> Routes:
    """Routes named r0, r1 ..., each to a table of its name if it says nothing else."""
    return Routes([make_route(f"r{number}", {"table": f"r{number}", **each}) for number, each in enumerate(values)])


def record_of(payload: bytes, **changes: Any) -> Record:
    """The record of a message as a HEP socket gives it."""
    values: dict[str, Any] = {"source_ip": "10.1.1.1", "hep_version": 3, "capture_id": 7, "ts_us": BASE_TS_US}
    return Extractor().record(Message(payload, **(values | changes)), 0)


def chosen(routes: Routes, record: Record) -> str:
    """The name of the route; "" = none."""
    route = routes.match(record)
    return "" if route is None else route.name


@pytest.mark.parametrize(("payload", "name"), [
    (sip("REGISTER"), "r0"), (sip("INVITE"), "r1"), (sip("BYE"), "r1"), (sip("OPTIONS"), ""),
    (reply(headers={"CSeq": "2 REGISTER"}), "r0"), (reply("404 Not Found", headers={"CSeq": "2 BYE"}), "r1"),
    (reply(headers={"CSeq": "2 OPTIONS"}), ""), (reply(headers={"CSeq": None}), ""), (sip("X-\u00fc"), ""),
])  # fmt: skip
def test_methods_are_those_of_requests_and_what_replies_answer(payload: bytes, name: str) -> None:
    """A reply goes with its request, by its CSeq; a reply without one goes with no method."""
    assert chosen(routes_of({"methods": "register"}, {"methods": "INVITE, BYE"}), record_of(payload)) == name


def test_first_match_wins() -> None:
    """The order of the routes decides, and all conditions of one must hold."""
    routes = routes_of(
        {"methods": "INVITE", "source": "10.1.0.0/16", "capture_id": "8"},
        {"methods": "INVITE", "source": "10.1.0.0/16"},
        {"methods": "INVITE"},
        {},
        {"methods": "BYE"},
    )
    assert chosen(routes, record_of(sip(), capture_id=8)) == "r0"
    assert chosen(routes, record_of(sip())) == "r1"
    assert chosen(routes, record_of(sip(), source_ip="10.2.1.1")) == "r2"
    assert chosen(routes, record_of(sip("BYE"))) == "r3"


@pytest.mark.parametrize(("address", "name"), [
    ("10.1.2.3", "r0"), ("10.2.2.3", ""), ("192.0.2.7", "r0"), ("192.0.2.8", ""), ("2001:db8::5", "r0"),
    ("2001:db9::5", ""), ("", ""), ("no address", ""),
])  # fmt: skip
def test_source_is_any_of_the_networks(address: str, name: str) -> None:
    """IPv4 and IPv6, networks and addresses; what is no address is in none."""
    routes = routes_of({"source": "10.1.0.0/16, 192.0.2.7,2001:db8::/32"})
    assert [chosen(routes, record_of(sip(), source_ip=address)) for _ in range(2)] == [name] * 2


def test_hep_type_and_capture_id_go_for_reports_too() -> None:
    """SIP is type 1; a report has its HEP type, also one that lost it on the way."""
    routes = routes_of({"hep_type": "5,0x64"}, {"hep_type": "1", "capture_id": "7"})
    assert chosen(routes, record_of(b"{}", payload_type=5)) == "r0"
    assert chosen(routes, record_of(b"log", payload_type=100)) == "r0"
    assert chosen(routes, report_record(type=3)) == "r0"
    assert chosen(routes, record_of(b"{}", payload_type=35)) == ""
    assert chosen(routes, record_of(sip())) == "r1"
    assert chosen(routes, record_of(sip(), hep_version=0)) == ""


def test_report_has_no_method_and_no_header() -> None:
    """Routes that ask for one pass it by; those that do not take it."""
    routes = routes_of({"methods": "INVITE"}, {"header": "From: ."}, {"source": "10.1.1.1"})
    assert chosen(routes, record_of(b"{}", payload_type=5)) == "r2"


@pytest.mark.parametrize(("headers", "name"), [
    ({"X-Trunk": "carrier1"}, "r0"), ({"x-TRUNK": "a carrier1 b"}, "r0"), ({"X-Trunk": "Carrier1"}, ""),
    ({"X-Trunk": "carrier\r\n 1"}, "r1"), ({"Subject": "s"}, "r2"), ({"s": "s"}, "r2"), ({}, ""),
    ({"X-Trunk": "", "X-Trunk2": "carrier1"}, ""),
])  # fmt: skip
def test_header_is_searched_in_any_spelling(headers: dict[str, str], name: str) -> None:
    """Any case of the name, its short form, folds as one blank; the case of the value counts."""
    routes = routes_of({"header": "X-Trunk: carrier1"}, {"header": "x-trunk: ^carrier 1$"}, {"header": "subject:^s$"})
    assert chosen(routes, record_of(sip(headers={"Via": "SIP/2.0/UDP h", **headers}))) == name


def test_header_of_a_body_does_not_count() -> None:
    """What looks like a header behind the empty line is none."""
    routes = routes_of({"header": "X-Trunk: ."})
    assert chosen(routes, record_of(sip(body=b"X-Trunk: carrier1\r\n"))) == ""


def test_header_that_is_long_is_looked_at_up_to_a_bound() -> None:
    """A square of it is what a regular expression may cost; it stays far below a second."""
    routes = routes_of({"header": "X-Trunk: (x|xx)*y"}, {"header": "X-Trunk: .*.*.*y"})
    began_s = time.monotonic()
    assert (
        chosen(routes_of({"header": "X-Trunk: z"}), record_of(sip(headers={"X-Trunk": "x" * MAX_ROUTED_VALUE + "z"})))
        == ""
    )
    assert chosen(routes_of({"header": "X-Trunk: x$"}), record_of(sip(headers={"X-Trunk": "x" * 60_000}))) == "r0"
    assert chosen(routes_of({"header": "X-Trunk: .*,.*;y"}), record_of(sip(headers={"X-Trunk": "," * 60_000}))) == ""
    assert time.monotonic() - began_s < 10
    assert routes.forwards is False


def test_record_that_was_made_by_hand_matches_no_header() -> None:
    """Its msg may be anything."""
    assert chosen(routes_of({"header": "From: ."}), sip_record(msg="no SIP")) == ""


def test_no_routes_is_the_default() -> None:
    """Nothing matches nothing."""
    assert Routes([]).match(sip_record()) is None


@given(records)
def test_match_of_any_record_is_a_route_or_none(record: Record) -> None:
    """Whatever a line holds, a route is found or not."""
    routes = routes_of(
        {"methods": "INVITE", "header": "From: a"}, {"source": "::/0"}, {"hep_type": "1"}, {"capture_id": "0"}
    )
    assert chosen(routes, record) in {"", "r0", "r1", "r2", "r3"}


def test_route_of_all_keys() -> None:
    """Each key says one thing."""
    route = make_route("all", {
        "methods": "INVITE,", "source": "10.0.0.0/8", "hep_type": "1", "capture_id": "4294967295",
        "header": "v:z9hG4bK", "table": "t_%Y", "capture_mode": "m1", "forward": "tcp:host:9060",
    })  # fmt: skip
    assert [set(route.methods), set(route.hep_types), set(route.capture_ids)] == [{"INVITE"}, {1}, {2**32 - 1}]
    assert route.header is not None
    assert (route.header.name, route.header.pattern.pattern) == ("via", "z9hG4bK")
    assert (route.table, route.capture_mode, route.forward) == ("t_%Y", "m1", Endpoint("tcp", "host", 9060, 9060))
    assert Routes([route]).forwards


@pytest.mark.parametrize(("values", "key", "text"), [
    ({"methods": "INVITE"}, "", "leads nowhere"),
    ({"tabel": "t"}, "tabel", "did you mean table"),
    ({"table": " "}, "table", "table is empty"),
    ({"table": "a|b"}, "table", "one pattern only"),
    ({"table": "a\0b"}, "table", "no table can be called"),
    ({"methods": ",", "table": "t"}, "methods", "methods is empty"),
    ({"methods": "INVITE BYE", "table": "t"}, "methods", "is no method"),
    ({"source": "10.0.0", "table": "t"}, "source", "10.0.0"),
    ({"hep_type": "256", "table": "t"}, "hep_type", "from 0 to 255"),
    ({"hep_type": "SIP", "table": "t"}, "hep_type", "no number"),
    ({"capture_id": "-1", "table": "t"}, "capture_id", "no number"),
    ({"capture_id": str(2**32), "table": "t"}, "capture_id", "no number"),
    ({"header": "X-Trunk", "table": "t"}, "header", "NAME: REGULAR EXPRESSION"),
    ({"header": ": x", "table": "t"}, "header", "NAME: REGULAR EXPRESSION"),
    ({"header": "X-Trunk: (", "table": "t"}, "header", "no regular expression"),
    ({"header": "X-Trunk: a{99999999999}", "table": "t"}, "header", "no regular expression"),
    ({"forward": "host"}, "forward", "is no endpoint"),
    ({"forward": "tls:host:5061"}, "forward", "udp: and tcp: only"),
    ({"forward": "*:9060"}, "forward", "not one place"),
    ({"forward": "host:0"}, "forward", "not one place"),
    ({"forward": "host:9060-9061"}, "forward", "not one place"),
])  # fmt: skip
def test_route_that_is_wrong_says_what(values: dict[str, str], key: str, text: str) -> None:
    """The configuration can name the line of the key."""
    with pytest.raises(BadRoute, match=text) as caught:
        make_route("r", values)
    assert caught.value.key == key
