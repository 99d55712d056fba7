"""Bound of a request in time: it must be here as a whole, however slowly its bytes come.

The time is not kept by a timer for each request: the server looks at the deadlines of all connections once a second.
"""

from tracker.web.limits import REQUEST_TIMEOUT_S


class Deadline:
    """Time by which the request that is awaited or being read must be here."""

    __slots__ = ("at_s",)

    def __init__(self, now_s: float) -> None:
        """Start at `now_s`, the loop's time in seconds."""
        self.at_s: float | None = now_s + REQUEST_TIMEOUT_S
        """Time of the loop in seconds; None while nothing must come."""

    def start(self, now_s: float) -> None:
        """Give the request that begins at `now_s` its time."""
        self.at_s = now_s + REQUEST_TIMEOUT_S

    def stop(self) -> None:
        """Wait for nothing: the request is here, or is refused."""
        self.at_s = None

    def is_over(self, now_s: float) -> bool:
        """Return whether the request should have been here by `now_s`."""
        return self.at_s is not None and now_s > self.at_s
