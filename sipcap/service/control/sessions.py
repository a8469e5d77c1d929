"""JSON-RPC and BINRPC with one client: the codecs joined to the methods."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sipcap.errors import DecodeError
from sipcap.service.control import binrpc, jsonrpc
from sipcap.service.control.clients import Job
from sipcap.service.control.methods import BAD_REQUEST, INTERNAL, Fault, Rows, UnknownMethod


class JsonSession:
    """JSON-RPC 2.0 on a stream: values behind one another, or one a line; each answer is a line.

    Args:
        call: ``Methods.call``.
    """

    def __init__(self, call: jsonrpc.Call) -> None:
        self._call = call
        self._framer = jsonrpc.JsonFramer()
        self.is_over = False

    @property
    def is_inside(self) -> bool:
        """Whether a request has begun that has not ended."""
        return self._framer.is_inside

    def receive_data(self, data: bytes) -> Sequence[Job]:
        """Take bytes, give what is to be done."""
        jobs: list[Job] = []
        try:
            jobs.extend(partial(self._answer, value) for value in self._framer.receive_data(data))
        except jsonrpc.Overlong:
            self.is_over = True
            jobs.append(lambda: _refusal(jsonrpc.INVALID_REQUEST, "Invalid Request: too long or too deep"))
        return jobs

    def end(self) -> Sequence[Job]:
        """Half a request is answered, too: it is no JSON, or a line that lacks only its end."""
        rest = self._framer.take_rest()
        return [partial(self._answer, rest)] if rest else []

    def _answer(self, value: bytes) -> bytes | None:
        line = jsonrpc.answer(value, self._call)
        return None if line is None else line + b"\n"


def _refusal(code: int, text: str) -> bytes:
    return jsonrpc.encode(jsonrpc.error(code, text)) + b"\n"


class BinrpcSession:
    """BINRPC on a stream: a packet for each packet.

    Args:
        call: ``Methods.call``.
    """

    def __init__(self, call: jsonrpc.Call) -> None:
        self._call = call
        self._framer = binrpc.BinrpcFramer()
        self.is_over = False

    @property
    def is_inside(self) -> bool:
        """Whether a packet has begun that has not ended."""
        return self._framer.is_inside

    def receive_data(self, data: bytes) -> Sequence[Job]:
        """Take bytes, give what is to be done."""
        jobs: list[Job] = []
        try:
            jobs.extend(partial(self._answer, packet) for packet in self._framer.receive_data(data))
        except DecodeError as error:
            self.is_over = True  # where the next packet begins is not known
            jobs.append(partial(_fault, b"\0", BAD_REQUEST, f"bad request: {error.reason}"))
        return jobs

    def end(self) -> Sequence[Job]:
        """Half a packet has no answer."""
        return []

    def _answer(self, packet: binrpc.Packet) -> bytes:
        try:
            name, *params = _request(packet)
            result = self._call(name, params)
        except DecodeError as error:
            return _fault(packet.cookie, BAD_REQUEST, f"bad request: {error.reason}")
        except UnknownMethod as error:
            return _fault(packet.cookie, INTERNAL, f"command {error} not found")
        except Fault as fault:
            return _fault(packet.cookie, fault.code, fault.text)
        values = result if isinstance(result, Rows) else [result]
        return binrpc.encode_packet(binrpc.REPLY, packet.cookie, binrpc.encode_values(values))


def _request(packet: binrpc.Packet) -> list[Any]:
    """The method's name and its parameters."""
    if packet.kind != binrpc.REQUEST:
        raise DecodeError("kind")
    values = binrpc.decode_values(packet.payload)
    if not values or not isinstance(values[0], str):
        raise DecodeError("method")
    return values


def _fault(cookie: bytes, code: int, text: str) -> bytes:
    return binrpc.encode_packet(binrpc.FAULT, cookie, binrpc.encode_values([code, text]))
