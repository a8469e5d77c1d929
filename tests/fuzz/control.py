"""Targets of the control sockets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from sipcap.errors import DecodeError
from sipcap.service.control import jsonrpc
from sipcap.service.control.binrpc import BinrpcFramer, Packet, decode_values, encode_packet, encode_values
from sipcap.service.control.fifo import RpcFifo
from sipcap.service.control.loop import Loop
from sipcap.service.control.methods import Fault, UnknownMethod
from sipcap.service.control.sockets import Place
from tests.fuzz.cutting import pieces, reason_of

_PIPE_BYTES = 4_096
_MAX_INT = 2**31  # and beyond, integers are written as strings


def binrpc(data: bytes) -> None:
    """Any bytes give packets, the same in any pieces, with values that can be written and read again, or a reason."""
    _, parts = pieces(data)
    seen = _packets(parts)
    assert seen == _packets([b"".join(parts)])
    for packet in seen[0]:
        assert _packets([encode_packet(packet.kind & 15, packet.cookie, packet.payload)])[0]
        try:
            values = decode_values(packet.payload)
        except DecodeError as error:
            reason_of(error)
            continue
        plain = [value for value in values if isinstance(value, (int, str)) and not _is_long(value)]
        assert decode_values(encode_values(plain)) == plain
        encode_values(values)


def _is_long(value: int | str) -> bool:
    return isinstance(value, int) and abs(value) >= _MAX_INT


def _packets(parts: Sequence[bytes]) -> tuple[list[Packet], str]:
    framer = BinrpcFramer()
    seen: list[Packet] = []
    try:
        for part in parts:
            seen.extend(framer.receive_data(part))
    except DecodeError as error:
        reason_of(error)
        return seen, error.reason
    return seen, ""


def _call(name: str, params: Sequence[Any]) -> Any:
    if name == "fault":
        raise Fault(500, "no")
    if name == "unknown":
        raise UnknownMethod(name)
    return list(params)


def json_rpc(data: bytes) -> None:
    """Any bytes give the same values in any pieces, each of which has an answer in JSON, or none at all."""
    _, parts = pieces(data)
    seen = _values(parts)
    assert seen == _values([b"".join(parts)])
    for value in seen[0]:
        answer = jsonrpc.answer(value, _call)
        if answer is not None:
            assert b"\n" not in answer
            msgspec.json.decode(answer)


def _values(parts: Sequence[bytes]) -> tuple[list[bytes], bool]:
    framer = jsonrpc.JsonFramer()
    seen: list[bytes] = []
    try:
        for part in parts:
            seen.extend(framer.receive_data(part))
    except jsonrpc.Overlong:
        return seen, True
    return seen, False


class _NoLoop:
    def watch(self, *_args: object) -> None:
        """Nobody waits for anything here."""


class _NoPlace:
    def remove(self) -> None:
        """There is none."""


def fifo(data: bytes) -> None:
    """Whatever is written into the FIFO, each request is carried out once, and no answer leaves its folder."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    calls: list[str] = []

    def call(name: str, params: Sequence[Any]) -> Any:
        calls.append(name)
        return _call(name, params)

    served = RpcFifo(cast("Loop", _NoLoop()), reading, call, cast("Place", _NoPlace()), "/nonexistent")
    try:
        for begin in range(0, len(data), _PIPE_BYTES):
            os.write(writing, data[begin : begin + _PIPE_BYTES])
            served._on_data(0)
        while served._requests:
            served._answer(served._requests.popleft())
        served.tick(0.0)
    finally:
        os.close(writing)
        served.close(in_child=False)
    assert len(calls) <= data.count(b"method"), "a request was carried out more than once"
