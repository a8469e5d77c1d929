"""The tables that Kamailio's and HOMER 5's own scripts make, from the facts of spec/sipcapture.md 3.1 and 9."""

from __future__ import annotations

from typing import Final

WIDTHS: Final = {
    "method": 50, "reply_reason": 100, "ruri": 200, "ruri_user": 100, "ruri_domain": 150, "from_user": 100,
    "from_domain": 150, "from_tag": 64, "to_user": 100, "to_domain": 150, "to_tag": 64, "pid_user": 100,
    "contact_user": 120, "auth_user": 120, "callid": 120, "callid_aleg": 120, "via_1": 256, "via_1_branch": 80,
    "cseq": 25, "diversion": 256, "reason": 200, "content_type": 256, "auth": 256, "user_agent": 256, "source_ip": 60,
    "destination_ip": 60, "contact_ip": 60, "originator_ip": 60, "correlation_id": 256, "custom_field1": 120,
    "custom_field2": 120, "custom_field3": 120, "rtp_stat": 256, "node": 125, "msg": 1_500,
}  # fmt: skip
"""Characters of the text columns."""

PORTS: Final = ("source_port", "destination_port", "contact_port", "originator_port")
MISSING: Final = (
    "correlation_id", "from_domain", "to_domain", "ruri_domain", "custom_field1", "custom_field2", "custom_field3",
)  # fmt: skip
"""What the script for PostgreSQL has no column for."""

_KEYS: Final = ("ruri_user", "from_user", "to_user", "pid_user", "auth_user", "callid_aleg", "date", "callid")


def mysql_sip_table(name: str = "sip_capture", *, charset: str = "utf8", engine: str = "InnoDB") -> str:
    """``schema_data.sql``: a partitioned table of three-byte UTF-8."""
    texts = [f"`{column}` varchar({width}) NOT NULL DEFAULT ''" for column, width in WIDTHS.items()]
    numbers = [f"`{column}` int(10) NOT NULL DEFAULT '0'" for column in PORTS]
    partitions = (
        "PARTITION BY RANGE (UNIX_TIMESTAMP(`date`)) (PARTITION p1 VALUES LESS THAN (1377734400) ENGINE = InnoDB,"
        " PARTITION pmax VALUES LESS THAN (MAXVALUE) ENGINE = InnoDB)"
    )
    return (
        f"CREATE TABLE `{name}` (`id` bigint(20) unsigned NOT NULL AUTO_INCREMENT,"
        " `date` timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, `micro_ts` bigint(18) NOT NULL DEFAULT '0',"
        f" {', '.join(texts + numbers)}, `proto` int(5) NOT NULL DEFAULT '0', `family` int(1) DEFAULT NULL,"
        " `type` int(2) NOT NULL DEFAULT '0', PRIMARY KEY (`id`, `date`),"
        f" {', '.join(f'KEY `{column}` (`{column}`)' for column in _KEYS)}"
        f") ENGINE={engine} DEFAULT CHARSET={charset} {partitions if engine == 'InnoDB' else ''}"
    )


def postgresql_sip_table(name: str = "sip_capture", *, msg: str = "varchar(1500)") -> str:
    """``create_sipcapture_postgress.sql``, which lacks seven columns."""
    texts = [
        f"{column} varchar({100 if column.startswith('callid') else width}) NOT NULL DEFAULT ''"
        for column, width in WIDTHS.items()
        if column not in {*MISSING, "msg"}
    ]
    numbers = [f"{column} integer NOT NULL" for column in (*PORTS, "proto", "family", "type")]
    return (
        f"CREATE TABLE {name} (id SERIAL NOT NULL,"
        " date timestamp without time zone DEFAULT '1900-01-01 00:00:01' NOT NULL, micro_ts bigint NOT NULL DEFAULT 0,"
        f" {', '.join(texts + numbers)}, msg {msg} NOT NULL, PRIMARY KEY (id, date));"
        + "".join(f"CREATE INDEX {name}_{column}_idx ON {name} ({column});" for column in _KEYS)
    )
