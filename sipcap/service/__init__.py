"""``sipcap run``: the processes of the service and how they are steered."""
