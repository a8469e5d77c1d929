"""Records out of the house: capture files, HEP streams, text."""
