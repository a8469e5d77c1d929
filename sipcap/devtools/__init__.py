"""Generators of the man pages and shell completions: ``python -m sipcap.devtools --write``."""
