"""Memory that is given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import SIPCAP, environment

_PROGRAM = """
import ctypes, sys
from sipcap.heap import give_large_blocks_back

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
if sys.argv[1] == "True":
    give_large_blocks_back()
large = bytes(16 << 20)
del large  # from now on, glibc by itself would take as much from the heap
before = libc.mallinfo2().hblkhd
kept = bytes(1 << 20)
print(libc.mallinfo2().hblkhd - before >= 1 << 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize("asked", [True, False])
def test_large_blocks_have_pages_of_their_own_if_that_is_asked_for(asked: bool) -> None:
    """Whatever blocks were freed before; without, the C library does something else."""
    done = subprocess.run(
        [SIPCAP[0], "-c", _PROGRAM, str(asked)], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{asked}\n"
