"""Looking at a machine before or while a service runs on it: what is wrong, and what mends it. Nothing is changed."""
