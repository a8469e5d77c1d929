"""sipcap captures SIP signalling and stores it."""

__version__ = "0.1.0"
