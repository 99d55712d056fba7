"""Every metric: its name, what it means, its labels.

Names are those of Prometheus' conventions: base units, `_total` for what only grows. No other name can be put
into `Numbers`, so this is the whole list.
"""

import enum
from typing import Final, NamedTuple

from tracker.ingest.flusher import FLUSH_BOUNDS_S, FLUSH_ITEMS_BOUNDS
from tracker.jobs.overview import COUNTED_AT_MOST
from tracker.telemetry.request_counts import ANSWER_BOUNDS_S, CLIENT_LEFT, UNMATCHED


class Kind(enum.Enum):
    """Kind of a metric: how its number behaves, and how the numbers of several processes are combined."""

    COUNTER = "counter"
    """A number that only grows; added up over all processes, also those that have ended."""

    HISTOGRAM = "histogram"
    """Buckets of which each behaves as a COUNTER."""

    SUM = "sum"
    """A number of this moment; added up over the processes that run."""

    WORST = "worst"
    """A number of this moment; the greatest one of the processes that run counts."""


class Family(NamedTuple):
    """A metric: its name, its kind, its meaning, its labels."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets; empty for other kinds."""

    @property
    def lasts(self) -> bool:
        """Whether what a process has counted is still true when it has ended."""
        return self.kind in {Kind.COUNTER, Kind.HISTOGRAM}


_AT_MOST: Final = f"; {COUNTED_AT_MOST} means as many or more"

_REQUESTS: Final = (
    Family(
        "tracker_http_requests_total",
        Kind.COUNTER,
        f"Requests answered; the route is the template, or {UNMATCHED!r}; {CLIENT_LEFT}: the client left before",
        ("method", "route", "status"),
    ),
    Family(
        "tracker_http_request_duration_seconds",
        Kind.HISTOGRAM,
        "Time from the head of a request to its answer",
        ("method", "route"),
        ANSWER_BOUNDS_S,
    ),
    Family(
        "tracker_http_refused_total",
        Kind.COUNTER,
        "Requests that the connection refused before they came to a route: no HTTP, too large, too slow, too many",
        ("status",),
    ),
)

_ITEMS: Final = (
    Family("tracker_items_accepted_total", Kind.COUNTER, "Writes of items that were taken"),
    Family("tracker_items_coalesced_total", Kind.COUNTER, "Writes merged into one that waited already"),
    Family("tracker_items_stored_total", Kind.COUNTER, "Items that PostgreSQL has taken, replayed ones included"),
    Family("tracker_items_replayed_total", Kind.COUNTER, "Items stored from the journals of workers that had died"),
    Family(
        "tracker_items_dead_lettered_total",
        Kind.COUNTER,
        "Items that PostgreSQL refused for good, kept as dead letters",
    ),
    Family(
        "tracker_items_lost_total",
        Kind.COUNTER,
        "Items that were accepted and are stored nowhere: at level memory, after a stop without PostgreSQL",
    ),
    Family("tracker_items_oldest_seconds", Kind.WORST, "Age of the oldest item that is not in PostgreSQL yet; 0: none"),
    Family("tracker_dead_letters", Kind.SUM, "Dead letters that wait for somebody to look at them"),
)

_BUFFER: Final = (
    Family("tracker_buffer_items", Kind.SUM, "Items in memory that are not in PostgreSQL yet"),
    Family("tracker_buffer_bytes", Kind.SUM, "Memory that they take"),
    Family("tracker_buffer_limit_bytes", Kind.SUM, "Memory that they may take"),
    Family("tracker_buffer_used_ratio", Kind.WORST, "Part of the buffer that is used, of the worker with the fullest"),
    Family("tracker_journal_items", Kind.SUM, "Frames in the journals, those of items in PostgreSQL included"),
    Family("tracker_journal_bytes", Kind.SUM, "Disk that the journals take"),
    Family("tracker_journal_limit_bytes", Kind.SUM, "Disk that they may take"),
    Family(
        "tracker_journal_used_ratio", Kind.WORST, "Part of the journal that is used, of the worker with the fullest"
    ),
    Family("tracker_journal_orphaned_bytes", Kind.SUM, "Journals of dead workers that are not replayed yet"),
    Family(
        "tracker_journal_damaged_frames_total",
        Kind.COUNTER,
        "Frames that could not be read in a replay, kept as *.corrupt",
    ),
)

_FLUSHES: Final = (
    Family("tracker_flush_items", Kind.HISTOGRAM, "Items of a flush", bounds=FLUSH_ITEMS_BOUNDS),
    Family(
        "tracker_flush_duration_seconds",
        Kind.HISTOGRAM,
        "Time until a flush was dealt with, all tries included",
        bounds=FLUSH_BOUNDS_S,
    ),
    Family(
        "tracker_flush_retries_total",
        Kind.COUNTER,
        "Writes that failed and are tried again: transient (PostgreSQL is away or busy), broken (somebody must mend"
        " something), bad_data (a dead letter cannot be written), unexpected",
        ("reason",),
    ),
)

_WORK: Final = (
    Family(
        "tracker_jobs",
        Kind.SUM,
        f"Jobs in the queue: due, later (not due yet), running{_AT_MOST}",
        ("handler", "state"),
    ),
    Family("tracker_jobs_oldest_due_seconds", Kind.WORST, "For how long the oldest due job waits", ("handler",)),
    Family("tracker_jobs_oldest_seconds", Kind.WORST, "Since when the oldest job is in the queue", ("handler",)),
    Family(
        "tracker_jobs_ended_total",
        Kind.COUNTER,
        "Calls of a job: done, again (it asked for another one), unexpected (an error that nobody has thought of)",
        ("handler", "result"),
    ),
    Family(
        "tracker_reservation_attempts_total",
        Kind.COUNTER,
        "Attempts to reserve: granted, refused (for good), given_up (no attempt is left), retried",
        ("result",),
    ),
    Family("tracker_reservations_failed", Kind.SUM, f"Reservations that nobody asks for any more{_AT_MOST}"),
    Family(
        "tracker_reservation_service_down",
        Kind.SUM,
        "Processes that try the reservation service with one call at a time",
    ),
    Family("tracker_warranties_created_total", Kind.COUNTER, "Warranties that were created"),
    Family(
        "tracker_archive_objects_total",
        Kind.COUNTER,
        "Warranties that were put into the archive: archived, failed (tried again)",
        ("result",),
    ),
    Family("tracker_archive_down", Kind.SUM, "Processes that try the archive with one call at a time"),
    Family("tracker_orders_placed_total", Kind.COUNTER, "Carts that have become orders"),
    Family(
        "tracker_payments_total",
        Kind.COUNTER,
        "What became of payments: paid, failed, unsettled (not known when the checkout was answered; a job goes on)",
        ("result",),
    ),
    Family(
        "tracker_payments_to_pay_back_total", Kind.COUNTER, "Payments that were charged although their order has failed"
    ),
)

_STATE: Final = (
    Family("tracker_workers", Kind.SUM, "Processes that serve"),
    Family("tracker_workers_ready", Kind.SUM, "Those that accept items now"),
    Family("tracker_postgres_up", Kind.SUM, "Whether PostgreSQL has answered this scrape"),
    Family("tracker_build_info", Kind.WORST, "Always 1", ("version",)),
)

FAMILIES: Final = {family.name: family for family in (*_REQUESTS, *_ITEMS, *_BUFFER, *_FLUSHES, *_WORK, *_STATE)}
"""Every metric, by its name."""
