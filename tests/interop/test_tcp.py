"""SIP over TCP and WebSocket: what tshark finds in the same captures, and calls of a real SIPp."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipcap.wire.tcp import Segment
from tests.support.packets import pcap
from tests.support.tcp import (
    CLIENT_PORT,
    FIRST_US,
    MASK,
    PING,
    SWITCHED,
    UPGRADE,
    Side,
    Talk,
    cut,
    frame_of,
    ws_deflated,
    ws_fragments,
    ws_frame,
)

from . import product, sipp, tshark
from .processes import WAIT_S, running, wait_until
from .tshark import Seen

_OPTIONS = ("-o", "tcp.reassemble_out_of_order:TRUE")
_HTTP_PORT = 80


def _request(method: str, number: int, body: bytes = b"") -> bytes:
    head = (
        f"{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{number}\r\n"
        f"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: {number}@example.com\r\n"
        f"CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _reply(number: int, method: str = "INVITE") -> bytes:
    return (
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{number}\r\n"
        f"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>;tag=2\r\nCall-ID: {number}@example.com\r\n"
        f"CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


A, B, C = _request("INVITE", 1, b"text\r\n" * 40), _request("MESSAGE", 2, b"hello"), _request("BYE", 3)
LARGE = _request("MESSAGE", 4, b"0123456789" * 2_000)
R, S = _reply(1), _reply(3, "BYE")


def _swapped(talk: Talk, *pairs: int) -> Talk:
    """Neighbours among the segments change places, as on mirror ports that are merged."""
    segments = talk.segments
    for at in pairs:
        one, other = segments[at], segments[at + 1]
        segments[at], segments[at + 1] = other._replace(ts_us=one.ts_us), one._replace(ts_us=other.ts_us)
    return talk


def _repeated(talk: Talk, *places: int) -> Talk:
    """Segments come a second time, later."""
    for at in places:
        talk.segments.append(talk.segments[at]._replace(ts_us=talk.ts_us))
    return talk


def _websocket(*more: bytes) -> Talk:
    talk = Talk(server=Side("192.0.2.2", _HTTP_PORT, 77)).open().ask(UPGRADE).answer(SWITCHED)
    return talk.ask(ws_frame(A, mask=MASK), *more).answer(ws_frame(R)).ask(ws_frame(C, mask=MASK)).answer(ws_frame(S))


CAPTURES: dict[str, Talk] = {
    "a call": Talk().open().ask(A).answer(R).ask(C).answer(S).close(),
    "in many segments": Talk()
    .open()
    .ask(*cut(A + B, 9, 100, 400))
    .answer(*cut(R, 50))
    .ask(*cut(LARGE, *range(1_400, 20_000, 1_400)))
    .close(),
    "several in a segment": Talk().open().ask(A + B + C).answer(R + S).close(),
    "over the ends of segments": Talk().open().ask(A + B[:90], B[90:] + C[:20], C[20:]).answer(R).close(),
    "keep-alives": Talk().open().ask(A).ask(b"\r\n\r\n").answer(R).ask(C).close(),
    "out of order": _swapped(Talk().open().ask(*cut(A + B + C, 100, 300, 500, 700)).answer(R).close(), 3, 5),
    "retransmitted": _repeated(Talk().open().ask(A, B).answer(R), 3, 4, 5),
    "picked up": Talk().ask(A, B).answer(R).ask(C),
    "ipv6": Talk(Side("2001:db8::1", CLIENT_PORT, 5), Side("2001:db8::2", 5060, 6)).open().ask(A).answer(R).close(),
    "numbers that wrap": Talk(Side("192.0.2.1", CLIENT_PORT, 0xFFFF_FF00)).open().ask(A, B, C).answer(R).close(),
    "websocket": _websocket().close(),
    "websocket in pieces": _websocket(*cut(ws_frame(B, mask=MASK), 5, 90), ws_frame(b"", PING, mask=MASK)).close(),
    "websocket fragments": _websocket(b"".join(ws_fragments(B, [60, 130], mask=MASK))).close(),
}


def _written(path: Path, segments: list[Segment]) -> Path:
    path.write_bytes(pcap((each.ts_us, frame_of(each)) for each in segments))
    return path


def _replayed(capture: Path) -> list[Seen]:
    return [Seen(record["method"], record["callid"]) for record in product.replay(capture)]


@pytest.mark.parametrize("name", CAPTURES)
def test_replay_of_streams_sees_what_tshark_sees(tshark_here: None, tmp_path: Path, name: str) -> None:
    """The same messages, as many times as tshark finds them."""
    capture = _written(tmp_path / "streams.pcap", CAPTURES[name].segments)
    seen = tshark.read(capture, _OPTIONS)
    assert seen
    assert Counter(_replayed(capture)) == Counter(seen)


def test_replay_of_any_order_sees_what_tshark_sees_in_order(tshark_here: None, tmp_path: Path) -> None:
    """However the segments are mixed up and repeated, the messages are those of the orderly capture."""
    talk = (
        Talk().open().ask(*cut(A + B + C + LARGE, 50, 333, 600, 900, *range(1_400, 20_000, 1_400))).answer(R, S).close()
    )
    seen = tshark.read(_written(tmp_path / "orderly.pcap", talk.segments), _OPTIONS)
    chance = random.Random(5)
    for number in range(5):
        mixed = talk.segments + chance.sample(talk.segments[3:], 6)
        chance.shuffle(mixed)
        mixed = [each._replace(ts_us=FIRST_US + at * 100) for at, each in enumerate(mixed)]
        assert Counter(_replayed(_written(tmp_path / f"{number}.pcap", mixed))) == Counter(seen)


MORE: dict[str, tuple[Talk, list[Seen], str]] = {
    "lost segment": (
        Talk().open().ask(A, B[:60]).lose(20).ask(B[80:] + C).acknowledge().wait(1).ask(A),
        [Seen("INVITE", "1@example.com"), Seen("BYE", "3@example.com"), Seen("INVITE", "1@example.com")],
        "sipcap looks for the next start line behind a gap",
    ),
    "deflated websocket": (
        _websocket(*ws_deflated([B], mask=MASK)),
        [
            Seen(method, f"{number}@example.com")
            for method, number in (("INVITE", 1), ("MESSAGE", 2), ("200", 1), ("BYE", 3), ("200", 3))
        ],
        "sipcap inflates what RSV1 says is deflated, also where the handshake does not tell",
    ),
    "picked-up websocket": (
        Talk(server=Side("192.0.2.2", _HTTP_PORT, 77)).ask(ws_frame(A, mask=MASK)).answer(ws_frame(R)),
        [Seen("INVITE", "1@example.com"), Seen("200", "1@example.com")],
        "sipcap knows frames of WebSocket without their handshake",
    ),
    "unusual port": (
        Talk(server=Side("192.0.2.2", 15_060, 77)).open().ask(A).answer(R).close(),
        [Seen("INVITE", "1@example.com"), Seen("200", "1@example.com")],
        "sipcap knows SIP by its content",
    ),
}


@pytest.mark.parametrize("name", MORE)
def test_replay_of_streams_sees_more_than_tshark_for_a_reason(tshark_here: None, tmp_path: Path, name: str) -> None:
    """Where the two differ, sipcap has all that tshark has, and more."""
    talk, messages, reason = MORE[name]
    capture = _written(tmp_path / "streams.pcap", talk.segments)
    assert Counter(_replayed_in_part(capture)) == Counter(messages), reason
    assert Counter(tshark.read(capture, _OPTIONS)) <= Counter(messages)


def _replayed_in_part(capture: Path) -> list[Seen]:
    """As ``_replayed``, for captures with a gap: a message that is lost makes it exit 1."""
    try:
        return _replayed(capture)
    except subprocess.CalledProcessError as error:
        assert error.returncode == 1, error.stderr
        return [Seen(record["method"], record["callid"]) for record in product.records_of(error.stdout)]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _is_listening(port: int) -> bool:
    """Tell whether somebody listens on a TCP port, without connecting to it."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


@contextmanager
def _capturing(folder: Path, port: int) -> Iterator[Path]:
    """Capture one TCP port of loopback into a file, all of it when this ends."""
    capture, log = folder / "calls.pcap", folder / "tcpdump.log"
    argv = ["tcpdump", "-i", "lo", "-U", "-w", str(capture), "--immediate-mode", "tcp", "port", str(port)]
    if Path("/proc/self").stat().st_uid == 0:
        argv[1:1] = ["-Z", "root"]  # else it gives up root, and with it the folder
    with running(argv, log) as process:
        wait_until(lambda: process.poll() is not None or b"listening on" in log.read_bytes(), "tcpdump")
        if process.poll() is not None:
            pytest.skip(f"tcpdump may not capture: {log.read_text(errors='replace')}")
        yield capture


@contextmanager
def _callee(folder: Path, port: int) -> Iterator[None]:
    argv = [sipp.executable() or "sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-t", "t1", "-nostdin"]
    with running(argv, folder / "callee.log") as process:
        wait_until(lambda: process.poll() is not None or _is_listening(port), "the SIPp callee")
        assert process.poll() is None
        yield


@pytest.mark.parametrize("connections", ["one", "one a call"])
def test_replay_of_sipp_calls_over_tcp_has_every_message(sipp_here: None, tmp_path: Path, connections: str) -> None:
    """SIPp's calls over TCP, captured on loopback, give as many messages as SIPp has sent and received."""
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump is not here")
    calls, port = 40, _free_port()
    transport = ["-t", "t1"] if connections == "one" else ["-t", "tn", "-max_socket", "500"]
    caller = [
        sipp.executable() or "sipp",
        "-sn",
        "uac",
        "-i",
        "127.0.0.1",
        "-p",
        str(_free_port()),
        *transport,
        "-nostdin",
    ]
    caller += ["-m", str(calls), "-r", "40", "-d", "10", f"127.0.0.1:{port}"]
    with _callee(tmp_path, port), _capturing(tmp_path, port) as capture:
        subprocess.run(
            caller, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, cwd=tmp_path, timeout=WAIT_S
        )
        _wait_for_quiet(capture)
    records = product.replay(capture)
    methods = Counter(record["method"] for record in records)
    assert methods == {"INVITE": calls, "180": calls, "200": 2 * calls, "ACK": calls, "BYE": calls}
    assert len(records) == calls * sipp.MESSAGES_A_CALL
    assert {record["proto"] for record in records} == {2}
    assert len({record["callid"] for record in records}) == calls


def _wait_for_quiet(capture: Path) -> None:
    sizes = [-1]

    def is_quiet() -> bool:
        sizes.append(capture.stat().st_size)
        return len(sizes) > 100 and sizes[-1] == sizes[-100]

    wait_until(is_quiet, "the end of the capture")
