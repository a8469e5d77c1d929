-- A table of SIP messages: the 44 columns of the sipcapture module, its eight indexes, and two of sipcap's own:
--   msg_raw   the message's exact bytes where msg, which is always text without NUL, does not tell them; else NULL
--   envelope  JSON: what else is known of the message (HEP version, capture id, VLAN ...); NULL if nothing
-- date is UTC. sipcap executes this file with the wanted table's name in place of sip_capture.

CREATE TABLE IF NOT EXISTS "sip_capture" (
    id INTEGER PRIMARY KEY,
    date TEXT NOT NULL DEFAULT '',
    micro_ts INTEGER NOT NULL DEFAULT 0,
    method TEXT NOT NULL DEFAULT '',
    reply_reason TEXT NOT NULL DEFAULT '',
    ruri TEXT NOT NULL DEFAULT '',
    ruri_user TEXT NOT NULL DEFAULT '',
    from_user TEXT NOT NULL DEFAULT '',
    from_tag TEXT NOT NULL DEFAULT '',
    to_user TEXT NOT NULL DEFAULT '',
    to_tag TEXT NOT NULL DEFAULT '',
    pid_user TEXT NOT NULL DEFAULT '',
    contact_user TEXT NOT NULL DEFAULT '',
    auth_user TEXT NOT NULL DEFAULT '',
    callid TEXT NOT NULL DEFAULT '',
    callid_aleg TEXT NOT NULL DEFAULT '',
    via_1 TEXT NOT NULL DEFAULT '',
    via_1_branch TEXT NOT NULL DEFAULT '',
    cseq TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    content_type TEXT NOT NULL DEFAULT '',
    auth TEXT NOT NULL DEFAULT '',
    user_agent TEXT NOT NULL DEFAULT '',
    source_ip TEXT NOT NULL DEFAULT '',
    source_port INTEGER NOT NULL DEFAULT 0,
    destination_ip TEXT NOT NULL DEFAULT '',
    destination_port INTEGER NOT NULL DEFAULT 0,
    contact_ip TEXT NOT NULL DEFAULT '',
    contact_port INTEGER NOT NULL DEFAULT 0,
    originator_ip TEXT NOT NULL DEFAULT '',
    originator_port INTEGER NOT NULL DEFAULT 0,
    proto INTEGER NOT NULL DEFAULT 0,
    family INTEGER NOT NULL DEFAULT 0,
    rtp_stat TEXT NOT NULL DEFAULT '',
    type INTEGER NOT NULL DEFAULT 0,
    node TEXT NOT NULL DEFAULT '',
    correlation_id TEXT NOT NULL DEFAULT '',
    from_domain TEXT NOT NULL DEFAULT '',
    to_domain TEXT NOT NULL DEFAULT '',
    ruri_domain TEXT NOT NULL DEFAULT '',
    diversion TEXT NOT NULL DEFAULT '',
    msg TEXT NOT NULL DEFAULT '',
    custom_field1 TEXT NOT NULL DEFAULT '',
    custom_field2 TEXT NOT NULL DEFAULT '',
    custom_field3 TEXT NOT NULL DEFAULT '',
    msg_raw BLOB,
    envelope TEXT
);

CREATE INDEX IF NOT EXISTS "sip_capture_ruri_user_idx" ON "sip_capture" (ruri_user);
CREATE INDEX IF NOT EXISTS "sip_capture_from_user_idx" ON "sip_capture" (from_user);
CREATE INDEX IF NOT EXISTS "sip_capture_to_user_idx" ON "sip_capture" (to_user);
CREATE INDEX IF NOT EXISTS "sip_capture_pid_user_idx" ON "sip_capture" (pid_user);
CREATE INDEX IF NOT EXISTS "sip_capture_auth_user_idx" ON "sip_capture" (auth_user);
CREATE INDEX IF NOT EXISTS "sip_capture_callid_aleg_idx" ON "sip_capture" (callid_aleg);
CREATE INDEX IF NOT EXISTS "sip_capture_date_idx" ON "sip_capture" (date);
CREATE INDEX IF NOT EXISTS "sip_capture_callid_idx" ON "sip_capture" (callid);
