"""Man pages: one for ``sipcap`` and one for each command."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator
from pathlib import Path

import sipcap
from sipcap.devtools.roff import body, bold, escape, italic, paragraphs, tagged
from sipcap.devtools.tree import PROGRAM, Argument, Command, Option
from sipcap.errors import EXIT_CODES

_RELEASE = re.compile(r"^## \[?\d[^\n]*?(\d{4}-\d{2}-\d{2})", re.MULTILINE)
_HEADING = re.compile(r"[A-Z][A-Z ]+[A-Z]")
_SAME_AS = {"EXAMPLE": "EXAMPLES", "FILE": "FILES", "NOTE": "NOTES", "ENVIRONMENT VARIABLES": "ENVIRONMENT"}
_COLOR_VARIABLES = {
    "NO_COLOR": "If set and not empty: no colours, unless --color says otherwise.",
    "FORCE_COLOR": "If set and not empty: colours also where the output is no terminal.",
}


def man_pages(tree: Command, date: str) -> dict[str, str]:
    """Make all pages: file name to text."""
    return {f"{page_name(command.path)}.1": _page(command, tree, date) for command in tree.walk()}


def page_name(path: tuple[str, ...]) -> str:
    """Name of a command's page."""
    return "-".join((PROGRAM, *path))


def release_date(root: Path) -> str:
    """The date of the newest release in the changelog; before the first one, that of SOURCE_DATE_EPOCH.

    Never today: the same source must give the same pages.
    """
    match = _RELEASE.search((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    if match is not None:
        return match[1]
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    return dt.datetime.fromtimestamp(epoch, dt.UTC).date().isoformat()


def _page(command: Command, tree: Command, date: str) -> str:
    name = page_name(command.path)
    extra = _epilog_sections(command.epilog)
    sections = {
        "NAME": [f"{escape(name)} \\- {escape(command.summary)}"],
        "SYNOPSIS": _synopsis(command),
        "DESCRIPTION": body(command.help),
        "COMMANDS": _list(_command_entry(child) for child in command.commands),
        "ARGUMENTS": _list(_argument_entry(argument) for argument in command.arguments if argument.help),
        "OPTIONS": _list(_option_entry(option) for option in command.options),
        "EXIT STATUS": _list(tagged(bold(str(code)), _sentence(text)) for code, text in EXIT_CODES.items()),
        "ENVIRONMENT": _environment(command) + extra.pop("ENVIRONMENT", []),
        "FILES": extra.pop("FILES", []),
    }
    see_also = extra.pop("SEE ALSO", [])
    sections |= extra
    sections["SEE ALSO"] = _see_also(command, tree) + ([".PP", *see_also] if see_also else [])
    lines = [
        rf".\" Generated from the command line of {PROGRAM} by python -m sipcap.devtools --write; do not edit.",
        f'.TH {escape(name.upper())} 1 {date} "{PROGRAM} {sipcap.__version__}" "{PROGRAM} manual"',
    ]
    for title, content in sections.items():
        if content:
            lines += [f".SH {title}", *content]
    return "\n".join(lines) + "\n"


def _list(entries: Iterator[list[str]]) -> list[str]:
    return [line for entry in entries for line in entry]


def _synopsis(command: Command) -> list[str]:
    pieces = " ".join(re.sub(r"[A-Za-z_]+", lambda word: italic(word[0]), piece) for piece in command.usage)
    return [f"{bold(' '.join((PROGRAM, *command.path)))} {pieces}"]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _command_entry(command: Command) -> list[str]:
    return tagged(f"{bold(page_name(command.path))}(1)", _sentence(command.summary))


def _argument_entry(argument: Argument) -> list[str]:
    return tagged(italic(argument.metavar), argument.help)


def _option_entry(option: Option) -> list[str]:
    tag = ", ".join(bold(name) for name in option.names)
    if option.metavar:
        value = option.metavar if option.value and option.value.choices else italic(option.metavar)
        tag += f" [{value}]" if option.optional else f" {value}"
    return tagged(tag, option.help)


def _environment(command: Command) -> list[str]:
    entries: list[list[str]] = []
    for option in command.options:
        several = "; several values are separated by blanks" if option.repeatable and option.value else ""
        text = f"The same as {option.long_name}{several}."
        entries += [tagged(bold(variable), text) for variable in option.envvars]
    if not command.path:
        entries += [tagged(bold(variable), text) for variable, text in _COLOR_VARIABLES.items()]
    return _list(iter(entries))


def _see_also(command: Command, tree: Command) -> list[str]:
    relatives = [other for other in tree.walk() if other.path != command.path and _related(command.path, other.path)]
    names = [f"{bold(page_name(other.path))}(1)" for other in relatives]
    return [f"{name}," for name in names[:-1]] + names[-1:]


def _related(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one page names the other: parent, children, and the stages beside it."""
    return one[:-1] == other[: len(one[:-1])] and abs(len(one) - len(other)) <= 1


def _epilog_sections(epilog: str) -> dict[str, list[str]]:
    """Cut the text under a command's help into sections at its lines in capitals."""
    texts: dict[str, list[str]] = {}
    title = "EXAMPLES"
    for paragraph in paragraphs(epilog):
        mark = paragraph[:1] if paragraph[0].strip() == "\b" else []
        lines = paragraph[len(mark) :]
        if lines and _HEADING.fullmatch(lines[0].strip().rstrip(":")):
            heading = lines.pop(0).strip().rstrip(":")
            title = _SAME_AS.get(heading, heading)
        if lines:
            texts.setdefault(title, []).append("\n".join([*mark, *lines]))
    return {title: body("\n\n".join(blocks)) for title, blocks in texts.items()}
