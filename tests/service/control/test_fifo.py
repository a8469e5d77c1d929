"""JSON-RPC through FIFOs: replies, and reply names that a stranger chose."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sipcap.limits import CONTROL_REQUEST_BYTES, FIFO_REPLIES
from sipcap.service.control import fifo
from sipcap.service.control.fifo import RpcFifo
from sipcap.service.control.loop import Loop
from sipcap.service.control.methods import Methods
from sipcap.service.control.sockets import make_fifo
from tests.support.background import wait_for
from tests.support.controlling import SmallService


@pytest.fixture
def service() -> SmallService:
    """What is asked."""
    return SmallService()


@pytest.fixture
def replies(tmp_path: Path) -> Path:
    """The folder for replies."""
    folder = tmp_path / "replies"
    folder.mkdir()
    return folder


@pytest.fixture
def path(tmp_path: Path, service: SmallService, replies: Path) -> Iterator[Path]:
    """The FIFO of a server that runs."""
    path = tmp_path / "rpc.fifo"
    with running(path, service, replies):
        yield path


@contextmanager
def running(path: Path, service: SmallService, replies: Path) -> Iterator[None]:
    """A server with a folder of its own for replies."""
    loop = Loop("fifo")
    descriptor, place = make_fifo(str(path), None)
    loop.add(RpcFifo(loop, descriptor, Methods(service).call, place, str(replies)))
    loop.start()
    try:
        yield
    finally:
        loop.close()


def request(word: str, reply_name: Any = None, **members: Any) -> bytes:
    """A request as kamctl writes it."""
    named = {} if reply_name is None else {"reply_name": reply_name}
    return json.dumps({
        "jsonrpc": "2.0", "method": "sipcapture.status", "params": [word], **named, "id": 1, **members,
    }).encode() + b"\n"  # fmt: skip


def write(path: Path, data: bytes) -> None:
    """Write into a FIFO that is read."""
    with path.open("wb") as stream:
        stream.write(data)


def ask(path: Path, replies: Path, data: bytes, name: str = "reply") -> Any:
    """Make a reply FIFO, ask, and read the answer to its end."""
    os.mkfifo(replies / name)
    write(path, data)
    answer = (replies / name).read_bytes()
    (replies / name).unlink()
    return json.loads(answer)


def is_answering(path: Path, replies: Path) -> bool:
    """Whether a client is served."""
    return bool(ask(path, replies, request("check", "is_answering"), "is_answering")["id"] == 1)


def test_fifo_answers_into_the_fifo_that_is_named(path: Path, replies: Path) -> None:
    """And closes it, so that its reader sees an end."""
    answer = ask(path, replies, request("check", "reply"))
    assert answer == {"jsonrpc": "2.0", "result": "Enabled", "id": 1}


def test_fifo_takes_requests_over_several_lines(path: Path, replies: Path) -> None:
    """As kamctl monitor writes them."""
    value = json.loads(request("bogus", "reply"))
    assert ask(path, replies, json.dumps(value, indent=2).encode())["error"]["code"] == 500


def test_fifo_takes_requests_of_several_clients(path: Path, replies: Path) -> None:
    """Whatever is in the FIFO together is answered one by one."""
    for name in ("a", "b"):
        os.mkfifo(replies / name)
    write(path, request("check", "a", id=1) + request("bogus", "b", id=2))
    assert json.loads((replies / "a").read_bytes())["result"] == "Enabled"
    assert json.loads((replies / "b").read_bytes())["error"]["code"] == 500


def test_fifo_carries_out_a_request_without_a_reply_name(path: Path, service: SmallService) -> None:
    """There is nobody to answer."""
    write(path, request("off"))
    wait_for(lambda: not service.capture_is_on(), "switching off")


def test_fifo_waits_for_a_reader_that_comes_late(path: Path, replies: Path) -> None:
    """A client may open its FIFO behind its request."""
    os.mkfifo(replies / "reply")
    write(path, request("check", "reply"))
    time.sleep(0.2)
    assert json.loads((replies / "reply").read_bytes())["result"] == "Enabled"


def test_fifo_with_a_slow_reader_serves_others(path: Path, replies: Path, service: SmallService) -> None:
    """A long answer goes out as it is taken, whole."""
    service.errors = [{"ts_us": 1, "text": "x" * 300_000}]
    os.mkfifo(replies / "slow")
    descriptor = os.open(replies / "slow", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(path, request("x", "slow", method="sipcapture.stats"))
        assert is_answering(path, replies)
        found = b""
        os.set_blocking(descriptor, True)
        while piece := os.read(descriptor, 10_000):
            found += piece
        assert json.loads(found)["result"]["errors"] == service.errors
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "a\nb", "x" * 300, 5, [], {"a": 1}, True]
)
def test_fifo_with_a_name_that_is_none_answers_nobody(path: Path, replies: Path, name: Any) -> None:
    """Nothing outside the folder is touched, and the server goes on."""
    os.mkfifo(replies.parent / "outside")
    outside = os.open(replies.parent / "outside", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(path, request("check", name))
        assert is_answering(path, replies)
        assert os.read(outside, 100) == b""
    finally:
        os.close(outside)


def test_fifo_follows_no_link(path: Path, replies: Path) -> None:
    """A link in a folder that everybody may write to is how a stranger's file gets written."""
    target = replies.parent / "target"
    os.mkfifo(target)
    reader = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
    try:
        (replies / "reply").symlink_to(target)
        write(path, request("check", "reply"))
        assert is_answering(path, replies)
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)


def test_fifo_writes_into_no_file_and_makes_none(path: Path, replies: Path) -> None:
    """A reply FIFO is there before it is asked for, or there is no reply."""
    (replies / "file").write_text("precious")
    write(path, request("check", "file") + request("check", "nothing"))
    assert is_answering(path, replies)
    assert (replies / "file").read_text() == "precious"
    assert not (replies / "nothing").exists()


def test_fifo_gives_up_replies_without_readers(
    path: Path, replies: Path, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """Their number is bounded, and after a while there is room again."""
    monkeypatch.setattr(fifo, "_REPLY_S", 0.3)
    for number in range(FIFO_REPLIES + 4):
        os.mkfifo(replies / f"{number}")
        write(path, request("check", f"{number}"))
    wait_for(lambda: "too many are on their way" in log.text or "no reader" in log.text, "giving up")
    time.sleep(0.5)
    assert is_answering(path, replies)


@pytest.mark.parametrize("junk", [b"junk\n", b"\xff\xfe\n", b"{}}\n", b"[1]\n", b'{"a":\n}\n', b"[" * 999, b"\n\n"])
def test_fifo_goes_on_behind_junk(path: Path, replies: Path, junk: bytes) -> None:
    """What cannot be read is logged and skipped."""
    write(path, junk)
    time.sleep(0.05)
    write(path, b"\n" + request("check"))
    assert is_answering(path, replies)


def test_fifo_forgets_half_a_request(path: Path, replies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a client that was killed; the next one is not taken for its rest."""
    monkeypatch.setattr(fifo, "CONTROL_STALLED_S", 0.2)
    write(path, b'{"jsonrpc": "2.0", "method": "')
    time.sleep(1.5)
    assert is_answering(path, replies)


def test_fifo_flooded_keeps_its_bounds(path: Path, replies: Path) -> None:
    """A writer of endless junk is slowed down by the FIFO itself; others get through between."""
    stop = threading.Event()

    def flood() -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        while not stop.is_set():
            try:
                os.write(descriptor, b"x" * 4000 + b"\n")
            except BlockingIOError:
                time.sleep(0.001)
        os.close(descriptor)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        assert all(is_answering(path, replies) for _ in range(3))
    finally:
        stop.set()
        thread.join()
    write(path, b"{" + b" " * CONTROL_REQUEST_BYTES + b"\n")
    assert is_answering(path, replies)
