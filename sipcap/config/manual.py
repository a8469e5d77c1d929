"""What every section and key of a configuration file means, in a line each, for modes.ini(5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sipcap.config.keys import CAPTURE_MODE, LISTEN, MAIN, ROUTE

_SENDERS: Final = {
    "auth_key": "Refuse HEP that does not carry this key; @FILE reads it from a file.",
    "allow": "Hear these senders only: addresses and networks with commas between.",
    "tls_cert": "Certificate for tls: endpoints (PEM).",
    "tls_key": "Its key, if it is in a file of its own.",
    "tls_client_ca": "Demand client certificates signed by this CA.",
}
_MODES: Final = {
    "db_url": "The database, as for sipcap-store(1); @FILE reads it from a file.",
    "table_name": "Tables with | between, each a strftime pattern in UTC of the message's time.",
    "mt_mode": "How one of several tables is chosen: rand, round_robin or hash.",
    "hash_source": "What hash looks at: call_id, from_user or to_user.",
}

TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    MAIN: {
        **_MODES,
        "capture_mode": "Capture modes in the module's notation, NAME=>key=value;key=value, one a line.",
        "capture_on": "Whether capture is on at the start. 0 = nothing is stored until somebody switches it on.",
        "capture_node": "First half of the column node.",
        "hep_capture_on": "1 = a listener for HEP on udp:*:9060, beside those of [listen:NAME].",
        "nonsip_hook": "1 = the hook is asked about HEP that is not SIP, too.",
        "event_callback": "The hook: MODULE:CALLABLE or FILE.py:CALLABLE, asked about each message.",
        "db_insert_mode": "0 = plain, 1 = INSERT DELAYED where the engine takes it, 2 = many batches read ahead.",
        "insert_retries": "Further attempts for a batch before it goes to the spool; 0 to 500.",
        "insert_retry_timeout": "No attempt begins later than this after the first, in seconds; 0 to 300.",
        "callid_aleg_header": "Headers with ; between, whose first present one gives callid_aleg.",
        "custom_field1_header": "The header for custom_field1; empty = none.",
        "custom_field2_header": "The header for custom_field2.",
        "custom_field3_header": "The header for custom_field3.",
        "capture_bad_msgs": "0 = reject SIP that lacks Via, From, To, Call-ID or CSeq, as the module does.",
        "topoh_unmask": "1 = take the mask of Kamailio's topoh off Call-IDs.",
        "raw_ipip_capture_on": "1 = a listener in mode ipip, made of the raw_... keys.",
        "raw_moni_capture_on": "1 = a listener in mode mirror, made of the raw_... keys.",
        "raw_socket_listen": "HOST[:PORT[-PORT]] of those two.",
        "raw_interface": "Their interface.",
        "raw_sock_children": "How many processes each of the three added listeners has.",
        "promiscuous_on": "1 = the mirror listener takes packets to others, too.",
        "raw_moni_bpf_on": "1 = it has the kernel filter that follows from its ports.",
        "schema": "Columns and tables: sipcapture, homer5 or homer7.",
        "batch_size": "Records in one transaction.",
        "batch_interval": "A record is in its table at most this long after it was read, in seconds.",
        "spool": "Where records wait while a database is away: a folder, or off. By default $STATE_DIRECTORY, else "
        "$XDG_STATE_HOME/sipcap.",
        "spool_max": "What the spool takes of the disk at most for each database: 1GiB, 500MB, or bytes.",
        "dead_letter": "The file for records that a database refuses for themselves.",
        "dead_letter_max": "What that file may grow to.",
        "hook_timeout": "How long the hook may take for one message, in seconds.",
        "topoh_key": "mask_key of topoh; @FILE reads it from a file.",
        "topoh_prefix": "callid_prefix of topoh.",
        **{key: f"{text} For listeners that do not say themselves." for key, text in _SENDERS.items()},
        "user": "NAME[:GROUP] to become when the sockets are open, if it is started as root.",
        "control_socket": "Where sipcap-status(1) and sipcap-top(1) ask. By default /run/sipcap/sipcap.sock, else "
        "$XDG_RUNTIME_DIR/sipcap.sock.",
        "control_group": "A group that may use the control sockets, too.",
        "binrpc_socket": "A socket for kamcmd.",
        "rpc_fifo": "A FIFO for kamctl rpc.",
        "metrics_listen": "HOST:PORT of the metrics for Prometheus and of /healthz.",
        "drain_timeout": "How long to go on, once stopped, with what has been taken in, in seconds.",
        "max_age": "Live messages that are older than this take the time of their arrival: seconds, 1h, 2d, or off.",
    },
    LISTEN: {
        "mode": "hep, ipip or mirror.",
        "listen": "hep: endpoints with commas between, [udp:|tcp:|tls:]HOST:PORT[-PORT]. ipip and mirror: "
        "HOST[:PORT[-PORT]], where the ports are a filter; without one SIP is known by its content.",
        "iface": "ipip, mirror: the interface; without one, any.",
        "promisc": "mirror: 1 = take packets to others, too.",
        "bpf": "mirror: a kernel filter in libpcap's language, or auto: the one that follows from the ports.",
        "direction": "mirror: in, out or both, as the interface sees it.",
        "children": "Processes that share the sockets.",
        "rcvbuf": "Receive buffer to ask for.",
        **{key: f"hep: {text}" for key, text in _SENDERS.items()},
    },
    CAPTURE_MODE: _MODES,
    ROUTE: {
        "methods": "Methods with commas between; a reply has that of its CSeq.",
        "source": "Source addresses and networks with commas between.",
        "hep_type": "HEP payload types with commas between; SIP is 1.",
        "capture_id": "Capture ids of HEP agents with commas between.",
        "header": "NAME: a regular expression that its value must contain.",
        "table": "The table, a strftime pattern in UTC of the message's time. What is no SIP has other columns, and "
        "goes there only if hep_type names its type.",
        "capture_mode": "The capture mode.",
        "forward": "An endpoint that gets the packet as well, byte for byte.",
    },
}
"""Sections and their keys."""

COLUMNS: Final = (
    "Each column of the module can have another name in the tables: NAME_column = OTHER, with the module's own names "
    "of these parameters (correlation_column renames correlation_id, authorization_column renames auth)."
)
"""The keys of [sipcap] that are not in ``TEXTS``."""

SECTION_TEXTS: Final[Mapping[str, str]] = {
    MAIN: "The parameters of Kamailio's module sipcapture by their own names, with its defaults (but capture_bad_msgs "
    "is 1), and the service's own. The database keys make the capture mode called default.",
    LISTEN: "Where messages come from; any number, each with a name. Without any, HEP on 127.0.0.1:9060, UDP and TCP.",
    CAPTURE_MODE: "A database with its tables; db_url must be there.",
    ROUTE: "Where records go, in the order of the file: the first whose conditions all hold. What none takes goes to "
    "the capture mode default. One of table, capture_mode and forward must be there.",
}
