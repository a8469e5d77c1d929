"""Reading rows back: one file a database, and ``registry.py`` with the only list."""
