"""The reservations, as the rest of Tracker sees them: jobs that ask a service; the carts show what it has granted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracker.features.feature import Feature, FeatureJobs, FeatureMetrics, JobParts
from tracker.features.reservations.settings import ReservationSettings

if TYPE_CHECKING:
    from sqlalchemy import Table

    from tracker.features.feature_data import FeatureData


def jobs(parts: JobParts) -> FeatureJobs | None:
    """Build the job that asks the service, unless reservations are switched off."""
    settings = parts.settings[ReservationSettings]
    if settings.reservation_url is None:
        return None
    from tracker.features.reservations.client import ReservationClient
    from tracker.features.reservations.jobs import Reserver
    from tracker.features.reservations.metrics import attempt_samples
    from tracker.features.reservations.service import JOB

    client = ReservationClient(
        settings.reservation_url,
        timeout_s=settings.reservation_timeout_s,
        concurrency=settings.reservation_concurrency,
    )
    reserver = Reserver(parts.engine, client, max_attempts=settings.reservation_attempts)
    runner = parts.runner(JOB, reserver.reserve, concurrency=settings.reservation_concurrency)
    return FeatureJobs(
        runners=[runner],
        samples=lambda: attempt_samples(reserver.counts, service_is_down=reserver.is_waiting_for_service),
        close=client.close,
    )


def metrics() -> FeatureMetrics:
    """Return the metrics of the reservations."""
    from tracker.features.reservations.metrics import FAMILIES, ReservationCounts, attempt_samples, stored_samples

    return FeatureMetrics(
        families=FAMILIES,
        idle_samples=lambda: attempt_samples(ReservationCounts(), service_is_down=False),
        stored_samples=[stored_samples],
    )


def tables() -> "Sequence[Table]":
    """Return the tables."""
    from tracker.features.reservations.tables import reservations

    return [reservations]


def data() -> "FeatureData":
    """Return what is stored of carts and customers."""
    from tracker.features.reservations.data import DATA

    return DATA


FEATURE = Feature(settings=ReservationSettings, tables=tables, jobs=jobs, metrics=metrics, data=data)
