"""JSON-RPC 2.0 (jsonrpc.org/specification, 2013-01-04): bytes of requests in, bytes of the answer out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from sipcap.limits import CONTROL_BATCH_REQUESTS, CONTROL_JSON_DEPTH, CONTROL_REQUEST_BYTES
from sipcap.service.control.methods import Fault, UnknownMethod

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601

Call = Callable[[str, Sequence[Any]], Any]
"""``Methods.call``."""

_MARKS: Final = re.compile(rb'["{}\[\]]')
_STRING_END: Final = re.compile(rb'["\\]')
_BLANKS: Final = re.compile(rb"[ \t\r\n]*")
_OPENING: Final = (b"{", b"[")


class Overlong(Exception):
    """A request has more bytes, or more brackets open, than any that makes sense."""


class JsonFramer:
    """Cuts a byte stream into JSON values, one a line or without anything between them.

    What begins with no bracket is cut at the end of its line, so that whoever decodes it can say what it is.
    Every byte is looked at once.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # how far it has been looked at
        self._depth = 0
        self._in_string = False

    @property
    def is_inside(self) -> bool:
        """Whether a value has begun that has not ended."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, give the values that are whole.

        Raises:
            Overlong: nothing more can be taken from this stream.
        """
        self._buffer += data
        while True:
            end = self._find_end()
            if end is None:
                if len(self._buffer) > CONTROL_REQUEST_BYTES:
                    raise Overlong
                return
            value = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._at = 0
            if len(value) > CONTROL_REQUEST_BYTES:
                raise Overlong
            yield value

    def take_rest(self) -> bytes:
        """What has begun and will not go on; the framer is as new."""
        rest = bytes(self._buffer)
        self._reset()
        return rest

    def _find_end(self) -> int | None:
        """Where the first value ends, as far as it is there."""
        if not self._at:
            blanks = _BLANKS.match(self._buffer)
            assert blanks is not None
            del self._buffer[: blanks.end()]
        if not self._buffer.startswith(_OPENING):
            end = self._buffer.find(b"\n", self._at)
            self._at = len(self._buffer)
            return None if end < 0 else end
        return self._find_closing()

    def _find_closing(self) -> int | None:
        """Go through brackets and strings until the first bracket is closed."""
        while True:
            match = (_STRING_END if self._in_string else _MARKS).search(self._buffer, self._at)
            if match is None:
                self._at = len(self._buffer)
                return None
            self._at, mark = match.end(), match[0]
            if mark == b"\\":
                if self._at == len(self._buffer):
                    self._at -= 1  # what is escaped has not come
                    return None
                self._at += 1
            elif mark == b'"':
                self._in_string = not self._in_string
            elif mark in b"{[":
                self._depth += 1
                if self._depth > CONTROL_JSON_DEPTH:
                    raise Overlong
            else:
                self._depth -= 1
                if not self._depth:
                    return self._at


def answer(data: bytes, call: Call) -> bytes | None:
    """Carry out one request or one batch.

    Args:
        data: one JSON value, as bytes; not deeper than ``JsonFramer`` lets through.
        call: what a method does.

    Returns:
        The answer as one line without its end; None for notifications.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return encode(error(PARSE_ERROR, "Parse error"))
    return answer_value(value, call)


def answer_value(value: Any, call: Call) -> bytes | None:
    """Carry out a request or batch that has been decoded; as ``answer``."""
    if not isinstance(value, list):
        single = _answer_one(value, call)
        return None if single is None else encode(single)
    if not value:
        return encode(error(INVALID_REQUEST, "Invalid Request: an empty batch"))
    if len(value) > CONTROL_BATCH_REQUESTS:
        return encode(error(INVALID_REQUEST, f"Invalid Request: more than {CONTROL_BATCH_REQUESTS} in a batch"))
    answers = [one for request in value if (one := _answer_one(request, call)) is not None]
    return encode(answers) if answers else None


def error(code: int, text: str, request_id: Any = None) -> dict[str, Any]:
    """An answer that says what went wrong."""
    return {"jsonrpc": "2.0", "error": {"code": code, "message": text}, "id": request_id}


def encode(value: Any) -> bytes:
    """An answer as one line without its end."""
    return msgspec.json.encode(value)


def _answer_one(request: Any, call: Call) -> dict[str, Any] | None:
    if not isinstance(request, dict):
        return error(INVALID_REQUEST, "Invalid Request: no object")
    request_id = request.get("id")
    if isinstance(request_id, (bool, list, dict)):
        return error(INVALID_REQUEST, "Invalid Request: id is neither a string nor a number")
    name, params = request.get("method"), request.get("params", [])
    if request.get("jsonrpc") != "2.0" or not isinstance(name, str) or not isinstance(params, (list, dict)):
        return error(INVALID_REQUEST, "Invalid Request", request_id)
    reply = _call(name, params, request_id, call)
    return reply if "id" in request else None


def _call(name: str, params: list[Any] | dict[str, Any], request_id: Any, call: Call) -> dict[str, Any]:
    # Kamailio takes an object as the row of its values; the names mean nothing.
    values = list(params.values()) if isinstance(params, dict) else params
    try:
        return {"jsonrpc": "2.0", "result": call(name, values), "id": request_id}
    except UnknownMethod:
        return error(METHOD_NOT_FOUND, "Method not found", request_id)
    except Fault as fault:
        return error(fault.code, fault.text, request_id)


__all__ = [
    "INVALID_REQUEST", "METHOD_NOT_FOUND", "PARSE_ERROR", "Call", "JsonFramer", "Overlong", "answer", "answer_value",
    "encode", "error",
]  # fmt: skip
