"""Metrics of the reservations: the attempts of this process, and those that PostgreSQL has as failed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.reservations.store import count_failed
from tracker.jobs.overview import COUNTED_AT_MOST
from tracker.telemetry.families import Family, MetricKind, Sample

ATTEMPTS: Final = Family(
    "tracker_reservation_attempts_total",
    MetricKind.COUNTER,
    "Attempts to reserve: granted, refused (for good), given_up (no attempt is left), retried",
    ("result",),
)
FAILED: Final = Family(
    "tracker_reservations_failed",
    MetricKind.SUM,
    f"Reservations that nobody asks for any more; {COUNTED_AT_MOST} means as many or more",
)
SERVICE_DOWN: Final = Family(
    "tracker_reservation_service_down",
    MetricKind.SUM,
    "Processes that try the reservation service with one call at a time",
)

FAMILIES: Final = (ATTEMPTS, FAILED, SERVICE_DOWN)


@dataclass(slots=True)
class ReservationCounts:
    """Numbers of attempts of this process, by their result."""

    granted: int = 0
    refused: int = 0
    """Attempts that the service has refused for good."""
    given_up: int = 0
    """Attempts after which a reservation was given up, as it was asked for as often as it may be."""
    retried: int = 0
    """Attempts that are to be repeated."""


def attempt_samples(counts: ReservationCounts, *, service_is_down: bool) -> Iterator[Sample]:
    """Return an iterator over the attempts of this process, and whether its service looks like it is down."""
    yield Sample(ATTEMPTS, counts.granted, ("granted",))
    yield Sample(ATTEMPTS, counts.refused, ("refused",))
    yield Sample(ATTEMPTS, counts.given_up, ("given_up",))
    yield Sample(ATTEMPTS, counts.retried, ("retried",))
    yield Sample(SERVICE_DOWN, service_is_down)


async def stored_samples(connection: AsyncConnection) -> list[Sample]:
    """Return the number of failed reservations in the database."""
    return [Sample(FAILED, await count_failed(connection, COUNTED_AT_MOST))]
