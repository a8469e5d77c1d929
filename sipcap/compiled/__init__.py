"""Compiled twins of the hot functions: faster, and otherwise the same.

Each takes the usual case only and returns None for anything else, which its Python reference does then. The tests hold
both equal. Where nobody could compile them, or with SIPCAP_COMPILED=0 in the environment, the reference does it all.
"""
