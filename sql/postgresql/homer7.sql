-- The tables of HOMER 7 as heplify-server makes them, for homer-app to read: a parent without rows of its own, and
-- partitions of a few hours with their indexes. create_date is the packet's own time; bounds are in UTC.
-- sipcap executes the statements of the table that is wanted or most like it, with the wanted names and bounds. Names
-- have no quotes, as heplify-server's, so that its IF NOT EXISTS finds them. ATTACH makes neither readers nor writers
-- wait, where PARTITION OF locks the parent. A default partition must not exist: it is in the way of all others.

-- SIP: also hep_proto_1_registration and hep_proto_1_default. Partitions of 2 hours.

CREATE TABLE IF NOT EXISTS hep_proto_1_call (
    id BIGSERIAL NOT NULL,
    sid varchar NOT NULL,
    create_date timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    protocol_header jsonb NOT NULL,
    data_header jsonb NOT NULL,
    raw varchar NOT NULL
) PARTITION BY RANGE (create_date);

CREATE TABLE hep_proto_1_call_20260101_0000 (LIKE hep_proto_1_call INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_create_date ON hep_proto_1_call_20260101_0000 (create_date);
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_sid ON hep_proto_1_call_20260101_0000 (sid);
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_srcIp ON hep_proto_1_call_20260101_0000 ((protocol_header->>'srcIp'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_dstIp ON hep_proto_1_call_20260101_0000 ((protocol_header->>'dstIp'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_correlation_id ON hep_proto_1_call_20260101_0000 ((protocol_header->>'correlation_id'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_ruri_domain ON hep_proto_1_call_20260101_0000 ((data_header->>'ruri_domain'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_ruri_user ON hep_proto_1_call_20260101_0000 ((data_header->>'ruri_user'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_from_user ON hep_proto_1_call_20260101_0000 ((data_header->>'from_user'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_to_user ON hep_proto_1_call_20260101_0000 ((data_header->>'to_user'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_pid_user ON hep_proto_1_call_20260101_0000 ((data_header->>'pid_user'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_auth_user ON hep_proto_1_call_20260101_0000 ((data_header->>'auth_user'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_callid ON hep_proto_1_call_20260101_0000 ((data_header->>'callid'));
CREATE INDEX IF NOT EXISTS hep_proto_1_call_20260101_0000_method ON hep_proto_1_call_20260101_0000 ((data_header->>'method'));
ALTER TABLE hep_proto_1_call ATTACH PARTITION hep_proto_1_call_20260101_0000
    FOR VALUES FROM ('2026-01-01 00:00:00') TO ('2026-01-01 02:00:00');

-- Everything that is neither SIP nor ISUP: also hep_proto_5_default, hep_proto_53_default and hep_proto_100_default.
-- Partitions of 6 hours, for hep_proto_100_default of 2.

CREATE TABLE IF NOT EXISTS hep_proto_35_default (
    id BIGSERIAL NOT NULL,
    sid varchar NOT NULL,
    create_date timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    protocol_header jsonb NOT NULL,
    data_header jsonb NOT NULL,
    raw varchar NOT NULL
) PARTITION BY RANGE (create_date);

CREATE TABLE hep_proto_35_default_20260101_0000 (LIKE hep_proto_35_default INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
CREATE INDEX IF NOT EXISTS hep_proto_35_default_20260101_0000_create_date ON hep_proto_35_default_20260101_0000 (create_date);
CREATE INDEX IF NOT EXISTS hep_proto_35_default_20260101_0000_sid ON hep_proto_35_default_20260101_0000 (sid);
CREATE INDEX IF NOT EXISTS hep_proto_35_default_20260101_0000_srcIp ON hep_proto_35_default_20260101_0000 ((protocol_header->>'srcIp'));
CREATE INDEX IF NOT EXISTS hep_proto_35_default_20260101_0000_dstIp ON hep_proto_35_default_20260101_0000 ((protocol_header->>'dstIp'));
CREATE INDEX IF NOT EXISTS hep_proto_35_default_20260101_0000_correlation_id ON hep_proto_35_default_20260101_0000 ((protocol_header->>'correlation_id'));
ALTER TABLE hep_proto_35_default ATTACH PARTITION hep_proto_35_default_20260101_0000
    FOR VALUES FROM ('2026-01-01 00:00:00') TO ('2026-01-01 06:00:00');

-- ISUP. Partitions of 6 hours.

CREATE TABLE IF NOT EXISTS hep_proto_54_default (
    id BIGSERIAL NOT NULL,
    sid varchar NOT NULL,
    create_date timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    protocol_header jsonb NOT NULL,
    data_header jsonb NOT NULL,
    raw varchar NOT NULL
) PARTITION BY RANGE (create_date);

CREATE TABLE hep_proto_54_default_20260101_0000 (LIKE hep_proto_54_default INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_create_date ON hep_proto_54_default_20260101_0000 (create_date);
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_sid ON hep_proto_54_default_20260101_0000 (sid);
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_correlation_id ON hep_proto_54_default_20260101_0000 ((protocol_header->>'correlation_id'));
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_called_number ON hep_proto_54_default_20260101_0000 ((data_header->>'called_number'));
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_calling_number ON hep_proto_54_default_20260101_0000 ((data_header->>'calling_number'));
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_opc ON hep_proto_54_default_20260101_0000 ((data_header->>'opc'));
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_dpc ON hep_proto_54_default_20260101_0000 ((data_header->>'dpc'));
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_cic ON hep_proto_54_default_20260101_0000 ((data_header->>'cic'));
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_msg_name ON hep_proto_54_default_20260101_0000 ((data_header->>'msg_name'));
CREATE INDEX IF NOT EXISTS hep_proto_54_default_20260101_0000_callid ON hep_proto_54_default_20260101_0000 ((data_header->>'callid'));
ALTER TABLE hep_proto_54_default ATTACH PARTITION hep_proto_54_default_20260101_0000
    FOR VALUES FROM ('2026-01-01 00:00:00') TO ('2026-01-01 06:00:00');
