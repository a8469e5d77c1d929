-- A table of what is not SIP (RTCP, logs, MOS, DNS ...): the 12 columns that the sipcapture module writes, its
-- indexes, and msg_raw and envelope as in sip.sql. The usual names are report_capture, rtcp_capture and logs_capture.
-- sipcap executes this file with the wanted table's name in place of report_capture.

CREATE TABLE IF NOT EXISTS "report_capture" (
    id INTEGER PRIMARY KEY,
    date TEXT NOT NULL DEFAULT '',
    micro_ts INTEGER NOT NULL DEFAULT 0,
    correlation_id TEXT NOT NULL DEFAULT '',
    source_ip TEXT NOT NULL DEFAULT '',
    source_port INTEGER NOT NULL DEFAULT 0,
    destination_ip TEXT NOT NULL DEFAULT '',
    destination_port INTEGER NOT NULL DEFAULT 0,
    proto INTEGER NOT NULL DEFAULT 0,
    family INTEGER NOT NULL DEFAULT 0,
    type INTEGER NOT NULL DEFAULT 0,
    node TEXT NOT NULL DEFAULT '',
    msg TEXT NOT NULL DEFAULT '',
    msg_raw BLOB,
    envelope TEXT
);

CREATE INDEX IF NOT EXISTS "report_capture_date_idx" ON "report_capture" (date);
CREATE INDEX IF NOT EXISTS "report_capture_correlation_id_idx" ON "report_capture" (correlation_id);
