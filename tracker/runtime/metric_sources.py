"""Reads the numbers that the parts of a process count.

This is the only place that knows where each number comes from. It runs on the event loop, so that all numbers are of
one moment.
"""

from tracker.features.checkout.domain import OrderCounts
from tracker.kit.clock import WORKER_BITS
from tracker.metrics.values import Numbers
from tracker.postgres.error_classes import Failure
from tracker.runtime.context import Context
from tracker.runtime.job_runners import Jobs
from tracker.telemetry.request_counts import Traffic

_REASONS = {Failure.TRANSIENT: "transient", Failure.BROKEN: "broken", Failure.BAD_DATA: "bad_data"}


def requests_of(traffic: Traffic) -> Numbers:
    """Return the numbers of the requests."""
    numbers = Numbers()
    for (method, route, status), answers in traffic.answers.items():
        numbers.put("tracker_http_requests_total", sum(answers.counts), method, route, str(status))
        numbers.put("tracker_http_request_duration_seconds", answers, method, route)
    for status, count in traffic.refused.items():
        numbers.put("tracker_http_refused_total", count, str(status))
    return numbers


def process_of(context: Context) -> Numbers:
    """Return the numbers of a process that serves, its requests and jobs left out."""
    numbers = Numbers()
    numbers.put("tracker_workers", 1)
    numbers.put("tracker_workers_ready", context.carts.ready)
    _put_items(numbers, context)
    _put_buffer(numbers, context)
    _put_flushes(numbers, context)
    numbers.put("tracker_warranties_created_total", context.warranties.created)
    if context.checkout is not None:
        _put_orders(numbers, context.checkout.counts)
    return numbers


def jobs_of(jobs: Jobs) -> Numbers:
    """Return the numbers of the jobs that a process runs."""
    numbers = Numbers()
    for (handler, result), count in jobs.ended.items():
        numbers.put("tracker_jobs_ended_total", count, handler, result)
    attempts = jobs.reservations
    for result, count in (
        ("granted", attempts.granted),
        ("refused", attempts.refused),
        ("given_up", attempts.given_up),
        ("retried", attempts.retried),
    ):
        numbers.put("tracker_reservation_attempts_total", count, result)
    numbers.put("tracker_reservation_service_down", jobs.reserves_slowly())
    numbers.put("tracker_archive_objects_total", jobs.archive.archived, "archived")
    numbers.put("tracker_archive_objects_total", jobs.archive.failed, "failed")
    numbers.put("tracker_archive_down", jobs.archives_slowly())
    _put_orders(numbers, jobs.orders)
    return numbers


def _put_items(numbers: Numbers, context: Context) -> None:
    storing = context.storing
    oldest = storing.aggregator.oldest_stamp()
    age_s = 0.0 if oldest is None else (context.clock.now_us() - (oldest >> WORKER_BITS)) / 1e6
    numbers.put("tracker_items_accepted_total", context.carts.accepted)
    numbers.put("tracker_items_coalesced_total", storing.aggregator.coalesced)
    numbers.put("tracker_items_stored_total", storing.delivery.stored)
    numbers.put("tracker_items_replayed_total", storing.recovery.stored)
    numbers.put("tracker_items_dead_lettered_total", storing.dead_letters.buried)
    numbers.put("tracker_items_lost_total", context.lost_items)
    numbers.put("tracker_items_oldest_seconds", max(0.0, age_s))


def _put_buffer(numbers: Numbers, context: Context) -> None:
    aggregator, journal, recovery = context.storing.aggregator, context.storing.journal, context.storing.recovery
    numbers.put("tracker_buffer_items", len(aggregator))
    numbers.put("tracker_buffer_bytes", aggregator.bytes)
    numbers.put("tracker_buffer_limit_bytes", aggregator.max_bytes)
    numbers.put("tracker_buffer_used_ratio", aggregator.bytes / aggregator.max_bytes)
    numbers.put("tracker_journal_items", journal.items)
    numbers.put("tracker_journal_bytes", journal.used_bytes)
    numbers.put("tracker_journal_limit_bytes", journal.max_bytes)
    numbers.put("tracker_journal_used_ratio", journal.used_bytes / (journal.max_bytes or 1))
    numbers.put("tracker_journal_orphaned_bytes", recovery.leftover_bytes)
    numbers.put("tracker_journal_damaged_frames_total", recovery.damaged_frames)


def _put_flushes(numbers: Numbers, context: Context) -> None:
    flusher, delivery = context.storing.flusher, context.storing.delivery
    numbers.put("tracker_flush_items", flusher.sizes)
    numbers.put("tracker_flush_duration_seconds", flusher.times)
    for failure, reason in _REASONS.items():
        numbers.put("tracker_flush_retries_total", delivery.failures[failure], reason)
    numbers.put("tracker_flush_retries_total", flusher.unexpected, "unexpected")


def _put_orders(numbers: Numbers, orders: OrderCounts) -> None:
    numbers.put("tracker_orders_placed_total", orders.placed)
    numbers.put("tracker_payments_total", orders.paid, "paid")
    numbers.put("tracker_payments_total", orders.failed, "failed")
    numbers.put("tracker_payments_total", orders.unsettled, "unsettled")
    numbers.put("tracker_payments_to_pay_back_total", orders.to_pay_back)
