-- Sets a server up for sipcap: the database, who writes to it and who reads. The counterpart of homer_databases.sql and
-- homer_user.sql of the sipcapture module; names are those that HOMER expects. For MariaDB 10.2, MySQL 8.0.13 and newer,
-- as an administrator, once, with a password of your own in place of each CHANGE_ME:
--
--   mysql -u root < setup.sql
--   sipcap store --db-url mysql://homer_user:PASSWORD@localhost/homer_data
--
-- sipcap creates its tables itself, by the other files of this folder. From other machines than the server, write '%' or
-- an address in place of 'localhost'. Rows go in fastest where LOAD DATA LOCAL is allowed: local_infile=1 in the server's
-- configuration, as MariaDB comes.

CREATE DATABASE IF NOT EXISTS homer_data CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- sipcap listen | sipcap store, sipcap run, sipcap tables
CREATE USER IF NOT EXISTS 'homer_user'@'localhost' IDENTIFIED BY 'CHANGE_ME';
GRANT SELECT, INSERT, DELETE, CREATE, ALTER, DROP, INDEX ON homer_data.* TO 'homer_user'@'localhost';

-- sipcap search
CREATE USER IF NOT EXISTS 'homer_reader'@'localhost' IDENTIFIED BY 'CHANGE_ME';
GRANT SELECT ON homer_data.* TO 'homer_reader'@'localhost';
