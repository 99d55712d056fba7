"""A metric family and its samples, as Prometheus calls them: what each area of Tracker declares and gives.

A family is declared beside what counts for it, and its samples are read when somebody scrapes: what counts is plain
attributes of the objects that know, and the hot path knows nothing of this. `tracker.metrics` combines the samples of
all workers.

Names are those of Prometheus' conventions: base units, `_total` for what only grows.
"""

import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tracker.telemetry.histogram import Histogram

if TYPE_CHECKING:  # what counts does not load SQLAlchemy
    from sqlalchemy.ext.asyncio import AsyncConnection


class MetricKind(enum.Enum):
    """MetricKind of a family: how its values behave, and how those of several processes are combined."""

    COUNTER = "counter"
    """A number that only grows; added up over all processes, also those that have ended."""

    HISTOGRAM = "histogram"
    """Buckets of which each behaves as a COUNTER."""

    SUM = "sum"
    """A number of this moment; added up over the processes that run."""

    WORST = "worst"
    """A number of this moment; the greatest one of the processes that run counts."""


class Family(NamedTuple):
    """A metric family: its name, its kind, its help text, the names of its labels."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets; empty for other kinds."""

    @property
    def lasts(self) -> bool:
        """Whether what a process has counted is still true when it has ended."""
        return self.kind in {MetricKind.COUNTER, MetricKind.HISTOGRAM}


Families = Mapping[str, Family]
"""Families by their names."""


class Sample(NamedTuple):
    """The value of a family at one moment, for some values of its labels."""

    family: Family
    value: float | Histogram
    labels: tuple[str, ...] = ()
    """Values of the labels, in the order of `Family.labels`."""


Source = Callable[[], Iterable[Sample]]
"""Function that returns samples of a part of this process, as they are now."""

DatabaseSource: TypeAlias = "Callable[[AsyncConnection], Awaitable[Iterable[Sample]]]"
"""Function that reads samples from the database."""
