"""Bounds in number: connections of a worker, and requests of a connection that wait for the answers before theirs."""

from typing import Final

MAX_CONNECTIONS: Final = 8192
"""Most connections that a worker has open at a time; an idle one costs about 15 KB."""

MAX_REFUSED: Final = 64
"""Most connections above `MAX_CONNECTIONS` that may wait for their 503; the others are cut off, or they would take the
files that the journal and PostgreSQL need."""

MAX_PIPELINED: Final = 100
"""Most requests of one connection that may wait for the answers before theirs; one read can bring 14,000, at 3 KB each.

It is also the number of requests of one read that the lane answers before other connections get their turn.
"""


def reason_to_refuse(connections: int, waiting: int) -> str | None:
    """Return why a request is one too many, or None if it is not.

    `connections` are open in this worker, with that of the request; `waiting` requests of its connection wait already.
    """
    if connections > MAX_CONNECTIONS:
        return "too many connections are open"
    if waiting >= MAX_PIPELINED:
        return "too many requests were sent without waiting for the answers"
    return None


def is_flood(connections: int) -> bool:
    """Return whether so many connections are open that a new one is cut off without an answer."""
    return connections > MAX_CONNECTIONS + MAX_REFUSED


class Turn:
    """Turn of a connection: the requests of one read that the lane answers at once."""

    __slots__ = ("answered",)

    def __init__(self) -> None:
        """Begin a turn."""
        self.answered = 0
        """Number of requests of this read that the lane has answered; the connection counts itself."""

    @property
    def is_over(self) -> bool:
        """Whether the other connections come first now."""
        return self.answered >= MAX_PIPELINED
