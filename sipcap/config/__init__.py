"""The configuration file: ``ini.py`` reads it, the other modules say what may stand in it (design 1.7)."""
