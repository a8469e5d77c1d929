"""Looking after the tables of a database: one file a database, and ``base.py`` with what each has to do."""
