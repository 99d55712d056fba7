"""Time as stamps: unique, growing 64-bit numbers that order the writes of the whole system.

A stamp is `max(last + 1, now in µs) << 10 | worker number`. It fits PostgreSQL's int8 until the
year 2255, sorts like time, and is unique as long as no two live workers share a number, so two
writes never tie and a merge by the greater stamp gives one result in whatever order they arrive.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_WORKER_BITS: Final = 10
"""Number of low bits of a stamp that hold the worker number: enough for 1,024 workers."""

MAX_WORKERS: Final = 1 << _WORKER_BITS

STAMPS_PER_US: Final = MAX_WORKERS
"""Number of stamps in a microsecond, one for each worker: a time in microseconds times this is worker 0's stamp."""

SLOTS: Final = 32
"""Most workers that one node can have at a time."""

MAX_NODE: Final = MAX_WORKERS // SLOTS - 1
"""The greatest number of a node: a worker number is `node * SLOTS + slot`."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """The source of time; it is injected so that tests can turn it back."""

    def elapsed_s(self) -> float:
        """Return the seconds since some moment; they only grow, whatever happens to the wall clock."""
        ...

    def now_us(self) -> int:
        """Return the wall-clock time in microseconds since 1970 (UTC)."""
        ...


class SystemClock:
    """The machine's own clocks."""

    elapsed_s = staticmethod(time.monotonic)

    def now_us(self) -> int:
        """Return the wall-clock time in microseconds since 1970 (UTC)."""
        return time.time_ns() // 1000


class Stamper:
    """Gives out the stamps of one worker, each greater than the one before, whatever the clock does."""

    def __init__(self, clock: Clock, worker: int, last: int = 0) -> None:
        """Stamp for worker number `worker`, later than the stamp `last` that it gave out before.

        Raises ValueError unless the worker number is 0 to 1,023.
        """
        if not 0 <= worker < MAX_WORKERS:
            msg = f"worker number {worker} is not in 0..{MAX_WORKERS - 1}"
            raise ValueError(msg)
        self._clock = clock
        self._worker = worker
        self._last_us = last >> _WORKER_BITS

    @property
    def last(self) -> int:
        """The greatest stamp given out so far."""
        return self._last_us << _WORKER_BITS | self._worker

    def next(self) -> int:
        """Return a stamp greater than every one this worker gave out before."""
        now_us = self._clock.now_us()
        if now_us <= self._last_us:
            now_us = self._last_us + 1
        self._last_us = now_us
        return now_us << _WORKER_BITS | self._worker


def stamp_us(stamp: int) -> int:
    """Return the time at which `stamp` was given out, in microseconds since 1970 (UTC)."""
    return stamp >> _WORKER_BITS


def stamp_time(stamp: int) -> datetime:
    """Return the UTC time, to the microsecond, at which `stamp` was given out."""
    seconds, microseconds = divmod(stamp_us(stamp), 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


def stamp_at(time: datetime) -> int:
    """Return the greatest stamp that any worker can give out at a time."""
    return greatest_beside((time - _EPOCH) // timedelta(microseconds=1) * STAMPS_PER_US)


def greatest_beside(stamp: int) -> int:
    """Return the greatest stamp that any worker can have given out at the time of another stamp."""
    return stamp | STAMPS_PER_US - 1
