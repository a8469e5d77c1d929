"""Compiled twins of the hot functions: faster, and otherwise the same.

Each takes the usual case only and leaves anything else to its Python reference. The tests hold both equal. Where nobody
could compile them, or with SIPCAP_COMPILED=0 in the environment, the reference does it all.
"""

import importlib
import os
from functools import cache
from types import ModuleType

ENABLED = os.environ.get("SIPCAP_COMPILED", "1") != "0"
"""Whether twins are wanted at all. Nothing else decides it: whoever has a twin asks for it here, as he is imported."""


@cache
def twins() -> ModuleType | None:
    """The compiled module, which holds all of them; None if it is not wanted, or not there."""
    if not ENABLED:
        return None
    try:
        return importlib.import_module("sipcap.compiled.native")
    except ImportError:  # nobody could compile it here
        return None
