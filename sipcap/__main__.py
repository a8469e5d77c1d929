"""``python -m sipcap`` is ``sipcap``."""

from sipcap.cli.main import main

main()
