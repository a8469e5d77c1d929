"""Which sections and keys may stand in a configuration file (design 1.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sipcap.config.ini import IniFile
from sipcap.modes import MODE_KEYS, nearest
from sipcap.record import SIP_COLUMNS

MAIN: Final = "sipcap"
CAPTURE_MODE: Final = "capture_mode"

_MODULE_PARAMETERS: Final = (
    "db_url", "table_name", "mt_mode", "hash_source", "capture_mode", "capture_on", "capture_node", "hep_capture_on",
    "nonsip_hook", "event_callback", "db_insert_mode", "insert_retries", "insert_retry_timeout", "callid_aleg_header",
    "custom_field1_header", "custom_field2_header", "custom_field3_header", "capture_bad_msgs", "topoh_unmask",
    "raw_ipip_capture_on", "raw_moni_capture_on", "raw_socket_listen", "raw_interface", "raw_sock_children",
    "promiscuous_on", "raw_moni_bpf_on",
)  # fmt: skip
_RENAMED: Final = {"correlation_id": "correlation", "auth": "authorization"}  # these columns have other names there
_COLUMN_PARAMETERS: Final = tuple(f"{_RENAMED.get(column, column)}_column" for column in SIP_COLUMNS)
_FURTHER_KEYS: Final = (
    "schema", "batch_size", "batch_interval", "spool", "spool_max", "dead_letter", "dead_letter_max", "hook_timeout",
    "topoh_key", "topoh_prefix", "auth_key", "allow", "tls_cert", "tls_key", "tls_client_ca", "user", "control_socket",
    "control_group", "binrpc_socket", "rpc_fifo", "metrics_listen", "drain_timeout", "max_age",
)  # fmt: skip

SECTIONS: Final[Mapping[str, tuple[str, ...] | None]] = {
    MAIN: (*_MODULE_PARAMETERS, *_COLUMN_PARAMETERS, *_FURTHER_KEYS),
    CAPTURE_MODE: MODE_KEYS,
    "listen": None,
    "route": None,
}
"""The keys of each kind of section; None = they are not looked at."""

LABELLED: Final = frozenset({CAPTURE_MODE, "listen", "route"})
"""Sections that have a name behind a colon."""


def check_keys(ini: IniFile) -> None:
    """Refuse what cannot stand in a configuration file.

    Raises:
        CannotStart: an unknown section or key; it names file, line and the nearest valid name.
    """
    for section in ini.sections:
        if section.kind not in SECTIONS:
            known = ", ".join(f"{kind}:NAME" if kind in LABELLED else kind for kind in SECTIONS)
            hint = nearest(section.kind, SECTIONS)
            raise ini.error(section.line, f"unknown section [{section.name}]{hint} (known: {known})")
        if bool(section.label) is not (section.kind in LABELLED):
            wanted = f"[{section.kind}:NAME]" if section.kind in LABELLED else f"[{section.kind}]"
            raise ini.error(section.line, f"[{section.name}] is written {wanted}")
        keys = SECTIONS[section.kind]
        for key, value in section.values.items():
            if keys is not None and key not in keys:
                raise ini.error(value.line, f"unknown key {key} in [{section.name}]{nearest(key, keys)}")
