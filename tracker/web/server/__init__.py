"""What answers on a socket: the listener, the server, and each connection."""
