"""Metrics of the requests: what `request_counts` has counted."""

from collections.abc import Iterator
from typing import Final

from tracker.telemetry.families import Family, MetricKind, Sample
from tracker.telemetry.request_counts import ANSWER_BOUNDS_S, CLIENT_LEFT, UNMATCHED, RequestCounts

REQUESTS: Final = Family(
    "tracker_http_requests_total",
    MetricKind.COUNTER,
    f"Requests answered; the route is the template, or {UNMATCHED!r}; {CLIENT_LEFT}: the client left before",
    ("method", "route", "status"),
)
DURATION: Final = Family(
    "tracker_http_request_duration_seconds",
    MetricKind.HISTOGRAM,
    "Time from the head of a request to its answer",
    ("method", "route"),
    ANSWER_BOUNDS_S,
)
REFUSED: Final = Family(
    "tracker_http_refused_total",
    MetricKind.COUNTER,
    "Requests that the connection refused before they came to a route: no HTTP, too large, too slow, too many",
    ("status",),
)

FAMILIES: Final = (REQUESTS, DURATION, REFUSED)


def request_samples(request_counts: RequestCounts) -> Iterator[Sample]:
    """Return an iterator over what `request_counts` has counted; answers of several statuses share a DURATION."""
    for (method, route, status), answers in request_counts.answers.items():
        yield Sample(REQUESTS, sum(answers.counts), (method, route, str(status)))
        yield Sample(DURATION, answers, (method, route))
    for status, count in request_counts.refused.items():
        yield Sample(REFUSED, count, (str(status),))
