"""Text to roff: escapes, wrapping, paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ESCAPES = str.maketrans(
    {
        "\\": r"\e",
        "-": r"\-",
        # groff prints typographic twins of these, which a shell does not understand when they are copied.
        "'": r"\(aq",
        "`": r"\(ga",
        "^": r"\(ha",
        "~": r"\(ti",
        # No marker of Click and no other control character has a place in a page.
        **{chr(code): None for code in range(0x20) if chr(code) not in "\n\t"},
    }
)
_OPTION = re.compile(r"(?<![\w-])(--?[a-zA-Z][\w-]*)")
_WIDTH = 78


def escape(text: str) -> str:
    """Escape one line of text, so that roff prints it as it stands."""
    escaped = text.translate(_ESCAPES)
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def bold(text: str) -> str:
    """Text in bold."""
    return rf"\fB{text.translate(_ESCAPES)}\fR"


def italic(text: str) -> str:
    """Text that stands for something else."""
    return rf"\fI{text.translate(_ESCAPES)}\fR"


def running_text(text: str) -> list[str]:
    """Escape running text and fill lines with it; options in it are bold."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        piece = "".join(
            bold(part) if index % 2 else part.translate(_ESCAPES) for index, part in enumerate(_OPTION.split(word))
        )
        if line and len(line) + 1 + len(piece) > _WIDTH:
            lines.append(line)
            line = piece
        else:
            line = f"{line} {piece}" if line else piece
    lines.append(line)
    return [rf"\&{line}" if line.startswith(".") else line for line in lines if line]


def literal(lines: list[str]) -> list[str]:
    """Lines that keep their breaks and spaces."""
    return [".nf", *(escape(line.rstrip()) for line in lines), ".fi"]


def paragraphs(text: str) -> Iterator[list[str]]:
    """Cut help text into its paragraphs, each a list of lines; the mark of a literal one stays its first line."""
    for block in re.split(r"\n[ \t]*\n", text.strip("\n")):
        if block.strip():
            yield block.split("\n")


def body(text: str) -> list[str]:
    """Help text as roff: paragraphs filled, those marked with a lone backspace kept as they stand."""
    lines: list[str] = []
    for paragraph in paragraphs(text):
        lines.append(".PP")
        if paragraph[0].strip() == "\b":
            lines += literal(paragraph[1:])
        else:
            lines += running_text(" ".join(paragraph))
    return lines[1:]  # a heading starts the first paragraph


def tagged(tag: str, text: str) -> list[str]:
    """One entry of a list: what is explained, and the explanation."""
    blocks = list(paragraphs(text)) or [[""]]
    lines = [".TP", tag]
    for index, block in enumerate(blocks):
        lines += ([".IP"] if index else []) + running_text(" ".join(block))
    return lines
