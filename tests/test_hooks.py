"""Hooks: how they are loaded, and what they see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipcap.counters import Counters
from sipcap.errors import CannotStart, DecodeError
from sipcap.extract import Extractor
from sipcap.hooks import Request, load_hook
from sipcap.record import ReportRecord, SipRecord
from sipcap.sources.hep_gate import HepGate
from tests.support.messages import BASE_TS_US, chunk, hep3, hep3_with, hep12, sip, usual_chunks


def request_of(data: bytes) -> Request:
    """The request for the one message of a datagram."""
    (message,) = HepGate(Counters()).decode([data])
    return Request(message, BASE_TS_US, Extractor())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with hooks in it; the search path of modules is as before behind the test."""
    monkeypatch.chdir(tmp_path)
    import sys

    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "helper_of_hook.py").write_text("ANSWER = 41\n")
    (tmp_path / "sub" / "file.py").write_text(
        "import helper_of_hook\nprint('loading')\n"
        "def on(request):\n    return helper_of_hook.ANSWER\n"
        "class Counter:\n    def __call__(self, request):\n        return 7\n    def method(self, request):\n"
        "        return 8\ncounter = Counter()\nnumber = 5\nasync def later(request):\n    return 1\n"
        "def many(request):\n    yield 1\n"
    )
    (tmp_path / "module_hook.py").write_text("def on(request):\n    return 43\n")
    (tmp_path / "bad_syntax.py").write_text("def on(:\n")
    (tmp_path / "bad_exit.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "bad_zero.py").write_text("\n\n1 / 0\n")
    return tmp_path


@pytest.mark.parametrize(("text", "answer"), [
    ("sub/file.py:on", 41), ("sub/file.py:counter", 7), ("sub/file.py:counter.method", 8), ("module_hook:on", 43),
    ("./module_hook.py:on", 43),
])  # fmt: skip
def test_hook_is_found_in_files_and_modules(folder: Path, text: str, answer: int, capsys: Any) -> None:
    """A file's own folder is searched for what it imports; what it prints is no record."""
    hook = load_hook(text)
    assert (hook.text, hook.call(request_of(hep3_with(sip())))) == (text, answer)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("text", "why"), [
    ("module_hook", "must be MODULE:CALLABLE"),
    (":on", "must be MODULE:CALLABLE"),
    ("module_hook:", "must be MODULE:CALLABLE"),
    ("nowhere.py:on", "No such file"),
    ("sub.py/file.py:on", "No such file"),
    (".py:on", "No such file"),
    ("no_such_module:on", "ModuleNotFoundError"),
    ("sub/file.py:no", "no attribute 'no'"),
    ("sub/file.py:counter.no", "no attribute 'no'"),
    ("sub/file.py:number", "number cannot be called"),
    ("sub/file.py:later", "neither async nor a generator"),
    ("sub/file.py:many", "neither async nor a generator"),
    ("bad_syntax.py:on", r"cannot be loaded: SyntaxError"),
    ("bad_exit.py:on", r"cannot be loaded: SystemExit: 3 \(bad_exit.py:2\)"),
    ("bad_zero.py:on", r"cannot be loaded: ZeroDivisionError: division by zero \(bad_zero.py:3\)"),
    ("bad_zero:on", r"cannot be loaded: ZeroDivisionError: division by zero \(bad_zero.py:3\)"),
    ("\0.py:on", "cannot be loaded: ValueError"),
])  # fmt: skip
def test_hook_that_cannot_be_loaded_says_why(folder: Path, text: str, why: str) -> None:
    """One line, with the place in the user's own file."""
    with pytest.raises(CannotStart, match=why) as caught:
        load_hook(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["module_hook:on", "module_hook.py:on"])
def test_hook_that_has_changed_is_read_again(folder: Path, text: str) -> None:
    """A reload takes the new code; one that cannot be loaded leaves the old hook as it was."""
    request = request_of(hep3_with(sip()))
    first = load_hook(text)
    (folder / "module_hook.py").write_text("def on(request):\n    return 1_000\n")
    second = load_hook(text)
    (folder / "module_hook.py").write_text("def on(request):\n    return 1_000_000\nraise KeyError\n")
    with pytest.raises(CannotStart, match="KeyError"):
        load_hook(text)
    assert [hook.call(request) for hook in (first, second)] == [43, 1_000]


def test_request_tells_the_message() -> None:
    """Addresses, type and text of the message, and what HEP says of it."""
    request = request_of(hep3_with(sip(), chunk(17, b"cid")))
    assert request.event == "sipcapture:request"
    assert (request.source_ip, request.source_port) == ("10.1.1.1", 5061)
    assert (request.destination_ip, request.destination_port) == ("10.2.2.2", 5062)
    assert (request.payload_type, request.capture_id, request.correlation_id) == (1, 2001, "cid")
    assert request.message == sip()
    assert [request.hep("version"), request.hep(0x011), request.hep("0x011"), request.hep("00017")] == [3, *["cid"] * 3]
    assert (request.hep("0x00f"), request.hep(0x012), request.hep(17, vendor=5)) == (sip(), None, None)
    assert request_of(hep12(sip())).hep("version") == 1
    with pytest.raises(ValueError, match="unknown hep name 'src_ip'"):
        request.hep("src_ip")


def test_request_record_is_a_copy_of_what_is_stored() -> None:
    """A hook that plays with it stores nothing else."""
    request = request_of(hep3_with(sip()))
    record = request.record
    assert isinstance(record, SipRecord)
    assert (record.method, record.callid, record.node) == ("INVITE", "abc123@host", "homer01:2001")
    record.method = "PLAY"
    assert (request.record.method, request.extracted().method) == ("INVITE", "INVITE")  # type: ignore[union-attr]
    assert request.extracted() is request.extracted()


def test_request_record_of_a_report() -> None:
    """Other HEP types have the columns of a report."""
    record = request_of(hep3(*usual_chunks(payload_type=5), chunk(15, b"{}"))).record
    assert isinstance(record, ReportRecord)
    assert (record.msg, record.type) == ("{}", 3)


def test_request_record_of_no_message_has_a_reason() -> None:
    """Junk in HEP is rejected as without a hook."""
    with pytest.raises(DecodeError, match="not_sip"):
        _ = request_of(hep3_with(b"junk")).record


def test_request_gives_nothing_to_change() -> None:
    """What it says of the envelope is read only."""
    request = request_of(hep3_with(sip()))
    for name in ("source_ip", "message", "payload_type", "event", "anything"):
        with pytest.raises(AttributeError):
            setattr(request, name, "x")
