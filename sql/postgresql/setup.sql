-- Sets a server up for sipcap: the database, who writes to it and who reads. The counterpart of homer_databases.sql and
-- homer_user.sql of the sipcapture module; names are those that HOMER expects. For PostgreSQL 10 and newer, with psql, as
-- a superuser, once, with a password of your own in place of each CHANGE_ME:
--
--   psql -v ON_ERROR_STOP=1 -f setup.sql postgres
--   sipcap store --db-url postgresql://homer_user:PASSWORD@localhost/homer_data
--
-- sipcap creates its tables itself, by the other files of this folder. Neither of the two users is a superuser.

CREATE ROLE homer_user LOGIN PASSWORD 'CHANGE_ME';
CREATE ROLE homer_reader LOGIN PASSWORD 'CHANGE_ME';

CREATE DATABASE homer_data OWNER homer_user ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
REVOKE ALL ON DATABASE homer_data FROM PUBLIC;
GRANT CONNECT ON DATABASE homer_data TO homer_reader;

\connect homer_data

-- sipcap listen | sipcap store, sipcap run, sipcap tables: tables and partitions are made by whoever writes.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO homer_user;

-- sipcap search: the tables of today, and those that will be made.
GRANT USAGE ON SCHEMA public TO homer_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO homer_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE homer_user IN SCHEMA public GRANT SELECT ON TABLES TO homer_reader;
