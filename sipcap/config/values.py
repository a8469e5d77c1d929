"""What stands behind the ``=`` of a configuration file, as values (design 1.7)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from sipcap.endpoint import Endpoint, parse_endpoint
from sipcap.modes import nearest
from sipcap.quantities import duration_s, size_bytes
from sipcap.sources.addresses import Network, parse_networks

Read = Callable[[str], Any]
"""Reads a value; raises ValueError with a text that goes behind the name of the key: ``must be 0 or 1``."""

_MAX_SECRET_BYTES: Final = 65_536
_SECONDS_MAX: Final = 100 * 365 * 86_400.0
_LONGEST_COLUMN: Final = 128  # what the widest database takes
HIDDEN: Final = "(hidden)"


class Key(NamedTuple):
    """A key of a section."""

    read: Read
    default: Any
    """The value where nothing is said."""
    shown: Callable[[Any], str] = str
    """Writes a value for people; a secret is not shown."""
    help: str = ""
    """What it means, for modes.ini(5): whole sentences."""


@dataclass(frozen=True)
class Ranged:
    """A Read that can say what it takes."""

    function: Read
    allowed: str

    def __call__(self, text: str) -> Any:
        """Read a value."""
        return self.function(text)


def flag(text: str) -> bool:
    """0 or 1; any other number is on, as in the module, and so are the usual words."""
    word = text.lower()
    if word in ("yes", "on", "true"):
        return True
    if word in ("no", "off", "false"):
        return False
    try:
        return bool(int(text))
    except ValueError:
        raise ValueError("must be 0 or 1") from None


def integer(lowest: int, highest: int) -> Read:
    """A whole number within a range."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise ValueError(f"should be a value between {lowest} and {highest}")
        return number

    return Ranged(read, f"{lowest} to {highest}")


def seconds(lowest: float = 0.0, highest: float = _SECONDS_MAX) -> Read:
    """Seconds, with or without ``s``, ``min``, ``h``, ``d``."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float(duration_s(text))
        if math.isnan(number) or not lowest <= number <= highest:
            raise ValueError(f"must be {lowest:g} to {highest:g} seconds")
        return number

    most = "" if highest == _SECONDS_MAX else f" to {highest:g}"
    return Ranged(read, f"a time span, as 30, 5min, 2h or 1d; seconds from {lowest:g}{most}")


def seconds_or_off(text: str) -> float | None:
    """A time span, or ``off`` for none."""
    return None if text.lower() == "off" else float(seconds()(text))


def size(text: str) -> int:
    """``1GiB``, ``20GB`` or bytes."""
    return size_bytes(text)


def size_of(lowest: int, highest: int) -> Read:
    """A size within a range of bytes."""

    def read(text: str) -> int:
        number = size_bytes(text)
        if not lowest <= number <= highest:
            raise ValueError(f"must be {lowest} to {highest} bytes")
        return number

    return Ranged(read, f"a size, as 64MiB; {lowest} to {highest} bytes")


def text_value(text: str) -> str:
    """Any text."""
    return text


def name(text: str) -> str:
    """A text that is not empty."""
    if not text:
        raise ValueError("is empty")
    return text


def one_of(*allowed: str) -> Read:
    """One of a few words."""

    def read(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}{nearest(text, allowed)}")
        return text.lower()

    return Ranged(read, ", ".join(allowed))


def path(text: str) -> Path:
    """A file or a folder."""
    return Path(name(text))


def folder_or_off(text: str) -> Path | bool:
    """A folder, or False for ``off``."""
    return False if text.lower() in ("off", "0") else path(text)


def column(text: str) -> str:
    """The name of a column in a database."""
    if not text or "\0" in text or len(text) > _LONGEST_COLUMN:
        raise ValueError("is no name of a column")
    return text


def host_and_ports(text: str) -> Endpoint:
    """``HOST[:PORT[-PORT]]``, IPv6 in brackets; without ports they are 0."""
    bare = text.strip()
    is_bare_host = bare.endswith("]") if bare.startswith("[") else ":" not in bare
    found = parse_endpoint(f"{bare}:0" if is_bare_host else bare)
    if found.protocol != "udp":
        raise ValueError(f"{text!r}: packets have no protocol to listen with; write HOST:PORT-PORT")
    return found


def metrics_endpoint(text: str) -> Endpoint:
    """``[tcp:]HOST:PORT`` as an endpoint; raises ValueError."""
    return parse_endpoint(f"tcp:{text.removeprefix('tcp:')}")


def host_and_port(text: str) -> str:
    """``HOST:PORT``, IPv6 in brackets, as it is written."""
    try:
        endpoint = metrics_endpoint(text)
    except ValueError:
        endpoint = None
    if endpoint is None or endpoint.port != endpoint.last_port:
        raise ValueError(f"must be HOST:PORT, IPv6 in brackets; not {text!r}")
    return text


def secret(text: str) -> str:
    """A secret, or ``@FILE`` for the first line of a file."""
    if not text.startswith("@"):
        return name(text)
    try:
        with Path(text[1:]).open("rb") as file:
            return name(os.fsdecode(file.readline(_MAX_SECRET_BYTES).rstrip(b"\r\n")))
    except OSError as error:
        raise ValueError(f"cannot be read from {text[1:]}: {error.strerror}") from None


def header_names(text: str) -> tuple[str, ...]:
    """Names of headers, separated by ``;``."""
    return tuple(each.strip() for each in text.split(";") if each.strip())


def endpoints(text: str) -> tuple[Endpoint, ...]:
    """Endpoints, separated by commas or lines."""
    return tuple(parse_endpoint(each) for each in pieces(text))


def networks(text: str) -> tuple[Network, ...]:
    """Addresses or networks, separated by commas or lines."""
    try:
        return tuple(parse_networks(pieces(text)))
    except ValueError as error:
        raise ValueError(f"has no network: {error}") from None


def pieces(text: str) -> list[str]:
    """Split at commas and lines."""
    return [each.strip() for each in text.replace("\n", ",").split(",") if each.strip()]


def joined(values: Any) -> str:
    """Write a list of values as it stands in a file."""
    return ", ".join(map(str, values))


def hidden(value: Any) -> str:
    """Write a secret so that it stays one."""
    return HIDDEN if value else ""


def or_nothing(shown: Callable[[Any], str] = str) -> Callable[[Any], str]:
    """Write a value that may be missing."""
    return lambda value: "" if value is None else shown(value)


def switch_text(value: Any) -> str:
    """Write a flag as the module does."""
    return str(int(value))


_ALLOWED: Final[Mapping[Read, str]] = {
    flag: "0, 1 (any other number is 1), yes, no, on, off",
    seconds_or_off: "off, or a time span, as 30, 5min, 2h or 1d",
    size: "a size, as 1GiB, 20GB or a number of bytes",
    path: "a path",
    folder_or_off: "a folder, or off",
    column: f"a name of 1 to {_LONGEST_COLUMN} characters",
    host_and_port: "HOST:PORT, IPv6 in brackets, * for any host",
    host_and_ports: "HOST[:PORT[-PORT]], IPv6 in brackets",
    secret: "a text, or @FILE for the first line of a file",
    header_names: "names with ; between",
    networks: "addresses or networks, as 192.0.2.0/24, with commas between or on lines of their own",
    name: "a text that is not empty",
}


def allowed_of(read: Read) -> str:
    """What a Read takes, for people; "" if that is any text."""
    return read.allowed if isinstance(read, Ranged) else _ALLOWED.get(read, "")
