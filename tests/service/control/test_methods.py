"""The methods: the module's words, texts and faults, however the call came."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sipcap
from sipcap.service.control.methods import Fault, Methods, UnknownMethod
from sipcap.service.controller import ReloadError
from tests.support.background import wait_for
from tests.support.controlling import SmallService


def fault_of(methods: Methods, name: str, *params: Any) -> tuple[int, str]:
    """The code and the text that a call is refused with."""
    with pytest.raises(Fault) as caught:
        methods.call(name, params)
    return caught.value.code, caught.value.text


@pytest.mark.parametrize("word", ["on", "ON", "On"])
def test_status_on_switches_and_says_enabled(word: str) -> None:
    """Capture is on afterwards, whatever the case of the word (spec 6.5)."""
    service = SmallService()
    service.set_capture(None, on=False)
    assert Methods(service).call("sipcapture.status", [word]) == "Enabled"
    assert service.capture_is_on()


@pytest.mark.parametrize("word", ["off", "OFF", "oFf"])
def test_status_off_switches_and_says_disabled(word: str) -> None:
    """Capture is off afterwards."""
    service = SmallService()
    assert Methods(service).call("sipcapture.status", [word]) == "Disabled"
    assert not service.capture_is_on()


@pytest.mark.parametrize("on", [True, False])
def test_status_check_changes_nothing(on: bool) -> None:
    """The answer tells the state, which stays."""
    service = SmallService()
    service.set_capture(None, on=on)
    assert Methods(service).call("sipcapture.status", ["check"]) == ("Enabled" if on else "Disabled")
    assert service.capture_is_on() is on


@pytest.mark.parametrize(
    "word", ["once", "offline", "checks", "", " on", "on ", "o", "bogus", "chec\u212a", 1, 1.5, None, True, [], {}]
)
def test_status_anything_else_is_a_bad_parameter(word: Any) -> None:
    """Prefixes, which the module takes for the word, and what is no word get its text, and nothing is switched."""
    service = SmallService()
    assert fault_of(Methods(service), "sipcapture.status", word) == (500, "Bad parameter (on, off or check)")
    assert service.capture_is_on()


def test_status_without_a_word_needs_one() -> None:
    """The module's text for no parameter."""
    assert fault_of(Methods(SmallService()), "sipcapture.status") == (500, "Not enough parameters (on, off or check)")


def test_status_of_a_mode_leaves_the_others() -> None:
    """A second parameter names one capture mode."""
    service = SmallService()
    methods = Methods(service)
    assert methods.call("sipcapture.status", ["off", "mode1"]) == "Disabled"
    assert methods.call("sipcapture.status", ["check", "mode1"]) == "Disabled"
    assert methods.call("sipcapture.status", ["check", "default"]) == "Enabled"
    assert methods.call("sipcapture.status", ["check"]) == "Enabled"


def test_status_of_a_mode_with_a_number_as_name_is_found() -> None:
    """Kamailio's clients send a word of digits as a number."""
    service = SmallService()
    service.on["7"] = True
    assert Methods(service).call("sipcapture.status", ["off", 7]) == "Disabled"
    assert not service.capture_is_on("7")


@pytest.mark.parametrize("mode", ["nope", "", "MODE1"])
def test_status_of_an_unknown_mode_is_refused(mode: str) -> None:
    """Nothing is switched for a name that does not exist."""
    service = SmallService()
    assert fault_of(Methods(service), "sipcapture.status", "off", mode) == (500, f"No capture mode of the name {mode}")
    assert all(service.on.values())


def test_status_with_more_words_is_refused() -> None:
    """A third parameter was meant for something that is not there."""
    code, text = fault_of(Methods(SmallService()), "sipcapture.status", "on", "mode1", "x")
    assert (code, text.startswith("Too many parameters")) == (500, True)


@given(st.text())
def test_status_any_text_is_a_word_or_refused(word: str) -> None:
    """Only the three words do anything."""
    service = SmallService()
    if word.isascii() and word.lower() in {"on", "off", "check"}:
        assert Methods(service).call("sipcapture.status", [word]) in {"Enabled", "Disabled"}
    else:
        fault_of(Methods(service), "sipcapture.status", word)
        assert service.capture_is_on()


def test_reload_reloads() -> None:
    """The service reads its configuration again, once."""
    service = SmallService()
    assert Methods(service).call("sipcapture.reload", []) == "Reloaded"
    assert service.reloads == 1


def test_reload_that_fails_says_why() -> None:
    """The answer has what is wrong with the file."""
    methods = Methods(SmallService(trouble="modes.ini:3: no key captre_on; did you mean capture_on?"))
    assert fault_of(methods, "sipcapture.reload") == (500, "modes.ini:3: no key captre_on; did you mean capture_on?")


def test_reload_that_takes_long_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """The answer says that it goes on; a second one has to wait, and how the first ends is in the log."""
    monkeypatch.setattr("sipcap.service.control.methods._RELOAD_S", 0.05)
    go_on = threading.Event()

    class SlowService(SmallService):
        def reload(self) -> None:
            go_on.wait(30)
            raise ReloadError("no room for 9 processes")

    methods = Methods(SlowService())
    assert methods.call("sipcapture.reload", []) == "Reloading"
    assert fault_of(methods, "sipcapture.reload") == (500, "A reload is under way")
    assert methods.call("sipcapture.status", ["off"]) == "Disabled"
    go_on.set()
    wait_for(lambda: "no room for 9 processes" in log.text)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_reload_with_a_bug_is_no_success() -> None:
    """Whatever goes wrong, the answer does not claim that it went well."""

    class BrokenService(SmallService):
        def reload(self) -> None:
            raise KeyError("x")

    assert fault_of(Methods(BrokenService()), "sipcapture.reload") == (500, "Internal error")


def test_stats_gives_the_whole_state() -> None:
    """What the service says goes out unchanged."""
    service = SmallService()
    assert Methods(service).call("sipcapture.stats", []) == service.stats()


def test_stats_asked_again_and_again_do_not_ask_the_service_each_time() -> None:
    """But a state that was just changed is a new one."""
    service = SmallService()
    asked = 0
    state = service.stats

    def stats() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return state()

    service.stats = stats  # type: ignore[method-assign]
    methods = Methods(service)
    for _ in range(500):
        methods.call("sipcapture.stats", [])
    assert asked < 250
    methods.call("sipcapture.status", ["off"])
    assert methods.call("sipcapture.stats", [])["enabled"] is False
    methods.call("sipcapture.status", ["on"])
    assert methods.call("sipcapture.stats", [])["enabled"] is True


def test_statistics_have_the_names_of_the_module() -> None:
    """The default mode's carry no name of a mode (spec 5.5); the form is that of Kamailio 5.6.3."""
    assert Methods(SmallService()).call("stats.get_statistics", ["sipcapture:"]) == [
        "sipcapture:captured_replies = 5",
        "sipcapture:captured_replies[mode1] = 1",
        "sipcapture:captured_requests = 7",
        "sipcapture:captured_requests[mode1] = 2",
    ]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["captured_requests"], ["sipcapture:captured_requests = 7"]),
        (["sipcapture:captured_replies"], ["sipcapture:captured_replies = 5"]),
        (["nope:"], []),
        (["usrloc:", "captured_replies[mode1]"], ["sipcapture:captured_replies[mode1] = 1"]),
        ([{}], []),
    ],
)
def test_statistics_by_name_give_those(asked: list[Any], found: list[str]) -> None:
    """Others' groups are asked for by clients that know Kamailio: there is nothing in them."""
    assert Methods(SmallService()).call("stats.get_statistics", asked) == found


def test_statistics_of_nothing_are_refused() -> None:
    """Kamailio's text."""
    assert fault_of(Methods(SmallService()), "stats.get_statistics") == (400, "Please provide which stats to retrieve")


def test_fetch_gives_strings_in_a_struct() -> None:
    """The form of Kamailio 5.6.3."""
    fetched = Methods(SmallService()).call("stats.fetch", ["captured_requests"])
    assert fetched == {"sipcapture.captured_requests": "7"}


def test_version_tells_the_program() -> None:
    """Clients ask for it to see who answers."""
    assert Methods(SmallService()).call("core.version", []) == f"sipcap {sipcap.__version__}"


def test_uptime_is_small_in_a_new_process() -> None:
    """Kamailio's members, with a number that counts from the start."""
    uptime = Methods(SmallService()).call("core.uptime", [])
    assert list(uptime) == ["now", "up_since", "uptime"]
    assert 0 <= uptime["uptime"] < 60


def test_every_listed_method_has_help() -> None:
    """What system.listMethods names can be asked for its help."""
    methods = Methods(SmallService())
    names = methods.call("system.listMethods", [])
    assert {"sipcapture.status", "sipcapture.stats", "sipcapture.reload"} <= set(names)
    assert all(methods.call("system.methodHelp", [name]) for name in names)
    assert methods.call("system.methodHelp", ["sipcapture.status"]) == "Get status or turn on/off sipcapture."


@pytest.mark.parametrize("params", [[], ["nope"], [[]], [{}], [None]])
def test_help_for_what_is_no_method_is_refused(params: list[Any]) -> None:
    """Also for what cannot be a name."""
    assert fault_of(Methods(SmallService()), "system.methodHelp", *params) == (400, "command not found")


def test_call_of_an_unknown_method_says_so() -> None:
    """Each protocol has its own words for it."""
    with pytest.raises(UnknownMethod):
        Methods(SmallService()).call("sipcapture.nope", [])
