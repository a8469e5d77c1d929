-- The tables of HOMER 7, as heplify-server makes them in PostgreSQL, with JSON as text. SQLite has no partitions: each
-- table holds all times. create_date is the packet's own time in UTC, YYYY-MM-DD HH:MM:SS.ffffff. The indexes are used
-- by queries that name a field as they do: json_extract(data_header, '$.from_user').
-- sipcap executes the statements of the table that is wanted or most like it, with the wanted name.

-- SIP: also hep_proto_1_registration and hep_proto_1_default.

CREATE TABLE IF NOT EXISTS "hep_proto_1_call" (
    id INTEGER PRIMARY KEY,
    sid TEXT NOT NULL,
    create_date TEXT NOT NULL,
    protocol_header TEXT NOT NULL,
    data_header TEXT NOT NULL,
    raw TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS "hep_proto_1_call_create_date" ON "hep_proto_1_call" (create_date);
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_sid" ON "hep_proto_1_call" (sid);
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_srcIp" ON "hep_proto_1_call" (json_extract(protocol_header, '$.srcIp'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_dstIp" ON "hep_proto_1_call" (json_extract(protocol_header, '$.dstIp'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_correlation_id" ON "hep_proto_1_call" (json_extract(protocol_header, '$.correlation_id'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_ruri_domain" ON "hep_proto_1_call" (json_extract(data_header, '$.ruri_domain'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_ruri_user" ON "hep_proto_1_call" (json_extract(data_header, '$.ruri_user'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_from_user" ON "hep_proto_1_call" (json_extract(data_header, '$.from_user'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_to_user" ON "hep_proto_1_call" (json_extract(data_header, '$.to_user'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_pid_user" ON "hep_proto_1_call" (json_extract(data_header, '$.pid_user'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_auth_user" ON "hep_proto_1_call" (json_extract(data_header, '$.auth_user'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_callid" ON "hep_proto_1_call" (json_extract(data_header, '$.callid'));
CREATE INDEX IF NOT EXISTS "hep_proto_1_call_method" ON "hep_proto_1_call" (json_extract(data_header, '$.method'));

-- Everything that is neither SIP nor ISUP: also hep_proto_5_default, hep_proto_53_default and hep_proto_100_default.

CREATE TABLE IF NOT EXISTS "hep_proto_35_default" (
    id INTEGER PRIMARY KEY,
    sid TEXT NOT NULL,
    create_date TEXT NOT NULL,
    protocol_header TEXT NOT NULL,
    data_header TEXT NOT NULL,
    raw TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS "hep_proto_35_default_create_date" ON "hep_proto_35_default" (create_date);
CREATE INDEX IF NOT EXISTS "hep_proto_35_default_sid" ON "hep_proto_35_default" (sid);
CREATE INDEX IF NOT EXISTS "hep_proto_35_default_srcIp" ON "hep_proto_35_default" (json_extract(protocol_header, '$.srcIp'));
CREATE INDEX IF NOT EXISTS "hep_proto_35_default_dstIp" ON "hep_proto_35_default" (json_extract(protocol_header, '$.dstIp'));
CREATE INDEX IF NOT EXISTS "hep_proto_35_default_correlation_id" ON "hep_proto_35_default" (json_extract(protocol_header, '$.correlation_id'));

-- ISUP.

CREATE TABLE IF NOT EXISTS "hep_proto_54_default" (
    id INTEGER PRIMARY KEY,
    sid TEXT NOT NULL,
    create_date TEXT NOT NULL,
    protocol_header TEXT NOT NULL,
    data_header TEXT NOT NULL,
    raw TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS "hep_proto_54_default_create_date" ON "hep_proto_54_default" (create_date);
CREATE INDEX IF NOT EXISTS "hep_proto_54_default_sid" ON "hep_proto_54_default" (sid);
CREATE INDEX IF NOT EXISTS "hep_proto_54_default_correlation_id" ON "hep_proto_54_default" (json_extract(protocol_header, '$.correlation_id'));
CREATE INDEX IF NOT EXISTS "hep_proto_54_default_called_number" ON "hep_proto_54_default" (json_extract(data_header, '$.called_number'));
CREATE INDEX IF NOT EXISTS "hep_proto_54_default_calling_number" ON "hep_proto_54_default" (json_extract(data_header, '$.calling_number'));
CREATE INDEX IF NOT EXISTS "hep_proto_54_default_opc" ON "hep_proto_54_default" (json_extract(data_header, '$.opc'));
CREATE INDEX IF NOT EXISTS "hep_proto_54_default_dpc" ON "hep_proto_54_default" (json_extract(data_header, '$.dpc'));
CREATE INDEX IF NOT EXISTS "hep_proto_54_default_cic" ON "hep_proto_54_default" (json_extract(data_header, '$.cic'));
CREATE INDEX IF NOT EXISTS "hep_proto_54_default_msg_name" ON "hep_proto_54_default" (json_extract(data_header, '$.msg_name'));
CREATE INDEX IF NOT EXISTS "hep_proto_54_default_callid" ON "hep_proto_54_default" (json_extract(data_header, '$.callid'));
