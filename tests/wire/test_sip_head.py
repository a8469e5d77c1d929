"""Reading the head of a SIP message (spec/sipcapture.md 3.2)."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import MAX_SIP_HEADERS
from sipcap.wire.sip import _MAX_LEARNED_NAMES, COMPACT_FORMS, SipHeadReader, canonical_name

WANTED = ("via", "from", "to", "call-id", "subject", "x-cid")
START = "OPTIONS sip:a@b SIP/2.0"
Head = tuple[int, str, str, dict[str, str]]


def read(text: str, wanted: tuple[str, ...] = WANTED) -> Head:
    """Start line and the wanted headers that are there, by a reader that has learned nothing yet."""
    kind, method, uri, slots = SipHeadReader(wanted).read(text)
    return kind, method, uri, {name: value for name, value in zip(wanted, slots[1:], strict=True) if value}


def headers(*lines: str, end: str = "\r\n", rest: str = "\r\n") -> dict[str, str]:
    """The wanted headers of a message with these lines."""
    return read(end.join((START, *lines)) + end + rest)[3]


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_head_with_any_line_end_is_read(end: str) -> None:
    """CRLF and bare LF end lines alike."""
    assert headers("From: f", "To: t", end=end, rest=f"{end}From: body") == {"from": "f", "to": "t"}


def test_head_with_mixed_line_ends_is_read() -> None:
    """Each line ends as it likes, the empty one too."""
    for empty in ("\r\n", "\n"):
        text = f"{START}\r\nFrom: f\nTo: t\r\nVia: v\n{empty}Subject: body\r\n\r\n"
        assert read(text) == (1, "OPTIONS", "sip:a@b", {"from": "f", "to": "t", "via": "v"})


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_head_without_empty_line_or_last_line_end_is_read(end: str) -> None:
    """A message that was cut still has the headers that came (spec 12 has Kamailio drop some of these)."""
    assert headers("From: f", "To: t", end=end, rest="") == {"from": "f", "to": "t"}
    assert read(f"{START}{end}From: f{end}To: t")[3] == {"from": "f", "to": "t"}
    assert read(START) == (1, "OPTIONS", "sip:a@b", {})
    assert read(START + end) == (1, "OPTIONS", "sip:a@b", {})


@pytest.mark.parametrize("leading", ["\r\n", "\n", "\r\n\r\n", "\0\0", " ", "\t\r\n \0\n"])
def test_head_behind_blanks_line_breaks_or_nuls_is_read(leading: str) -> None:
    """What Kamailio skips before the start line is skipped (spec 3.2)."""
    assert read(f"{leading}{START}\r\nFrom: f\r\n\r\n") == (1, "OPTIONS", "sip:a@b", {"from": "f"})


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("fold", [" ", "\t", "   "])
def test_header_folded_keeps_its_line_breaks(end: str, fold: str) -> None:
    """The value goes on as it stands; the headers around it are not touched, the last one neither."""
    seen = headers("From: f", f"Subject: a{end}{fold}b{end}{fold}c", "To: t", end=end, rest=f"{end} From: body")
    assert seen == {"from": "f", "subject": f"a{end}{fold}b{end}{fold}c", "to": "t"}


def test_header_folded_right_behind_its_colon_begins_with_text() -> None:
    """Blanks and the line break before a value are no part of it."""
    assert headers("Subject:\r\n a: b", "To: t") == {"subject": "a: b", "to": "t"}
    assert headers("Subject: \r\n a", "To: t\r\n ") == {"subject": "a", "to": "t\r\n "}


def test_header_folded_behind_the_start_line_belongs_to_nothing() -> None:
    """A start line cannot be continued."""
    assert read(f"{START}\r\n folded: x\r\nFrom: f\r\n\r\n") == (1, "OPTIONS", "sip:a@b", {"from": "f"})


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("Subject: x", "x"), ("Subject:x", "x"), ("Subject:   x", "x"), ("Subject:\tx", "x"), ("Subject : x", "x"),
        ("Subject\t:x", "x"), ("SUBJECT: x", "x"), ("subject: x", "x"), ("sUbJeCt: x", "x"), ("s: x", "x"),
        ("S:x", "x"), ("Subject: x  ", "x  "), ("Subject: x\t", "x\t"), ("Subject: a: b: c", "a: b: c"),
        ("Subject:a: b", "a: b"), ("Subject: !", "!"), ("Subject: \x01x", "\x01x"), ("Subject: x\r", "x"),
        ("Subject: :", ":"), ("Subject:  :", ":"), ("Subject: ü\ufffd", "ü\ufffd"),
        ("Subject: a\x85b\u2028c", "a\x85b\u2028c"),
    ],
)  # fmt: skip
def test_header_in_any_spelling_gives_its_value(line: str, value: str) -> None:
    """Names in any case and short, blanks around the colon; of a value, only line ends are trimmed behind."""
    for more in ("To: t", "To: t\r\n x"):
        assert headers(line, more)["subject"] == value


@pytest.mark.parametrize("line", ["Subject", "Subject:", "Subject: ", ": x", "Sub ject: x", "XSubject: x", "Subject x"])
def test_header_line_that_gives_no_value_does_no_harm(line: str) -> None:
    """Lines without colon, value or name lose only themselves."""
    assert headers("From: f", line, "To: t") == {"from": "f", "to": "t"}


def test_header_given_twice_the_first_counts() -> None:
    """In long and short form alike, also if the first says nothing."""
    assert headers("f: 1", "From: 2", "Via:", "Via: 3", "v: 4", "To: \t", "To: x") == {"from": "1"}


@pytest.mark.parametrize("line", [": x", "\r: x", " : x", "\t:x", ":"])
def test_header_without_a_name_changes_no_later_message(line: str) -> None:
    """An empty line ends the headers whatever was met before: no body is ever read as headers."""
    reader = SipHeadReader(("via", "from"))
    reader.read(f"{START}\r\nTo: t\r\n{line}\r\n\r\n")
    for end in ("\r\n", "\n"):
        assert reader.read(f"{START}{end}Via: v{end}{end}From: body{end}")[3] == ["", "v", ""]


def test_header_names_all_short_forms_are_known() -> None:
    """Every short form of spec 3.2 stands for its long one."""
    for short, name in COMPACT_FORMS.items():
        assert read(f"{START}\r\n{short.upper()} : x\r\n\r\n", (name,))[3] == {name: "x"}
        assert canonical_name(f" {short} ") == canonical_name(name.upper()) == name


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("Subject: x\0", "x"), ("Subject: x\0\0\0", "x"), ("Subject: x\0y", "x\ufffdy"), ("Subject: \0x", "\ufffdx"),
        ("Subject: x\0\r\n y", "x\r\n y"),
    ],
)  # fmt: skip
def test_header_with_nul_loses_it_at_the_end_and_shows_it_elsewhere(line: str, value: str) -> None:
    """NUL is trimmed as a line end is (spec 3.2); inside, it is U+FFFD, because databases refuse it."""
    assert headers(line, "To: t") == {"subject": value, "to": "t"}


def test_head_of_a_reply_has_status_and_reason() -> None:
    """A reply's slots are read as a request's."""
    assert read("SIP/2.0 200 OK\r\nTo: t\r\n\r\n") == (2, "200", "OK", {"to": "t"})


@pytest.mark.parametrize("text", ["", "\r\n\r\n", "\0", "hello", "v=0\r\no=x", "From: f\r\n\r\n", "{}"])
def test_head_of_no_sip_is_refused(text: str) -> None:
    """Without a start line there is no message."""
    with pytest.raises(DecodeError, match="not_sip"):
        read(text)


@pytest.mark.parametrize("first", ["a: b", "a: b\r\n folded"])
def test_head_of_very_many_headers_is_read_up_to_the_bound(first: str) -> None:
    """What stands behind the bound is not looked at, and no value runs on to the end of the message."""
    filler = [first, *["x:"] * (MAX_SIP_HEADERS - 3)]
    assert headers(*filler, "To: t", "From: f") == {"to": "t"}
    assert headers("Subject: s", *filler, "To: t", "From: f") == {"subject": "s"}


def test_head_of_a_long_message_is_read_as_of_a_short_one() -> None:
    """Beyond a size the body is cut off first; that changes nothing, whatever line ends there are."""
    for end in ("\r\n", "\n"):
        for body in ("", "From: body\r\n\r\n", "y" * 5_000 + "\r\n\r\nFrom: body"):
            assert headers("To: t", end=end, rest=end + body) == {"to": "t"}
            assert headers("To: t", "Subject: " + "z" * 5_000, end=end, rest=end + body)["to"] == "t"


def test_reader_learning_hostile_names_stays_bounded_and_right() -> None:
    """Names that never come again neither fill the memory nor hide the wanted ones."""
    reader = SipHeadReader(WANTED)
    for number in range(60):
        lines = [f"X-{number}-{line}: x\r\n" for line in range(500)]
        _, _, _, slots = reader.read(f"{START}\r\n{''.join(lines)}{'y' * 5_000}: z\r\nSubject: s{number}\r\n\r\n")
        assert slots[5] == f"s{number}"
    assert len(reader._names) <= _MAX_LEARNED_NAMES
    assert max(map(len, reader._names)) < 100


_lines = st.lists(
    st.sampled_from([
        "From: f", "f:g", "To : t", "Subject", "Subject:", "Subject: \ts ", " folded", "\tfolded: x", "x: y",
        "Via: v\r", "\0", "From: \0", "", "", "\r", "Call-ID: c\0", "\r x: y", "X-CID:\r\n z", "a" * 1_100,
    ]),
    max_size=8,
)  # fmt: skip


def reference(text: str) -> dict[str, str]:
    """The same by rules applied one after the other, without any regard to speed."""
    text = re.sub(r"\0+(?=\r?\n|\Z)", "", text.lstrip("\r\n\0\t ")).replace("\0", "\ufffd")
    lines: list[str] = []
    for line in text.split("\n"):
        if not line.strip("\r"):
            break
        if line[0] in " \t" and lines:
            lines[-1] += "\n" + line
        else:
            lines.append(line)
    found: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        value = value.lstrip(" \t\r\n").rstrip("\r")
        found.setdefault(canonical_name(name), value)
    return {name: value for name, value in found.items() if value and name in WANTED}


@example(lines=["\r", "X-CID:\r\n z"], ends=["\r\n"] * 9)
@example(lines=[" folded", "\r", " folded", "From: f"], ends=["\r\n"] * 9)
@given(lines=_lines, ends=st.lists(st.sampled_from(["\r\n", "\n", "\r\n"]), min_size=9, max_size=9))
def test_head_of_any_lines_reads_as_the_reference_does(lines: list[str], ends: list[str]) -> None:
    """Shortcuts for speed change nothing, in any mixture of line ends, folds, NULs and empty lines."""
    text = "".join(line + end for line, end in zip([START, *lines], ends, strict=False))
    reader = SipHeadReader(WANTED)
    for _ in range(2):  # a name met before is read on another path
        _, _, _, slots = reader.read(text)
        seen = {name: value for name, value in zip(WANTED, slots[1:], strict=True) if value}
        assert seen == reference(text)


@given(text=st.text(max_size=200))
def test_head_of_any_text_is_read_or_refused(text: str) -> None:
    """Total, with a start line before it or not."""
    read(f"{START}\r\n{text}")
    try:
        read(text)
    except DecodeError as error:
        assert error.reason == "not_sip"


@pytest.mark.parametrize(
    "piece", ["\0", "\r", "\n", "\r\n", " ", "a", ":", "a:\n", "\r\n ", "\0\r", "a: b\r\n", "Via\r\n"]
)
@pytest.mark.parametrize("start", ["", START, START + "\r\n", START + "\r\nVia: "])
def test_head_of_64_kb_takes_linear_time(start: str, piece: str) -> None:
    """Runs of NULs, blanks, line ends or tiny headers cost no more than their bytes."""
    text = start + piece * (64_000 // len(piece)) + "x"
    began = time.perf_counter()
    try:
        read(text)
    except DecodeError:
        pass
    assert time.perf_counter() - began < 0.5
