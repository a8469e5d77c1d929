"""Looking at what is stored: search, and what is made of what it finds."""
