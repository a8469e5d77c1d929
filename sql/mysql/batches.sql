-- The ids of the batches that were committed of late, so that a batch whose commit was in doubt is not stored twice.
-- Rows older than a day are deleted by the writers.

CREATE TABLE IF NOT EXISTS `sipcap_batches` (
    batch_id varchar(191) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    committed_s bigint NOT NULL,
    KEY committed_s (committed_s)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
