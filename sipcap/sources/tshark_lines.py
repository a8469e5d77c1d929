"""What tshark says of a packet, as messages: the lines of ``tshark -T ek -x``.

In that form each layer comes with its bytes (``sip_raw``), which are those of the message exactly, reassembled and
decrypted; several messages in one packet are a list. ``-T json`` has keys twice then, ``-T fields`` no bytes at all,
and ``-T pdml`` is several times as long.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from sipcap.errors import DecodeError
from sipcap.wire.hep3 import AF_INET, AF_INET6
from sipcap.wire.message import Message

LAYERS: Final = "frame eth sll vlan ip ipv6 udp tcp sctp sip"
"""What tshark is asked to write: the layers that are looked at here."""

_PROTOCOLS: Final = {"udp": 17, "tcp": 6, "sctp": 132}
_TLS: Final = 22
"""As HEP agents send it; IANA has no number for it."""

_SECURE: Final = frozenset({"tls", "dtls"})

Layer = dict[str, Any]


class _Layers(Struct):
    frame: Layer
    eth: Layer | list[Layer] | None = None
    sll: Layer | list[Layer] | None = None
    vlan: Layer | list[Layer] | None = None
    ip: Layer | list[Layer] | None = None
    ipv6: Layer | list[Layer] | None = None
    udp: Layer | list[Layer] | None = None
    tcp: Layer | list[Layer] | None = None
    sctp: Layer | list[Layer] | None = None
    sip_raw: str | list[str] | None = None


class _Line(Struct):
    layers: _Layers | None = None


class SeenPacket(Struct):
    """One packet.

    Its time, how many bytes of it were captured and sent, the SIP messages in it, what carries them (``udp``, ``tcp``,
    ``sctp``, ``tls`` or ""), and a datagram that is no SIP, as a message of its own.
    """

    ts_us: int
    captured: int
    length: int
    messages: list[Message]
    transport: str
    other: Message | None


_decode = msgspec.json.Decoder(_Line).decode


def decode_line(line: bytes) -> SeenPacket | None:
    """Decode one line; None if it tells of no packet (every other line is an index for Elasticsearch).

    Raises:
        DecodeError: ``tshark``: it has not the form that tshark writes.
    """
    try:
        layers = _decode(line).layers
        return None if layers is None else _packet(layers)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, IndexError):
        raise DecodeError("tshark") from None


def _packet(layers: _Layers) -> SeenPacket:
    frame = layers.frame
    ts_us = _time(frame["frame_frame_time_epoch"]) or 1  # 0 would say that there is none, as in the native reader
    protocols = frame["frame_frame_protocols"].split(":")
    transport = next((name for name in reversed(protocols) if name in _PROTOCOLS), "")
    ports = _last(getattr(layers, transport)) if transport else {}
    message = Message(
        b"",
        ts_us,
        source_port=_number(ports.get(f"{transport}_{transport}_srcport", 0)),
        destination_port=_number(ports.get(f"{transport}_{transport}_dstport", 0)),
        ip_protocol=_TLS if _SECURE & set(protocols) else _PROTOCOLS.get(transport, 0),
        extra={},
    )
    _add_network(message, layers, protocols)
    _add_link(message, layers, protocols)
    payloads = [bytes.fromhex(text) for text in _all(layers.sip_raw)]
    other = None
    if transport == "udp" and message.ip_protocol != _TLS:
        # A datagram is a message, whatever Content-Length says of it; tshark's ends there.
        datagram = bytes.fromhex(_last(ports.get("udp_udp_payload_raw", "")))
        if payloads:
            payloads = [datagram]
        else:
            other = msgspec.structs.replace(message, payload=datagram)
    messages = [msgspec.structs.replace(message, payload=each, extra=dict(message.extra or {})) for each in payloads]
    captured, length = _number(frame["frame_frame_cap_len"]), _number(frame["frame_frame_len"])
    return SeenPacket(ts_us, captured, length, messages, "tls" if message.ip_protocol == _TLS else transport, other)


def _add_network(message: Message, layers: _Layers, protocols: list[str]) -> None:
    """Addresses and the type of service of the innermost IP packet."""
    network = next((name for name in reversed(protocols) if name in ("ip", "ipv6")), "")
    if not network:
        return
    layer = _last(getattr(layers, network))
    message.family = AF_INET if network == "ip" else AF_INET6
    message.source_ip = _last(layer[f"{network}_{network}_src"])
    message.destination_ip = _last(layer[f"{network}_{network}_dst"])
    tos = layer.get("ip_ip_dsfield" if network == "ip" else "ipv6_ipv6_tclass")
    if tos is not None and message.extra is not None:
        message.extra["tos"] = _number(tos)


def _add_link(message: Message, layers: _Layers, protocols: list[str]) -> None:
    """VLAN and MAC addresses of the frame as it was captured, not of one in a tunnel, in the native reader's order."""
    fields: dict[str, Any] = {}
    first_ip = next((at for at, name in enumerate(protocols) if name in ("ip", "ipv6")), len(protocols))
    outer = protocols[:first_ip]
    if tags := outer.count("vlan"):
        number = _number(_layer(layers.vlan, tags - 1)["vlan_vlan_id"])
        if number:
            fields["vlan"] = number
    if "eth" in outer and layers.eth:
        ethernet = _layer(layers.eth, 0)
        fields["source_mac"] = _last(ethernet["eth_eth_src"])
        fields["destination_mac"] = _last(ethernet["eth_eth_dst"])
    elif "sll" in outer and "sll_sll_src_eth" in (cooked := _layer(layers.sll, 0)):
        fields["source_mac"] = _last(cooked["sll_sll_src_eth"])
    message.extra = fields | (message.extra or {})


def _layer(value: Layer | list[Layer] | None, number: int) -> Layer:
    """One of the layers of a kind, counted from the outside."""
    found = value if isinstance(value, list) else [value or {}]
    return found[number]


def _all(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _last(value: Any) -> Any:
    """The innermost of what may be there several times."""
    return value[-1] if isinstance(value, list) else value


def _number(value: Any) -> int:
    return int(str(_last(value)), 0)


def _time(text: str) -> int:
    """Seconds since 1970 with nine decimals, or (tshark 4.2 and newer) a date and time in UTC, to microseconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    micros = int((fraction + "000000")[:6])
    if "T" in whole:
        whole = str(int(datetime.fromisoformat(f"{whole}+00:00").timestamp()))
    elif whole.startswith("-"):
        micros = -micros  # before 1970
    return int(whole) * 1_000_000 + micros
