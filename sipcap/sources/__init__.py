"""Where messages come from, one file a kind; ``base.py`` says what a source is."""
