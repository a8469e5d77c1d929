-- The ids of the batches that were committed of late, so that a batch whose commit was in doubt is not stored twice.
-- Rows older than a day are deleted by the writer.

CREATE TABLE IF NOT EXISTS "sipcap_batches" (
    batch_id TEXT PRIMARY KEY,
    committed_s INTEGER NOT NULL
) WITHOUT ROWID;
