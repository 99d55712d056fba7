"""The HTTP server: the listener, the server, and each connection."""
