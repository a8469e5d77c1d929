"""What fuzzing begins with: a few good inputs of each target, made by the builders of the other tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from backports import zstd

from sipcap.service.control.binrpc import encode_packet, encode_values
from sipcap.wire.rtcp import decode_rtcp
from tests.conftest import ROOT
from tests.fuzz.cutting import packed
from tests.fuzz.packets import LINKS
from tests.support import packets as p
from tests.support import rtcp, tcp
from tests.support.layered import CASES, SEGMENT_CASES, two_segments
from tests.support.messages import chunk, hep3, hep3_datagram, hep3_with, hep12, reply, sip, sip_message
from tests.support.records import line_of, report_record, sip_record
from tests.support.topoh import masked

_CORPUS: Final = ROOT.parent / "shared" / "corpus"
_MAX_FILE_BYTES: Final = 65_536
_SDP: Final = (
    b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:4001 IN IP4 10.0.0.2\r\na=ssrc:7 cname:x\r\n"
)
_RTCP: Final = (
    rtcp.sender_report(blocks=[rtcp.block()]) + rtcp.sdes((1, [(1, b"name")])) + rtcp.bye(reason=b"over"),
    rtcp.receiver_report() + rtcp.xr(rtcp.voip()),
)
_MODES_INI: Final = b"""[sipcap]
capture_on = 1
# comment
table_name = sip_capture_%Y%m%d
  |other

[capture_mode:mode1]
db_url = mysql://user:passwd@host/dbname1
"""
_KAMAILIO_CFG: Final = b"""#!define WITH_HOMER
#!substdef "!DB!mysql://u:p@h/d!g"
listen=udp:10.0.0.1:9060
modparam("sipcapture", "db_url", "DB")
modparam("sipcapture|x", "capture_mode", "m=>db_url=mysql://h/d;table_name=a|b;mt_mode=hash;hash_source=call_id")
#!ifdef WITH_HOMER
route { if (is_method("INVITE|BYE") && ($si == "10.0.0.1" || src_ip==10.0.0.2)) { $var(t) = "sip_%Y"; route(STORE); }
  else { sip_capture("rest"); } }
route[STORE] { sip_capture("$var(t)", "m"); }
#!endif
"""


def seeds_of(name: str) -> list[bytes]:
    """The first inputs of a target."""
    return _SEEDS[name]()


def _files(folder: str, pattern: str) -> list[bytes]:
    """The shared test inputs, where they are."""
    files: list[Path] = sorted((_CORPUS / folder).glob(pattern))
    return [data for file in files if len(data := file.read_bytes()) <= _MAX_FILE_BYTES]


def _sip() -> list[bytes]:
    return [sip_message(0), sip(body=_SDP), reply(), *_files("rfc4475", "*.dat")]


def _packets() -> list[bytes]:
    layered = [
        bytes((LINKS.index(case.link), 0)) + packed(case.frames(sip_message(0))) for case in CASES.values()
    ]  # fmt: skip
    ethernet = LINKS.index(p.ETHERNET)
    layered += [bytes((ethernet, 1)) + packed(two_segments(name, sip_message(1))) for name in SEGMENT_CASES]
    payloads = (hep3_datagram(1), hep12(sip()), *_RTCP, sip(body=_SDP))
    return layered + [bytes((ethernet, 8)) + packed([p.ethernet(p.ip4(p.udp(each)))]) for each in payloads]


def _talk() -> list[bytes]:
    handshake = packed(
        [tcp.UPGRADE, tcp.SWITCHED, tcp.ws_frame(sip(), mask=tcp.MASK), *tcp.ws_deflated([reply(), sip()])]
    )
    return [
        b"\x17" + packed([sip()[:90], reply(), sip()[90:], b"\r\n\r\n"]), b"\x17" + handshake,
        b"\x06" + packed([hep3_datagram(1), b"", hep3_datagram(2)[:50]]), b"\x06" + packed([tcp.TLS_HELLO]),
        b"\x0e" + packed([sip(headers={"Content-Length": None}, body=_SDP)] * 6),
    ]  # fmt: skip


def _segments() -> list[bytes]:
    text = sip() + reply()
    inorder = b"".join(bytes((0, 16, 0, 0, at, 64)) for at in range(0, len(text) // 8, 8))
    syn = bytes((0, 2, 0, 0, 0, 0))
    mixed = bytes((0, 16, 1, 255, 4, 40, 2, 16, 0, 0, 0, 9, 16, 17, 0, 0, 0, 200))
    return [len(text).to_bytes(2, "big") + text + end for end in (inorder, syn + inorder, syn + mixed * 3)]


def _captures() -> list[bytes]:
    frames = [(1_700_000_000_000_000 + at, p.ethernet(p.ip4(p.udp(sip_message(at))))) for at in range(3)]
    plain = [p.pcap(frames), p.pcap(frames, order=">"), p.pcapng(frames)]
    files = [
        *plain,
        *map(gzip.compress, plain),
        *map(zstd.compress, plain),
        gzip.compress(b"") + gzip.compress(plain[2]),
    ]
    return [b"\x07" + file for file in (*files, *_files("pcap", "*.pcap"))]


def _rpc() -> list[bytes]:
    one = {"jsonrpc": "2.0", "method": "sipcapture.status", "params": ["check"], "id": 1, "reply_name": "kamailio_1"}
    texts = [json.dumps(one), json.dumps(one, indent=1) + "\n", json.dumps([one, {**one, "method": "fault"}]) + "\nx\n"]
    return [text.encode() for text in texts] + [json.dumps(one).encode() + b"\n" + b"[" * 40 + b"\n{}\n"]


def _binrpc() -> list[bytes]:
    values = ["sipcapture.status", "on", 7, 70_000, 1.5, {"a": [1, 2]}]
    return [b"\x03" + encode_packet(0, b"\1\2\3\4", encode_values(values[:count])) * 2 for count in (2, 5, len(values))]


_SEEDS: Final[dict[str, Callable[[], list[bytes]]]] = {
    "hep_datagram": lambda: [
        hep3_datagram(0), hep3_datagram(1) * 2, hep12(sip()), hep12(reply(), version=2),
        hep3_with(
            sip(), chunk(0x11, b"id"), chunk(0x12, b"\0\7"), chunk(0x14, b"\0\0abcdef"), chunk(1, b"x", vendor=7)
        ),
        hep3(chunk(0x10, gzip.compress(sip())), chunk(11, b"\x05")),
    ],
    "extraction": lambda: [b"\1" + each for each in _sip()] + [b"\xc5{}"],
    "ndjson": lambda: [
        b"\4" + line_of(sip_record(0)), b"\4" + line_of(report_record(0), more=[[1]]),
        b'\7{"micro_ts":1,"msg":"INVITE sip:a SIP/2.0\\r\\n\\r\\n"}\n{\n "v": 1\n}\n',
    ],
    "rtcp": lambda: list(_RTCP),
    "rtcp_json": lambda: [json.dumps(decode_rtcp(each)).encode() for each in _RTCP],
    "media": lambda: [sip(body=_SDP), sip(body=_SDP.replace(b"\r", b""))],
    "topoh": lambda: [b"abc@host", masked(b"abc@host").encode()],
    "packets": _packets,
    "fragments": lambda: [
        bytes((4, 0, 0, 16, 0, 4, 0, 2, 16, 0, 0, 0, 4, 9, 1)), bytes((2, 0, 1, 9, 0, 6, 0, 0, 8, 4)) * 3,
    ],
    "segments": _segments,
    "streams": _talk,
    "sctp": lambda: [bytes((2, 1, 9, 0, 2, 9, 1, 3, 9)), bytes((0, 5, 9, 4, 5, 9, 0, 5, 9)) * 2],
    "hep_stream": lambda: [b"\x04" + hep3_datagram(0) * 3, b"\x0e" + hep3_datagram(0)[9:] + hep3_datagram(1)],
    "sip_stream": lambda: [
        bytes((5 + 9 * at,)) + sip(body=_SDP) + b"\r\n\r\n" + each for at, each in enumerate(_sip()[:20])
    ],
    "websocket": lambda: [
        b"\4" + tcp.ws_frame(sip(), mask=tcp.MASK) + b"".join(tcp.ws_deflated([reply(), sip()])),
        b"\5" + b"".join(tcp.ws_fragments(sip(), [30, 60])) + tcp.ws_frame(b"x", tcp.PING),
    ],
    "capture": _captures,
    "binrpc": _binrpc,
    "json_rpc": lambda: [b"\4" + each for each in _rpc()],
    "fifo": _rpc,
    "modes": lambda: [
        b"m=>db_url=mysql://u:p@h/d;table_name=a|b;mt_mode=hash;hash_source=call_id", b"m=>db_url='a b;'",
    ],
    "ini": lambda: [_MODES_INI],
    "kamailio": lambda: [_KAMAILIO_CFG],
    "endpoint": lambda: [b"udp:[::1]:9060-9070", b"tls:*:5061"],
    "patterns": lambda: [b"sip_capture_%Y%m%d|b", b"x_%G_%V", b"a%%%F%T", b"%U%Y%a"],
}  # fmt: skip
