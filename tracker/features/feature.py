"""The wiring of features: what each is handed, and what it hands out. Each feature's `wiring.py` holds one `Feature`.

So the rest of Tracker names features in one list (`tracker.runtime.features`) and in their own commands; only the
carts' writer, which every flush needs, is named by the runtime too. A feature's parts are loaded when they are built: a
process that does not need them is smaller and starts sooner.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from tracker.settings import Settings, SettingsGroup

if TYPE_CHECKING:  # a command that needs the settings alone does not load what serves
    from litestar.di import Provide
    from litestar.types import ControllerRouterHandler
    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tracker.features.feature_data import FeatureData
    from tracker.ingest.pipeline import Pipeline
    from tracker.jobs.handler import Handler
    from tracker.jobs.runner import JobRunner
    from tracker.kit.clock import Clock
    from tracker.kit.timeouts import RequestTimeouts
    from tracker.postgres.request_database import RequestDatabase
    from tracker.telemetry.families import DatabaseSource, Family, Source
    from tracker.telemetry.tracing import Tracer
    from tracker.web.fast_lane.interface import FastLanes
    from tracker.web.middleware.browser_policy import BrowserPolicy
    from tracker.web.openapi.examples import Examples
    from tracker.web.rate_limit import RateLimits

T = TypeVar("T")

CLOSE_TIMEOUT_S: Final = 0.5
"""Seconds that a feature's connections to others get to close in order."""


@dataclass(slots=True, kw_only=True)
class ServingParts:
    """The parts of a serving process that its features share."""

    settings: Settings
    clock: "Clock"
    timeouts: "RequestTimeouts"
    database: "RequestDatabase"
    """Connections for what requests ask; shared by all of them."""
    write_database: "RequestDatabase"
    """Connections for what must be written also while many read."""
    pipeline: "Pipeline"
    policy: "BrowserPolicy"
    limits: "RateLimits"
    services: list[object] = field(default_factory=list)
    """Services of the features built so far."""

    def service(self, kind: type[T]) -> T:
        """Return the service of this type that a feature built before has; raise LookupError if there is none."""
        for one in self.services:
            if isinstance(one, kind):
                return one
        msg = f"no feature that was built before has a {kind.__name__}"
        raise LookupError(msg)


@dataclass(slots=True, kw_only=True)
class FeatureServing:
    """The parts that a feature adds to a process that serves."""

    services: Sequence[object] = ()
    """Services that features built later may use."""

    routes: "Sequence[ControllerRouterHandler]" = ()
    dependencies: "Mapping[str, Provide]" = field(default_factory=dict)
    """Parameters of the handlers of routes, by name."""

    examples: "Examples | None" = None
    """Examples of the routes' requests and answers, for the API's document."""

    lanes: "FastLanes" = field(default_factory=dict)
    """Fast lanes, which answer plain POST requests before Litestar is asked, by path."""

    samples: "Source" = tuple
    """Returns what it counts."""

    finish: Callable[[], Awaitable[None]] | None = None
    """Ends what was accepted, when the process stops; called while PostgreSQL can still be used."""

    close: Callable[[], Awaitable[None]] | None = None
    """Closes connections to others, within `CLOSE_TIMEOUT_S`."""


class JobParts(NamedTuple):
    """The parts of a process that runs jobs."""

    settings: Settings
    url: str
    """URL of the database."""
    engine: "AsyncEngine"
    tracer: "Tracer | None"
    """Begins the spans of jobs; None: nothing is traced."""

    def runner(self, job: str, handler: "Handler", *, concurrency: int) -> "JobRunner":
        """Return what has `handler` do the jobs of this name, at most `concurrency` of them at a time."""
        from tracker.jobs.runner import JobRunner  # noqa: PLC0415  # the queue's library, for nothing where no jobs run

        return JobRunner(self.url, job, handler, concurrency=concurrency, tracer=self.tracer)


@dataclass(slots=True, kw_only=True)
class FeatureJobs:
    """The jobs of a feature."""

    runners: "Sequence[JobRunner]"
    samples: "Source"
    """Returns what they count."""

    close: Callable[[], Awaitable[None]] | None = None
    """Closes connections to others, once the runners have ended, within `CLOSE_TIMEOUT_S`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMetrics:
    """The metrics of a feature."""

    families: "Sequence[Family]"

    idle_samples: "Source" = tuple
    """Returns what its jobs count where they do not run: zeros."""

    stored_samples: "Sequence[DatabaseSource]" = ()
    """Functions that read from PostgreSQL what no process counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature, as the rest of Tracker sees it."""

    settings: type[SettingsGroup] | None = None
    tables: "Callable[[], Sequence[Table]] | None" = None
    """Returns its tables."""

    serve: Callable[[ServingParts], FeatureServing] | None = None
    """Builds what serves; raises ConfigurationError."""

    jobs: Callable[[JobParts], FeatureJobs | None] | None = None
    """Builds the jobs; None if they are switched off. Raises ConfigurationError."""

    check_serving: Callable[[Settings], None] | None = None
    """Raises ConfigurationError if it could not serve with these settings; called before anything is started."""

    check_jobs: Callable[[Settings], None] | None = None
    """Raises ConfigurationError if its jobs could not run with these settings; called before anything is started."""

    data: "Callable[[], FeatureData] | None" = None
    """Returns what it stores of carts and customers, to be counted, erased and exported."""

    metrics: Callable[[], FeatureMetrics] | None = None
    """Returns its metrics."""
