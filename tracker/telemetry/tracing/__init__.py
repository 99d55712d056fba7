"""Traces: what a few of the requests cause, all the way, for an OpenTelemetry collector.

Whether a request is traced is decided once, where it comes in. Whatever follows from one that is traced is a span of
the same trace (`span`), or linked to it (a flush, which many cause); what follows from another is none. So a trace is
always whole, and what is not traced costs next to nothing. Into the queue and to other systems it goes as W3C's
`traceparent`: `headers` is for whoever calls one, as in

    with span("archive", SpanKind.CLIENT):
        await client.put(..., headers=headers())

Spans are named after routes and steps, and hold no cart, customer or value.

The `Tracer` of a process is handed to the few parts that begin a span from nothing: requests, flushes and jobs
(`tracker.runtime.tracer` builds it). Where tracing is off they have None in its place, and nothing of OpenTelemetry is
imported (`tracing.otel` is the only module that knows it). All others need no tracer: they work on the span that is
going on. That one is in a context variable, as in OpenTelemetry itself, since each task and thread has its own, and
since every function between a route and the client of another system would otherwise take a span for nothing but to
hand it on.
"""

import contextlib
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Final, Protocol

TRACEPARENT: Final = "traceparent"


class SpanKind(enum.Enum):
    """Side of a call that a span stands for."""

    INTERNAL = "internal"
    CLIENT = "client"


class Span(Protocol):
    """A step that is being traced."""

    @property
    def traceparent(self) -> str:
        """Name of the span for other systems (W3C Trace Context)."""

    def child(self, name: str, kind: SpanKind, attributes: Mapping[str, str | int]) -> "Span":
        """Begin a span for a step of this one."""

    def rename(self, name: str) -> None:
        """Give the span another name."""

    def note(self, **attributes: str | int) -> None:
        """Add attributes to the span."""

    def fail(self, reason: str) -> None:
        """Mark the span as failed; `reason` is the name of an error, never its text."""

    def end(self) -> None:
        """End the span, so that it is sent; a span that never ends is not sent."""


class Tracer(Protocol):
    """Begins the spans that are steps of no other span of the process; gives None where there is nothing to trace."""

    def request(self, headers: Iterable[tuple[bytes, bytes]]) -> Span | None:
        """Begin the span of a request with these headers, unless it is not to be traced."""

    def job(self, name: str, headers: Mapping[str, object] | None) -> Span | None:
        """Begin the span of a job that was put into the queue with these headers, if what did so was traced."""

    def linked(self, name: str, traceparents: Sequence[str]) -> Span | None:
        """Begin a span that several traced steps have caused, each given by its `traceparent`, if there are any."""


_current: Final[ContextVar[Span | None]] = ContextVar("span", default=None)

_NOTHING: Final = contextlib.nullcontext()


def current_span() -> Span | None:
    """Return the step that is going on, if it is traced."""
    return _current.get()


def headers() -> dict[str, str]:
    """Return what tells another system, or a job, the trace that it is called in."""
    found = _current.get()
    return {} if found is None else {TRACEPARENT: found.traceparent}


def note(**attributes: str | int) -> None:
    """Add attributes to the step that is going on."""
    found = _current.get()
    if found is not None:
        found.note(**attributes)


def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int
) -> contextlib.AbstractContextManager[Span | None]:
    """Trace the block as a step of what is going on, if that is traced."""
    found = _current.get()
    return _NOTHING if found is None else _ended(found.child(name, kind, attributes))


@contextlib.contextmanager
def use_span(span: Span) -> Iterator[Span]:
    """Have everything in the block belong to `span`."""
    token = _current.set(span)
    try:
        yield span
    finally:
        _current.reset(token)


def span_until_end(span: Span | None) -> contextlib.AbstractContextManager[Span | None]:
    """Have everything in the block belong to `span`, if there is one, and end it with the block."""
    return _NOTHING if span is None else _ended(span)


@contextlib.contextmanager
def _ended(span: Span) -> Iterator[Span]:
    try:
        with use_span(span):
            yield span
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()


def answered(span: Span, method: str, route: str, status: int) -> None:
    """Name the span of a request after what it has turned out to be; `route` is empty if there is none."""
    span.rename(f"{method} {route}".rstrip())
    attributes: dict[str, str | int] = {"http.request.method": method, "http.response.status_code": status}
    span.note(**attributes, **{"http.route": route} if route else {})
    if status >= 500:  # noqa: PLR2004  # HTTP's number
        span.fail(str(status))
