"""JSON-RPC 2.0: requests, batches, notifications, errors; and the framer of streams."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.limits import CONTROL_BATCH_REQUESTS, CONTROL_JSON_DEPTH, CONTROL_REQUEST_BYTES
from sipcap.service.control.jsonrpc import JsonFramer, Overlong, answer
from sipcap.service.control.methods import Fault, Methods, UnknownMethod
from tests.support.controlling import SmallService

CHECK = b'{"jsonrpc": "2.0", "method": "sipcapture.status", "params": ["check"], "id": 9}'


def call(name: str, params: Sequence[Any]) -> Any:
    """Three methods: one that gives its parameters back, one that refuses, one that is not there."""
    if name == "refuse":
        raise Fault(500, "Bad parameter (on, off or check)")
    if name != "echo":
        raise UnknownMethod(name)
    return list(params)


def ask(request: Any) -> Any:
    """The answer to a request, decoded; None for none."""
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    line = answer(data, call)
    return None if line is None else json.loads(line)


def request(method: str = "echo", **members: Any) -> dict[str, Any]:
    """A request with id 1."""
    return {"jsonrpc": "2.0", "method": method, "id": 1, **members}


def code_of(reply: Any) -> int:
    """The code of an error."""
    return int(reply["error"]["code"])


def test_answer_has_kamailios_bytes() -> None:
    """The texts of spec/control.md 2 and 3, with the members in the same order."""
    methods = Methods(SmallService())
    assert answer(CHECK, methods.call) == b'{"jsonrpc":"2.0","result":"Enabled","id":9}'
    assert answer(CHECK.replace(b"check", b"bogus"), methods.call) == (
        b'{"jsonrpc":"2.0","error":{"code":500,"message":"Bad parameter (on, off or check)"},"id":9}'
    )


@pytest.mark.parametrize("request_id", [1, -1, 1.5, "a", "", 0])
def test_answer_carries_the_id_of_its_request(request_id: Any) -> None:
    """A number or a string comes back as it was."""
    assert ask(request(id=request_id))["id"] == request_id


def test_answer_to_a_null_id_is_given() -> None:
    """Null is an id, though a poor one; only an absent one makes a notification."""
    assert ask(request(id=None)) == {"jsonrpc": "2.0", "result": [], "id": None}


@pytest.mark.parametrize(("params", "values"), [(["a", 1], ["a", 1]), ({"x": "a", "y": 2}, ["a", 2]), ([], [])])
def test_params_reach_the_method_in_their_order(params: Any, values: list[Any]) -> None:
    """As in Kamailio, the names of an object's members mean nothing."""
    assert ask(request(params=params))["result"] == values


def test_notification_is_carried_out_and_not_answered() -> None:
    """No id, no answer, not even to an error."""
    service = SmallService()
    line = b'{"jsonrpc":"2.0","method":"sipcapture.status","params":["off"]}'
    assert answer(line, Methods(service).call) is None
    assert not service.capture_is_on()
    assert ask({"jsonrpc": "2.0", "method": "nope"}) is None


@pytest.mark.parametrize(
    "data", [b"", b"{", b"nope", b'{"a":}', b"\xff", b'{"jsonrpc": "2.0", "method": "echo"', b"{}{}"]
)
def test_answer_to_no_json_is_a_parse_error(data: bytes) -> None:
    """-32700, with null as id."""
    reply = ask(data)
    assert (code_of(reply), reply["id"]) == (-32700, None)


@pytest.mark.parametrize(
    "bad",
    [
        1, "a", None, True, {}, [1], {"jsonrpc": "2.0", "id": 1}, {"jsonrpc": "1.0", "method": "echo", "id": 1},
        {"method": "echo", "id": 1}, {**request(), "method": 1}, request(params="x"), request(params=3),
        request(params=None), request(id=[]), request(id={}), request(id=True),
    ],
)  # fmt: skip
def test_answer_to_what_is_no_request_is_invalid(bad: Any) -> None:
    """-32600, with the id where it could be read."""
    reply = ask(bad)
    reply = reply[0] if isinstance(reply, list) else reply
    assert code_of(reply) == -32600
    assert reply["id"] in {None, 1}


def test_answer_to_an_unknown_method_says_so() -> None:
    """-32601."""
    assert code_of(ask(request("nope"))) == -32601


def test_batch_gives_an_answer_for_each_request_with_an_id() -> None:
    """In their order, with notifications left out and errors in place."""
    replies = ask([request(id="a"), {"jsonrpc": "2.0", "method": "echo"}, 7, request("refuse", id="b")])
    assert [reply["id"] for reply in replies] == ["a", None, "b"]
    assert [code_of(reply) for reply in replies[1:]] == [-32600, 500]


def test_batch_of_notifications_has_no_answer() -> None:
    """Not even an empty array."""
    assert ask([{"jsonrpc": "2.0", "method": "echo"}] * 2) is None


def test_batch_that_is_empty_or_too_long_is_one_error() -> None:
    """Nothing of it is carried out."""
    assert code_of(ask([])) == -32600
    service = SmallService()
    off = {"jsonrpc": "2.0", "method": "sipcapture.status", "params": ["off"], "id": 1}
    line = answer(json.dumps([off] * (CONTROL_BATCH_REQUESTS + 1)).encode(), Methods(service).call)
    assert line is not None
    assert code_of(json.loads(line)) == -32600
    assert service.capture_is_on()


@given(st.binary(max_size=300))
def test_answer_to_any_bytes_is_one_line_of_json(data: bytes) -> None:
    """Whatever comes, the answer is JSON on one line, or nothing."""
    line = answer(data, call)
    if line is not None:
        assert b"\n" not in line
        json.loads(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON)
def test_answer_to_any_json_is_an_error_or_a_result(value: Any) -> None:
    """Each object of the answer has exactly one of them."""
    reply = ask(value)
    for each in reply if isinstance(reply, list) else [reply]:
        assert each is None or ("error" in each) != ("result" in each)


def feed(data: bytes, step: int) -> list[bytes]:
    """What a framer gives for bytes that come in pieces."""
    framer = JsonFramer()
    return [value for at in range(0, len(data), step) for value in framer.receive_data(data[at : at + step])]


VALUES = [
    CHECK, b"[1, [2, {}]]", b'{"a": "}\\"]{"}', b'{"a": "\\\\"}', b"[]", b"{}", b'["\\u007b"]', '{"ä": "€"}'.encode(),
]  # fmt: skip


@pytest.mark.parametrize("between", [b"", b"\n", b" \r\n\t "])
def test_framer_gives_values_however_they_are_cut(between: bytes) -> None:
    """Whole, byte by byte, in any pieces; with and without lines."""
    data = between.join(VALUES)
    for step in (1, 2, 3, 7, len(data)):
        assert feed(data, step) == VALUES


@pytest.mark.parametrize("value", VALUES)
def test_framer_waits_for_the_end_of_every_value(value: bytes) -> None:
    """Nothing comes before the last byte, wherever the stream is cut."""
    for end in range(len(value)):
        framer = JsonFramer()
        assert list(framer.receive_data(value[:end])) == []
        assert framer.is_inside is (end > 0)
        assert list(framer.receive_data(value[end:])) == [value]
        assert not framer.is_inside


def test_framer_cuts_junk_at_its_line() -> None:
    """What is no object or array is somebody else's protocol; what comes behind it counts again."""
    assert feed(b"GET / HTTP/1.1\r\n" + CHECK, 5) == [b"GET / HTTP/1.1\r", CHECK]


def test_framer_gives_back_half_a_value() -> None:
    """And begins anew."""
    framer = JsonFramer()
    assert list(framer.receive_data(b'  {"a": ["x')) == []
    assert framer.take_rest() == b'{"a": ["x'
    assert list(framer.receive_data(CHECK)) == [CHECK]


@pytest.mark.parametrize(
    "hostile",
    [
        b'{"a": "' + b"x" * CONTROL_REQUEST_BYTES, b"x" * (CONTROL_REQUEST_BYTES + 1), b"[" * (CONTROL_JSON_DEPTH + 1),
        b'{"a":' * (CONTROL_JSON_DEPTH + 1), b'{"a": "' + b"x" * CONTROL_REQUEST_BYTES + b'"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_framer_is_bounded_in_length_and_depth(hostile: bytes, step: int) -> None:
    """What is too long or too deep ends the stream, before it takes memory."""
    with pytest.raises(Overlong):
        feed(hostile, step)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_framer_any_bytes_give_the_same_in_any_pieces(data: bytes, step: int) -> None:
    """How a stream is cut changes nothing."""
    data = data.replace(b"\\", b"[").replace(b"\0", b'"')
    try:
        whole = feed(data, len(data) or 1)
    except Overlong:
        with pytest.raises(Overlong):
            feed(data, step)
    else:
        assert feed(data, step) == whole
