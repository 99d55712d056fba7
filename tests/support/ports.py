"""Ports for servers that are told theirs, and for addresses where nobody listens."""

import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 where nobody listens, and which the system gives to nobody until this process ends.

    A socket that is bound and does not listen keeps it (Linux): connections are refused, neither a connection nor
    another server that asks for any port gets it, and a server that asks for this one does, as servers set
    SO_REUSEADDR. A port that is only looked up may be another process's by the time it is used.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    port: int = keeper.getsockname()[1]
    keeper.detach()  # open until this process ends
    return port
