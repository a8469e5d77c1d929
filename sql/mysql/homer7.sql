-- A table of HOMER 7, as heplify-server makes it in PostgreSQL. It is not partitioned and holds all times; create_date is
-- the packet's own time in UTC. The fields in the JSON have no indexes: MariaDB cannot index expressions.
-- sipcap executes this file with the wanted table's name in place of hep_proto_1_call.

CREATE TABLE IF NOT EXISTS `hep_proto_1_call` (
    id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sid text NOT NULL,
    create_date datetime(6) NOT NULL,
    protocol_header json NOT NULL,
    data_header json NOT NULL,
    raw longtext NOT NULL,
    KEY create_date (create_date),
    KEY sid (sid(191))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
