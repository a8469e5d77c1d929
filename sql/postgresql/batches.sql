-- The ids of the batches that were committed of late, so that a batch whose commit was in doubt is not stored twice.
-- Rows older than a day are deleted by the writers.

CREATE TABLE IF NOT EXISTS "sipcap_batches" (
    batch_id text COLLATE "C" PRIMARY KEY,
    committed_s bigint NOT NULL
);

CREATE INDEX IF NOT EXISTS "sipcap_batches_committed_s_idx" ON "sipcap_batches" (committed_s);
