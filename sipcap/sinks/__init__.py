"""Where records go, one file a database; ``base.py`` says what a sink is."""
