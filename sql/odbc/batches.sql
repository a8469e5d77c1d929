-- The ids of the batches that were committed of late, so that a batch whose commit was in doubt is not stored twice.
-- Rows older than a day are deleted by the writers. Types are replaced as in sip.sql.

CREATE TABLE "sipcap_batches" (
    "batch_id" VARCHAR(128) NOT NULL PRIMARY KEY,
    "committed_s" BIGINT NOT NULL
);
