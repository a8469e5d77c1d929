"""``python -m tests.fuzz NAME [options of libFuzzer] [folder]``: look for bytes that break one target, or ``all``.

Without options it goes on until something is found or it is stopped: Ctrl-C ends all of it. What is found goes to a
file whose name ``-artifact_prefix`` begins (in the current folder, without it); a folder that is named keeps the inputs
that reached something new.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PACKAGE = "tests.fuzz"


def main(arguments: Sequence[str]) -> int:
    """Fuzz targets, each in a process of its own: libFuzzer ends the one that it runs in."""
    atheris: Any = importlib.import_module("atheris")  # it has no types, and is not everywhere
    with atheris.instrument_imports(include=["sipcap"]):
        targets = importlib.import_module(f"{_PACKAGE}.targets").TARGETS
        seeds_of = importlib.import_module(f"{_PACKAGE}.seeds").seeds_of
    name, *more = arguments or [""]
    names = list(targets) if name == "all" else [name]
    if not set(names) <= set(targets):
        _say(f"{__doc__}\nNAME is one of: {' '.join(targets)}")
        return 2
    logging.disable()  # a warning for each of a million inputs helps nobody
    failed = []
    folder = tempfile.mkdtemp()  # a TemporaryDirectory would be removed at the end of each child
    try:
        for name in names:
            place = Path(folder) / name
            place.mkdir()
            for number, seed in enumerate(seeds_of(name)):
                (place / str(number)).write_bytes(seed)
            _say(f"== {name}")
            if not _run(atheris, targets[name], [*more, str(place)]):
                failed.append(name)
    finally:
        shutil.rmtree(folder)
    if failed:
        _say(f"== found something: {' '.join(failed)}")
    return bool(failed)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _run(atheris: Any, target: Any, arguments: Sequence[str]) -> bool:
    """Run libFuzzer in a child; whether it ended well. Its first folder is where it puts what it keeps."""
    child = os.fork()
    if not child:
        try:
            atheris.Setup(["fuzz", *arguments], target)
            atheris.Fuzz()  # does not return
        finally:
            os._exit(1)  # not through what the parent will do
    try:
        return os.waitpid(child, 0)[1] == 0
    except KeyboardInterrupt:
        os.waitpid(child, 0)
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
