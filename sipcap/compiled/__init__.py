"""Compiled twins of the hot functions: faster, and otherwise the same.

Each takes the usual case only and returns None for anything else, which its Python reference does then. The tests hold
both equal. Where nobody could compile them, or with SIPCAP_COMPILED=0 in the environment, the reference does it all.
"""

import importlib
import os
from types import ModuleType

ENABLED = os.environ.get("SIPCAP_COMPILED", "1") != "0"
"""Whether twins are wanted at all. Nothing else decides it: whoever has a twin asks for it here, as he is imported."""


TWINS = ("addresses", "frames", "hep3", "packets", "ring", "sip")
"""All modules that can be compiled."""


def twin(name: str) -> ModuleType | None:
    """The compiled module of this name in this folder; None if it is not wanted, or not there."""
    if not ENABLED:
        return None
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ImportError:  # nobody could compile it here
        return None
