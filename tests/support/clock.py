"""A clock that tests set."""


class ManualClock:
    """A clock that stands still until it is set, forwards or backwards."""

    def __init__(self, now_us: int = 0) -> None:
        self._now_us = now_us
        self._elapsed_s = 0.0

    def elapsed_s(self) -> float:
        """Return the seconds that `pass_by` let pass."""
        return self._elapsed_s

    def pass_by(self, seconds: float) -> None:
        """Let time pass, but not on the wall clock."""
        self._elapsed_s += seconds

    def now_us(self) -> int:
        """Return the time last set, in microseconds."""
        return self._now_us

    def set(self, now_us: int) -> None:
        """Set the time, in microseconds; going back is allowed."""
        self._now_us = now_us
