"""Bound of an answer in time: a client that does not take it, or does not let go of the connection, is cut off.

A slow client is no stuck one: it has its time anew with each byte that it takes.
"""

from typing import Final

from tracker.web.limits import REQUEST_TIMEOUT_S

GOODBYE_TIMEOUT_S: Final = 2.0
"""Seconds that a client has to end TLS after the server has; uvloop would wait for 30 s."""


class StuckClient:
    """Tells a client that takes nothing from one that takes its time."""

    __slots__ = ("_since_s", "_unsent")

    def __init__(self) -> None:
        """Begin with a client for whom nothing waits."""
        self._unsent: int | None = None
        self._since_s = 0.0

    def clear(self) -> None:
        """Note that nothing waits for the client."""
        self._unsent = None

    def is_stuck(self, unsent: int, now_s: float) -> bool:
        """Note that `unsent` bytes wait at `now_s`, in seconds; return whether that has not changed for too long.

        With 0 bytes it is the end of the connection that waits for the client.
        """
        if self._unsent != unsent:
            self._unsent, self._since_s = unsent, now_s
            return False
        return now_s > self._since_s + (REQUEST_TIMEOUT_S if unsent else GOODBYE_TIMEOUT_S)
