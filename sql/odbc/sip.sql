-- A table of SIP messages for any engine behind an ODBC data source: the 44 columns of the sipcapture module, and two of
-- sipcap's own:
--   msg_raw   the message's exact bytes where msg, which is always text without NUL, does not tell them; else NULL
--   envelope  JSON: what else is known of the message (HEP version, capture id, VLAN ...); NULL if nothing
-- date is UTC, YYYY-MM-DD HH:MM:SS, as text: engines differ in what they do to a timestamp on its way in and out.
-- sipcap executes this file with the wanted table's name in place of sip_capture, with the data source's own types in
-- place of BIGINT, LONGVARCHAR and LONGVARBINARY, and with its marks around names. Portable SQL has neither a number
-- of each row nor an index on long text: whoever wants them creates the table, which sipcap then uses as it is.

CREATE TABLE "sip_capture" (
    "date" VARCHAR(32),
    "micro_ts" BIGINT,
    "method" LONGVARCHAR,
    "reply_reason" LONGVARCHAR,
    "ruri" LONGVARCHAR,
    "ruri_user" LONGVARCHAR,
    "from_user" LONGVARCHAR,
    "from_tag" LONGVARCHAR,
    "to_user" LONGVARCHAR,
    "to_tag" LONGVARCHAR,
    "pid_user" LONGVARCHAR,
    "contact_user" LONGVARCHAR,
    "auth_user" LONGVARCHAR,
    "callid" LONGVARCHAR,
    "callid_aleg" LONGVARCHAR,
    "via_1" LONGVARCHAR,
    "via_1_branch" LONGVARCHAR,
    "cseq" LONGVARCHAR,
    "reason" LONGVARCHAR,
    "content_type" LONGVARCHAR,
    "auth" LONGVARCHAR,
    "user_agent" LONGVARCHAR,
    "source_ip" LONGVARCHAR,
    "source_port" BIGINT,
    "destination_ip" LONGVARCHAR,
    "destination_port" BIGINT,
    "contact_ip" LONGVARCHAR,
    "contact_port" BIGINT,
    "originator_ip" LONGVARCHAR,
    "originator_port" BIGINT,
    "proto" BIGINT,
    "family" BIGINT,
    "rtp_stat" LONGVARCHAR,
    "type" BIGINT,
    "node" LONGVARCHAR,
    "correlation_id" LONGVARCHAR,
    "from_domain" LONGVARCHAR,
    "to_domain" LONGVARCHAR,
    "ruri_domain" LONGVARCHAR,
    "diversion" LONGVARCHAR,
    "msg" LONGVARCHAR,
    "custom_field1" LONGVARCHAR,
    "custom_field2" LONGVARCHAR,
    "custom_field3" LONGVARCHAR,
    "msg_raw" LONGVARBINARY,
    "envelope" LONGVARCHAR
);

CREATE INDEX "sip_capture_micro_ts_idx" ON "sip_capture" ("micro_ts");
CREATE INDEX "sip_capture_date_idx" ON "sip_capture" ("date");
