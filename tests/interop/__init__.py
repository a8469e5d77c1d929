"""Differential and interoperability tests against real peers: Kamailio, sngrep, SIPp and tshark."""
