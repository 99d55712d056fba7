"""What a feature hands to the jobs: a handler, which bears to be called twice for one job."""

from collections.abc import Awaitable, Callable

from tracker.errors import TrackerError

Handler = Callable[[bytes], Awaitable[None]]
"""Does a job, by its payload."""


class TryAgainError(TrackerError):
    """Raised by a handler: the job goes back into the queue for `delay_s` seconds."""

    def __init__(self, delay_s: float, reason: str) -> None:
        super().__init__(reason)
        self.delay_s = delay_s
