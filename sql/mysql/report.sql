-- A table of what is not SIP (RTCP, logs, MOS, DNS ...): the 12 columns that the sipcapture module writes, its
-- indexes, and msg_raw and envelope as in sip.sql. The usual names are report_capture, rtcp_capture and logs_capture.
-- sipcap executes this file with the wanted table's name in place of report_capture.

CREATE TABLE IF NOT EXISTS `report_capture` (
    id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    date datetime NOT NULL,
    micro_ts bigint NOT NULL DEFAULT 0,
    correlation_id text NOT NULL DEFAULT (''),
    source_ip varchar(255) NOT NULL DEFAULT '',
    source_port bigint NOT NULL DEFAULT 0,
    destination_ip varchar(255) NOT NULL DEFAULT '',
    destination_port bigint NOT NULL DEFAULT 0,
    proto bigint NOT NULL DEFAULT 0,
    family bigint NOT NULL DEFAULT 0,
    type bigint NOT NULL DEFAULT 0,
    node varchar(255) NOT NULL DEFAULT '',
    msg longtext NOT NULL DEFAULT (''),
    msg_raw longblob,
    envelope longtext,
    KEY date (date),
    KEY correlation_id (correlation_id(191))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
