"""Metrics of the path of an item: accepted items, buffer, journal, flushes."""

from collections.abc import Iterator
from typing import Final

from tracker.ingest.flusher import FLUSH_BOUNDS_S, FLUSH_ITEMS_BOUNDS
from tracker.ingest.pipeline import Pipeline
from tracker.kit.clock import stamp_us
from tracker.postgres.error_classes import Failure
from tracker.telemetry.families import Family, MetricKind, Sample

ACCEPTED: Final = Family("tracker_items_accepted_total", MetricKind.COUNTER, "Writes of items that were taken")
COALESCED: Final = Family(
    "tracker_items_coalesced_total", MetricKind.COUNTER, "Writes merged into one that waited already"
)
STORED: Final = Family(
    "tracker_items_stored_total", MetricKind.COUNTER, "Items that PostgreSQL has taken, replayed ones included"
)
REPLAYED: Final = Family(
    "tracker_items_replayed_total", MetricKind.COUNTER, "Items stored from the journals of workers that had died"
)
DEAD_LETTERED: Final = Family(
    "tracker_items_dead_lettered_total",
    MetricKind.COUNTER,
    "Items that PostgreSQL refused for good, kept as dead letters",
)
LOST: Final = Family(
    "tracker_items_lost_total",
    MetricKind.COUNTER,
    "Items that were accepted and are stored nowhere: at level memory, after a stop without PostgreSQL",
)
OLDEST: Final = Family(
    "tracker_items_oldest_seconds", MetricKind.WORST, "Age of the oldest item that is not in PostgreSQL yet; 0: none"
)
DEAD_LETTERS: Final = Family(
    "tracker_dead_letters", MetricKind.SUM, "Dead letters that wait for somebody to look at them"
)

BUFFER_ITEMS: Final = Family("tracker_buffer_items", MetricKind.SUM, "Items in memory that are not in PostgreSQL yet")
BUFFER_BYTES: Final = Family("tracker_buffer_bytes", MetricKind.SUM, "Memory that they take")
BUFFER_LIMIT: Final = Family("tracker_buffer_limit_bytes", MetricKind.SUM, "Memory that they may take")
BUFFER_USED: Final = Family(
    "tracker_buffer_used_ratio", MetricKind.WORST, "Part of the buffer that is used, of the worker with the fullest"
)
JOURNAL_ITEMS: Final = Family(
    "tracker_journal_items", MetricKind.SUM, "Frames in the journals, those of items in PostgreSQL included"
)
JOURNAL_BYTES: Final = Family("tracker_journal_bytes", MetricKind.SUM, "Disk that the journals take")
JOURNAL_LIMIT: Final = Family("tracker_journal_limit_bytes", MetricKind.SUM, "Disk that they may take")
JOURNAL_USED: Final = Family(
    "tracker_journal_used_ratio", MetricKind.WORST, "Part of the journal that is used, of the worker with the fullest"
)
ORPHANED: Final = Family(
    "tracker_journal_orphaned_bytes", MetricKind.SUM, "Journals of dead workers that are not replayed yet"
)
DAMAGED: Final = Family(
    "tracker_journal_damaged_frames_total",
    MetricKind.COUNTER,
    "Frames that could not be read in a replay, kept as *.corrupt",
)

FLUSH_ITEMS: Final = Family("tracker_flush_items", MetricKind.HISTOGRAM, "Items of a flush", bounds=FLUSH_ITEMS_BOUNDS)
FLUSH_DURATION: Final = Family(
    "tracker_flush_duration_seconds",
    MetricKind.HISTOGRAM,
    "Time until a flush was dealt with, all tries included",
    bounds=FLUSH_BOUNDS_S,
)
FLUSH_RETRIES: Final = Family(
    "tracker_flush_retries_total",
    MetricKind.COUNTER,
    "Writes that failed and are tried again: transient (PostgreSQL is away or busy), broken (somebody must mend"
    " something), bad_data (a dead letter cannot be written), unexpected",
    ("reason",),
)

FAMILIES: Final = (
    *(ACCEPTED, COALESCED, STORED, REPLAYED, DEAD_LETTERED, LOST, OLDEST, DEAD_LETTERS),
    *(BUFFER_ITEMS, BUFFER_BYTES, BUFFER_LIMIT, BUFFER_USED),
    *(JOURNAL_ITEMS, JOURNAL_BYTES, JOURNAL_LIMIT, JOURNAL_USED, ORPHANED, DAMAGED),
    *(FLUSH_ITEMS, FLUSH_DURATION, FLUSH_RETRIES),
)

_REASONS: Final = {Failure.TRANSIENT: "transient", Failure.BROKEN: "broken", Failure.BAD_DATA: "bad_data"}


def pipeline_samples(pipeline: Pipeline) -> Iterator[Sample]:
    """Return an iterator over what the path of an item counts, and how full it is."""
    yield from _item_samples(pipeline)
    yield Sample(ACCEPTED, pipeline.intake.accepted)
    yield Sample(LOST, pipeline.lost_items)
    yield from _buffer_samples(pipeline)
    yield from _flush_samples(pipeline)


def _item_samples(pipeline: Pipeline) -> Iterator[Sample]:
    oldest = pipeline.aggregator.oldest_stamp()
    age_s = 0.0 if oldest is None else (pipeline.clock.now_us() - stamp_us(oldest)) / 1e6
    yield Sample(OLDEST, max(0.0, age_s))
    yield Sample(COALESCED, pipeline.aggregator.coalesced)
    yield Sample(STORED, pipeline.delivery.stored)
    yield Sample(REPLAYED, pipeline.recovery.stored)
    yield Sample(DEAD_LETTERED, pipeline.dead_letters.buried)


def _buffer_samples(pipeline: Pipeline) -> Iterator[Sample]:
    aggregator, journal, recovery = pipeline.aggregator, pipeline.journal, pipeline.recovery
    yield Sample(BUFFER_ITEMS, len(aggregator))
    yield Sample(BUFFER_BYTES, aggregator.bytes)
    yield Sample(BUFFER_LIMIT, aggregator.max_bytes)
    yield Sample(BUFFER_USED, aggregator.bytes / aggregator.max_bytes)
    yield Sample(JOURNAL_ITEMS, journal.items)
    yield Sample(JOURNAL_BYTES, journal.used_bytes)
    yield Sample(JOURNAL_LIMIT, journal.max_bytes)
    yield Sample(JOURNAL_USED, journal.used_bytes / (journal.max_bytes or 1))
    yield Sample(ORPHANED, recovery.leftover_bytes)
    yield Sample(DAMAGED, recovery.damaged_frames)


def _flush_samples(pipeline: Pipeline) -> Iterator[Sample]:
    flusher, delivery = pipeline.flusher, pipeline.delivery
    yield Sample(FLUSH_ITEMS, flusher.sizes)
    yield Sample(FLUSH_DURATION, flusher.times)
    for failure, reason in _REASONS.items():
        yield Sample(FLUSH_RETRIES, delivery.failures[failure], (reason,))
    yield Sample(FLUSH_RETRIES, flusher.unexpected, ("unexpected",))
