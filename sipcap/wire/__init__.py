"""Bytes in, values out. Nothing in here touches a socket, a file, a clock, a log or a terminal."""
