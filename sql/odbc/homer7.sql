-- A table with the columns of HOMER 7 for any engine behind an ODBC data source; JSON is text. create_date is the packet's
-- own time in UTC, YYYY-MM-DD HH:MM:SS.ffffff. All tables of HOMER 7 are alike here: sipcap executes this file with the
-- wanted table's name in place of hep_proto_1_call, and types as in sip.sql.

CREATE TABLE "hep_proto_1_call" (
    "sid" LONGVARCHAR,
    "create_date" VARCHAR(32),
    "protocol_header" LONGVARCHAR,
    "data_header" LONGVARCHAR,
    "raw" LONGVARCHAR
);

CREATE INDEX "hep_proto_1_call_create_date_idx" ON "hep_proto_1_call" ("create_date");
