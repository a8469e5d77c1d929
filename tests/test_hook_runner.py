"""Hooks that raise, sleep, loop, answer nonsense: the capture goes on, and every message is counted."""

from __future__ import annotations

import inspect
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from sipcap.counters import Counters
from sipcap.errors import DecodeError, HookStarved
from sipcap.extract import Extractor
from sipcap.hook_runner import DONE, GO_ON, Answer, HookFailed, HookRunner
from sipcap.hooks import Hook, Request, Route
from sipcap.limits import HOOK_MEMORY_ERRORS
from sipcap.pipeline import ExtractOptions, Intake
from sipcap.record import Record
from sipcap.wire.message import Message
from tests.conftest import ROOT
from tests.support.messages import BASE_TS_US, sip

REQUEST = Request(Message(sip(), BASE_TS_US), 0, Extractor())


@pytest.fixture
def counters() -> Counters:
    """What is counted."""
    return Counters()


def ask(call: Callable[[Request], Any], counters: Counters, timeout_s: float = 20.0) -> Answer:
    """Ask a hook once."""
    with HookRunner(Hook("h.py:on", call), timeout_s, counters) as runner:
        return runner.ask(REQUEST)


ROUTE = Route(table="t_%Y", capture_mode="m")


@pytest.mark.parametrize(("given", "answer"), [
    (1, GO_ON), (None, GO_ON), (True, GO_ON), (0, DONE), (False, DONE), (ROUTE, ROUTE), (Route(), GO_ON),
    (Route(table="t"), Route(table="t")), (Route(capture_mode="m"), Route(capture_mode="m")),
])  # fmt: skip
def test_answer_that_is_one(given: object, answer: Answer, counters: Counters) -> None:
    """1 and None go on, 0 is done, a Route says where; one that says nothing goes on."""
    assert ask(lambda _request: given, counters) == answer
    assert counters.hook_calls == 1


def _no(*_: object) -> NoReturn:
    raise RuntimeError("no")


_LIAR = type("Liar", (), {"__class__": property(_no), "__eq__": _no, "__repr__": _no, "__hash__": None})
"""Objects whose every question fails."""


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("given", [
    2, -1, 10**5_000, "1", 1.0, b"", [], {}, (1,), object(), Route, Route(table="a|b"), Route(table="\0"),
    Route(table="\ud800"), Route(capture_mode="\ud800"), Route(table=5), Route(table=["t"]),  # type: ignore[arg-type]
    Route(capture_mode=b"m"), Route(name="x", table="t"), Route(methods=frozenset({"BYE"}), table="t"),  # type: ignore[arg-type]
], ids=lambda given: type(given).__name__)  # fmt: skip
def test_answer_that_is_none_is_an_error(given: object, counters: Counters, log: pytest.LogCaptureFixture) -> None:
    """Nothing else is understood, whatever it is; the log says what came, in one line."""
    with pytest.raises(HookFailed, match="hook_error"):
        ask(lambda _request: given, counters)
    assert len(log.messages) == 2  # the other one says how long it took
    assert log.messages[0].startswith("hook h.py:on: ")
    assert len(log.messages[0]) < 400


def test_answer_that_fails_whatever_it_is_asked_is_an_error(counters: Counters) -> None:
    """Even an object that does not say of which class it is."""
    with pytest.raises(HookFailed, match="hook_error"):
        ask(lambda _request: _LIAR(), counters)


def _recurse(request: Request) -> Any:
    return _recurse(request)


@pytest.mark.parametrize("raised", [
    ValueError("bad \x1b[31m"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError(), _Unspeakable(),
    StopIteration(), BrokenPipeError(), ValueError("x" * 100_000),
])  # fmt: skip
def test_hook_that_raises_is_an_error(raised: BaseException, counters: Counters, log: pytest.LogCaptureFixture) -> None:
    """Whatever it raises, also what would end a program."""

    def call(_request: Request) -> NoReturn:
        raise raised

    with pytest.raises(HookFailed, match="hook_error"):
        ask(call, counters)
    assert type(raised).__name__ in log.messages[0]
    assert "test_hook_runner.py:" in log.messages[0]
    assert len(log.messages[0]) < 400


def test_hook_that_finds_no_memory_again_and_again_is_given_up(counters: Counters) -> None:
    """Not for one message that wants a lot, and not while it answers others: only if nothing else comes of it."""
    answers: list[bool] = []

    def call(_request: Request) -> None:
        if not answers.pop(0):
            raise MemoryError

    with HookRunner(Hook("h.py:on", call), 20.0, counters) as runner:
        for failures in (HOOK_MEMORY_ERRORS - 1, HOOK_MEMORY_ERRORS):
            runner.check()
            answers += [True, *[False] * failures]
            runner.ask(REQUEST)
            for _ in range(failures):
                with pytest.raises(HookFailed, match="hook_error"):
                    runner.ask(REQUEST)
        with pytest.raises(HookStarved, match="memory"):
            runner.check()


STARVED = """
import sys
from sipcap.counters import Counters
from sipcap.hook_runner import HookFailed, HookRunner
from sipcap.hooks import Hook
kept = []
def on(_):
    while True:
        kept.append(bytearray(100_000))
with HookRunner(Hook("h.py:on", on), 20.0, Counters()) as runner:
    try:
        runner.ask(None)
    except HookFailed:
        own = [bytearray(100_000) for _ in range(400)]
print(len(kept) > 400, len(own))
"""


def test_hook_that_takes_all_memory_leaves_its_process_enough() -> None:
    """Where the bound of the process ends it, the process itself goes on with tens of MB."""
    done = subprocess.run(
        ["prlimit", "--as=400000000", sys.executable, "-c", STARVED], cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True 400\n")


@pytest.fixture
def memory_bound() -> Iterator[int]:
    """A bound on the memory of this process that nothing comes near to."""
    usual = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 45, usual[1]))
    yield 1 << 45
    resource.setrlimit(resource.RLIMIT_AS, usual)


def test_time_that_is_over_just_behind_the_answer_gives_the_memory_back(counters: Counters, memory_bound: int) -> None:
    """The signal may come between any two steps of ours, also before the first one that tidies up."""
    code = HookRunner._ask_in_time.__code__
    lines, first = inspect.getsourcelines(HookRunner._ask_in_time)
    tidying = first + next(number for number, line in enumerate(lines) if "finally" in line) + 1
    usual = sys.gettrace()

    def trace(frame: FrameType, event: str, _value: object) -> Any:
        if frame.f_code is code and event == "line" and frame.f_lineno == tidying:
            signal.raise_signal(signal.SIGALRM)
        return trace if frame.f_code is code else None

    with HookRunner(Hook("h.py:on", lambda _request: 1), 20.0, counters) as runner:
        sys.settrace(trace)
        try:
            with pytest.raises(HookFailed, match="hook_timeout"):
                runner.ask(REQUEST)
        finally:
            sys.settrace(usual)
        assert resource.getrlimit(resource.RLIMIT_AS)[0] == memory_bound


def test_hook_that_recurses_without_end_is_an_error(counters: Counters) -> None:
    """The stack of the interpreter is bounded."""
    with pytest.raises(HookFailed, match="hook_error"):
        ask(_recurse, counters)


def test_hook_that_asks_for_the_record_of_junk_rejects_it_by_its_own_reason(counters: Counters) -> None:
    """It is the message that is broken, not the hook."""
    with (
        HookRunner(Hook("h", lambda request: request.record.node), 20.0, counters) as runner,
        pytest.raises(DecodeError, match="not_sip"),
    ):
        runner.ask(Request(Message(b"junk", BASE_TS_US), 0, Extractor()))


def _spin(_request: Request) -> NoReturn:
    while True:
        pass


def _sleep(_request: Request) -> None:
    time.sleep(60)


def _swallow(_request: Request) -> None:
    for _ in range(600):
        try:
            time.sleep(60)
        except Exception:  # noqa: BLE001
            pass


def _swallow_once(_request: Request) -> None:
    try:
        time.sleep(60)
    except BaseException:  # noqa: BLE001
        time.sleep(60)


def _regex(_request: Request) -> None:
    import re

    re.match(r"(a+)+$", "a" * 40 + "!")


@pytest.mark.parametrize("call", [_spin, _sleep, _swallow, _swallow_once, _regex])
def test_hook_that_takes_too_long_is_ended(
    call: Callable[[Request], Any], counters: Counters, log: pytest.LogCaptureFixture
) -> None:
    """Python code, a sleep, a greedy regular expression; also if ``except`` catches the end once."""
    began_s = time.monotonic()
    with pytest.raises(HookFailed, match="hook_timeout"):
        ask(call, counters, 0.2)
    assert time.monotonic() - began_s < 30
    assert "it took more than 0.2 s" in log.messages[0]
    assert counters.hook_us >= 200_000


def test_hook_that_is_slow_is_named_and_measured(counters: Counters, log: pytest.LogCaptureFixture) -> None:
    """Its time is added up, and the log says so once in a while, not for each message."""
    with HookRunner(Hook("h.py:on", lambda _request: time.sleep(0.12)), 20.0, counters) as runner:
        for _ in range(3):
            assert runner.ask(REQUEST) == GO_ON
    assert counters.hook_calls == 3
    assert counters.hook_us >= 360_000
    said, summary = log.messages
    assert said.startswith("hook h.py:on took 0.1")
    assert summary.startswith("hook h.py:on: 3 calls, mean 1")


def test_errors_in_the_log_are_bounded(counters: Counters, log: pytest.LogCaptureFixture) -> None:
    """A hook that always fails fails thousands of times a second."""
    with HookRunner(Hook("h.py:on", lambda _request: 1 / 0), 20.0, counters) as runner:
        for _ in range(500):
            with pytest.raises(HookFailed):
                runner.ask(REQUEST)
    assert 2 <= len(log.messages) < 5


def test_runner_leaves_signals_as_they_were(counters: Counters) -> None:
    """The timer and its handler belong to whoever had them."""
    handler = signal.getsignal(signal.SIGALRM)
    ask(lambda _request: 1, counters)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_hook_prints_to_stderr(counters: Counters, capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout carries records."""
    ask(lambda _request: sys.stdout.write("hello\n") and None, counters)
    sys.stdout.write("behind\n")
    assert capsys.readouterr() == ("behind\n", "hello\n")


def test_many_tables_that_a_hook_makes_up_are_not_remembered_for_ever(counters: Counters) -> None:
    """A hook may name a table for each message."""
    numbers = iter(range(10**6))
    with HookRunner(Hook("h", lambda _request: Route(table=f"t{next(numbers)}")), 20.0, counters) as runner:
        for number in range(10_000):
            assert runner.ask(REQUEST) == Route(table=f"t{number}")
        assert len(runner._known) <= 4_096


_CATCH_ALL = """while True:
        try:
            time.sleep(9)
        except BaseException:
            pass"""
_HANGS = {"holds the interpreter": "sum(range(10**13))", "catches everything": _CATCH_ALL}


@pytest.mark.parametrize("body", _HANGS.values(), ids=_HANGS)
def test_hook_that_cannot_be_ended_ends_its_process(body: str, tmp_path: Path) -> None:
    """No worker hangs for ever; stderr shows where."""
    script = tmp_path / "hang.py"
    script.write_text(
        "import time\n"
        "from sipcap import hook_runner\n"
        "from sipcap.counters import Counters\nfrom sipcap.hooks import Hook\n"
        "hook_runner.HOOK_HANG_S = 1.5\n"
        f"def stuck(request):\n    {body}\n"
        "with hook_runner.HookRunner(Hook('h', stuck), 0.2, Counters()) as runner:\n    runner.ask(None)\n"
    )
    ended = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert b"in stuck" in ended.stderr


@pytest.fixture
def messages() -> Iterator[list[Message]]:
    """SIP, a report, junk, SIP."""
    report = Message(b'{"rtcp":1}', BASE_TS_US, payload_type=5, hep_version=3)
    yield [Message(sip(), BASE_TS_US), report, Message(b"junk", BASE_TS_US), Message(sip("BYE"), BASE_TS_US)]


def intake(call: Callable[[Request], Any], counters: Counters, **options: Any) -> Intake:
    """An intake with a hook."""
    return Intake(ExtractOptions(hook=Hook("h", call), **options), counters)


def records_of(each: Intake, messages: list[Message]) -> list[Record]:
    """All records of messages."""
    return [record for records in each.parts(messages) for record in records]


def test_intake_asks_about_sip_only_unless_told(messages: list[Message], counters: Counters) -> None:
    """``nonsip_hook`` is what the module calls it; junk in HEP is asked about, because it says that it is SIP."""
    seen: list[int] = []

    def call(request: Request) -> None:
        seen.append(request.payload_type)

    with intake(call, counters) as each:
        assert len(records_of(each, messages)) == 3
    assert seen == [1, 1, 1]
    with intake(call, counters, nonsip_hook=True) as each:
        records_of(each, messages)
    assert seen == [1, 1, 1, 1, 5, 1, 1]
    assert counters.rejected == {"not_sip": 2}


def test_intake_counts_what_a_hook_is_done_with(messages: list[Message], counters: Counters) -> None:
    """0 stores nothing, and loses nothing from the count."""
    with intake(lambda request: 0 if request.message.startswith(b"INVITE") else 1, counters) as each:
        records = records_of(each, messages)
    assert [record.msg[:3] for record in records] == ['{"r', "BYE"]
    assert (counters.filtered, counters.rejected) == ({"hook": 1}, {"not_sip": 1})


def test_intake_marks_where_a_hook_sends_records(messages: list[Message], counters: Counters) -> None:
    """The table is one for the message's time; the line tells the next stage."""
    from sipcap.ndjson import decode_record, encode_records

    with intake(lambda _request: ROUTE, counters, nonsip_hook=True) as each:
        lines = encode_records(records_of(each, messages)).splitlines()
    read = [decode_record(line, lambda _known: {}) for line in lines]
    assert [unknown for _, unknown in read] == [{"_mode": "m", "_table": "t_2023"}] * 3
    with Intake(ExtractOptions(), counters) as plain:
        assert [record for record, _ in read] == records_of(plain, messages)


def test_intake_gives_up_nothing_for_a_hook_that_fails(messages: list[Message], counters: Counters) -> None:
    """Each message that it fails for is rejected, the others go on."""

    def call(request: Request) -> int:
        return 1 // request.message.startswith(b"BYE")

    with intake(call, counters) as each:
        assert [record.msg[:3] for record in records_of(each, messages)] == ['{"r', "BYE"]
    assert counters.rejected == {"hook_error": 2}
