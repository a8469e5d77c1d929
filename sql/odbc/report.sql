-- A table of what is not SIP (RTCP, logs, MOS, DNS ...): the 12 columns that the sipcapture module writes, and msg_raw
-- and envelope as in sip.sql. The usual names are report_capture, rtcp_capture and logs_capture.
-- sipcap executes this file with the wanted table's name in place of report_capture, and types as in sip.sql.

CREATE TABLE "report_capture" (
    "date" VARCHAR(32),
    "micro_ts" BIGINT,
    "correlation_id" LONGVARCHAR,
    "source_ip" LONGVARCHAR,
    "source_port" BIGINT,
    "destination_ip" LONGVARCHAR,
    "destination_port" BIGINT,
    "proto" BIGINT,
    "family" BIGINT,
    "type" BIGINT,
    "node" LONGVARCHAR,
    "msg" LONGVARCHAR,
    "msg_raw" LONGVARBINARY,
    "envelope" LONGVARCHAR
);

CREATE INDEX "report_capture_micro_ts_idx" ON "report_capture" ("micro_ts");
CREATE INDEX "report_capture_date_idx" ON "report_capture" ("date");
