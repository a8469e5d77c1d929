"""The targets of the fuzzer: what they begin with, what they have found, and a short run of each."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from tests.fuzz.cutting import packed
from tests.fuzz.packets import LINKS
from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import TARGETS
from tests.support.packets import ETHERNET, SOURCE, ethernet, ip4
from tests.support.tcp import tcp

_SECONDS = 1
"""For each target; libFuzzer adds one, so that all of them take about 50 s."""

FOUND: dict[str, tuple[str, bytes]] = {
    "start line refused and found again for ever": (
        "sip_stream",
        b"\x08INVITE sip:a " + b"b" * 2_100 + b" SIP/2.0\r\nVia: x\r\nl: 0\r\n\r\n",
    ),
    "sctp number that comes again while it waits": ("sctp", bytes((0, 5, 9, 4, 5, 9, 0, 5, 9)) * 2),
    "fifo request carried out twice": (
        "fifo",
        b'{"jsonrpc":"2.0","method":"a"}\n{"jsonrpc":"2.0","method":"b"}\n' + b"[" * 40 + b"\n",
    ),
    "table pattern with %G alone does not know its names": ("patterns", b"x_%G_"),
    "table pattern with weeks of two kinds does not know its names": ("patterns", b"%U%Y%W"),
    "rtcp with a description of nobody is encoded without it": (
        "rtcp",
        b"\x80\xc9\0\1\0\0\0\1\x80\xca\0\0",
    ),
    "tcp segment to itself stays for ever": (
        "packets",
        bytes((LINKS.index(ETHERNET), 1))
        + packed([ethernet(ip4(tcp(b"INVITE sip:a", 5_060, 5_060), 6, destination=SOURCE))]),
    ),
}
"""What was found: the target, and the bytes."""


@pytest.mark.parametrize("name", TARGETS)
def test_target_takes_what_fuzzing_begins_with(name: str) -> None:
    """Every target takes each of its seeds, cut short and with bytes behind it, without an exception."""
    seeds = seeds_of(name)
    assert seeds
    for seed in seeds:
        for data in (seed, seed[:-1], seed[: len(seed) // 2], seed + b"\0", seed + seed):
            TARGETS[name](data)


@pytest.mark.parametrize("name", FOUND)
def test_target_takes_what_was_found_once(name: str) -> None:
    """What has broken a target once does so no more."""
    target, data = FOUND[name]
    TARGETS[target](data)


@pytest.mark.timeout(300)
def test_fuzzing_each_target_for_a_moment_finds_nothing(tmp_path: Path) -> None:
    """A short run of libFuzzer over every target finds nothing; what it finds stands in its output, as Base64."""
    if importlib.util.find_spec("atheris") is None:
        if os.environ.get("CI") == "true" and sys.version_info < (3, 15):
            pytest.fail("atheris is needed in CI")
        pytest.skip("atheris is not here")
    options = [
        "-seed=1",
        "-runs=2000",
        f"-max_total_time={_SECONDS}",
        "-timeout=20",
        "-max_len=4096",
        f"-artifact_prefix={tmp_path}/",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "all", *options],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stderr[-8_000:]
    assert done.stderr.count("Done ") >= len(TARGETS)
