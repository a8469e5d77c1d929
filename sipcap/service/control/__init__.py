"""The sockets on which a running service is asked and switched: JSON-RPC, BINRPC, FIFO, and their client."""
