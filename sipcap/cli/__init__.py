"""The command line: one thin file a command. Only this package knows click and rich."""
