"""The INI reader: what stands in a file, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.config import ini
from sipcap.config.ini import IniFile, parse_ini, read_ini
from sipcap.errors import CannotStart
from sipcap.limits import MAX_CONFIG_BYTES


def _values(text: str) -> dict[str, dict[str, str]]:
    sections = parse_ini(text.encode(), "f.ini").sections
    return {section.name: {key: value.text for key, value in section.values.items()} for section in sections}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("\n \t\n# a\n; b\n", {}),
        ("[a]", {"a": {}}),
        ("[a]\nk=v", {"a": {"k": "v"}}),
        ("[a]\r\nk = v\r\n", {"a": {"k": "v"}}),
        ("\ufeff[a]\nk=v\n", {"a": {"k": "v"}}),
        ("[ a ] \nk =\n", {"a": {"k": ""}}),
        ("[a]\nk = 50% %Y%m%d %(k)s ${k}\n", {"a": {"k": "50% %Y%m%d %(k)s ${k}"}}),
        ("[a]\nk = v ; no comment # neither\n", {"a": {"k": "v ; no comment # neither"}}),
        ("[a]\nk = a=b==\n", {"a": {"k": "a=b=="}}),
        ("[a]\nk: x = 1\n", {"a": {"k: x": "1"}}),
        ("[a]\nK = 1\nk = 2\n", {"a": {"K": "1", "k": "2"}}),
        ("[a]\nk = \u00fc\U0001f600\n", {"a": {"k": "\u00fc\U0001f600"}}),
        ("[a]\nk = a,\n  b,\n\tc\nl = d\n", {"a": {"k": "a,\nb,\nc", "l": "d"}}),
        ("[a]\nk =\n  a\n# between\n    ; and here\n  b\n", {"a": {"k": "a\nb"}}),
        ("[a]\nk = [b]\n[c]\nk = 2", {"a": {"k": "[b]"}, "c": {"k": "2"}}),
    ],
)
def test_ini_text_gives_its_values(text: str, values: dict[str, dict[str, str]]) -> None:
    """Comments stand on their own lines, % is a character, values go on in indented lines."""
    assert _values(text) == values


def test_ini_values_know_their_lines() -> None:
    """Each line of a value, and each section, has its number from 1."""
    found = parse_ini(b"\n[a]\n# c\nk = v\n  w\n  # x\n  y\n[b]\n", "f.ini")
    assert [section.line for section in found.sections] == [2, 8]
    value = found.sections[0].values["k"]
    assert value.line == 4
    assert value.lines == ((4, "v"), (5, "w"), (7, "y"))


@pytest.mark.parametrize(
    ("name", "kind", "label"),
    [("a", "a", ""), ("a:b", "a", "b"), ("a : b:c ", "a", "b:c"), ("", "", ""), (":b", "", "b")],
)
def test_section_names_have_kind_and_label(name: str, kind: str, label: str) -> None:
    """The first colon parts them; blanks around it do not count."""
    (section,) = parse_ini(f"[{name}]".encode(), "f.ini").sections
    assert (section.kind, section.label) == (kind, label)


def test_sections_of_a_kind_are_all_found() -> None:
    """They come in the order of the file."""
    found = parse_ini(b"[a:1]\n[b]\n[a:2]\n[a]\n", "f.ini")
    assert [section.label for section in found.of_kind("a")] == ["1", "2", ""]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (b"k = v", 1, "before the first"),
        (b"[a]\n  k = v", 2, "indented"),
        (b"[a]\nk = v\n\n  w", 4, "indented"),
        (b" x\n", 1, "indented"),
        (b"[a]\nk\n", 2, "expected key = value"),
        (b"[a]\n= v\n", 2, "expected key = value"),
        (b"[a\n", 1, "expected ]"),
        (b"[a] ; c\n", 1, "comments stand on lines of their own"),
        (b"[a]\nk=1\nl=1\nk=2\n", 4, "second time; first in line 2"),
        (b"[a:b]\n[c]\n[a: b]\n", 3, "second time; first in line 1"),
        (b"[a]\nk = \xff\n", 2, "not UTF-8"),
        (b"[a]\nk = \0\n", 2, "NUL"),
    ],
)
def test_ini_wrong_line_is_named(text: bytes, line: int, said: str) -> None:
    """Every error says file, line and why, in one line."""
    with pytest.raises(CannotStart) as caught:
        parse_ini(text, "etc/modes.ini")
    assert str(caught.value).startswith(f"etc/modes.ini:{line}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=80) | st.text("[]a:=k \n\t#;%", max_size=80).map(str.encode))
def test_ini_any_bytes_are_read_or_a_named_error(data: bytes) -> None:
    """No file ends a command but with its name and a line; what is read can be asked."""
    try:
        found = parse_ini(data, "f")
    except CannotStart as error:
        assert str(error).startswith("f:")
    else:
        for section in found.sections:
            assert isinstance(section.kind + section.label, str)
            for value in section.values.values():
                assert value.line > section.line
                assert value.text == value.text.strip()


def test_read_ini_reads_a_file(tmp_path: Path) -> None:
    """The path in errors is the one that the user wrote."""
    path = tmp_path / "m.ini"
    path.write_bytes(b"[a]\nk = v\n")
    found = read_ini(path)
    assert found.path == str(path)
    assert found.sections[0].values["k"].text == "v"


def test_read_ini_what_cannot_be_read_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, a folder, and a file too long to be meant."""
    with pytest.raises(CannotStart, match="No such file"):
        read_ini(tmp_path / "none.ini")
    with pytest.raises(CannotStart, match="cannot be read"):
        read_ini(tmp_path)
    monkeypatch.setattr(ini, "MAX_CONFIG_BYTES", 10)
    path = tmp_path / "long.ini"
    path.write_bytes(b"#" * 10)
    assert read_ini(path) == IniFile(str(path), ())
    path.write_bytes(b"#" * 11)
    with pytest.raises(CannotStart, match="longer than"):
        read_ini(path)
    assert MAX_CONFIG_BYTES > 100_000


def test_value_of_many_lines_is_put_together_once() -> None:
    """The time for a value does not grow with the square of its lines; 100,000 of them would take half an hour."""
    file = parse_ini(b"[s]\nk = v" + b"\n a" * 100_000 + b"\nl = w\n b\n[t]", "x")
    assert file.sections[0].values["k"].lines[-1] == (100_002, "a")
    assert len(file.sections[0].values["k"].lines) == 100_001
    assert file.sections[0].values["l"].text == "w\nb"
