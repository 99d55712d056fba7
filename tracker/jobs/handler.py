"""The handler that a feature registers for its jobs; it must allow two calls for the same job."""

from collections.abc import Awaitable, Callable

from tracker.errors import TrackerError

Handler = Callable[[bytes], Awaitable[None]]
"""Function that does a job; its argument is the job's payload."""


class TryAgainError(TrackerError):
    """Raised by a handler: the job goes back into the queue for `delay_s` seconds."""

    def __init__(self, delay_s: float, reason: str) -> None:
        super().__init__(reason)
        self.delay_s = delay_s
