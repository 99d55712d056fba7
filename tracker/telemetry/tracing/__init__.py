"""Traces: what a few of the requests cause, all the way, for an OpenTelemetry collector.

Whether a request is traced is decided once, where it comes in. Whatever follows from one that is traced is a span of
the same trace (`span`), or linked to it (`linked`, a flush, which many cause); what follows from another is none. So
a trace is always whole, and what is not traced costs next to nothing. Into the queue and to other systems it goes as
W3C's `traceparent`: `headers` is for whoever calls one, as in

    with span("archive", Kind.CLIENT):
        await client.put(..., headers=headers())

Spans are named after routes and steps, and hold no cart, customer or value. Where tracing is off nothing of
OpenTelemetry is imported (`tracing.otel` is the only module that knows it), and each call here returns at once.

There is one tracer for a process, as there is one log.
"""

import contextlib
import enum
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Final, Protocol

STOP_TIMEOUT_S: Final = 1.0
"""Seconds to send the last spans when the process ends; a collector that is away is not waited for any longer."""

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Environment variables of which any one switches tracing on."""

TRACEPARENT: Final = "traceparent"

logger = logging.getLogger(__name__)


class Kind(enum.Enum):
    """Side of a call that a span stands for."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"


class Span(Protocol):
    """A step that is being traced."""

    @property
    def traceparent(self) -> str:
        """Name of the span for other systems (W3C Trace Context)."""

    def child(self, name: str, kind: Kind, attributes: Mapping[str, str | int]) -> "Span":
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
    """Makes spans and sends them."""

    def request(self, traceparent: str | None) -> Span | None:
        """Begin a request's span, unless it is not to be traced; `traceparent` is what the client says."""

    def begin(self, name: str, kind: Kind, *, parent: str | None, links: Sequence[str]) -> Span | None:
        """Begin a span, of the trace of `parent` if that is given; None if `parent` or all links cannot be read."""

    def close(self) -> None:
        """Send the spans that are left."""


_tracer: Tracer | None = None

_current: Final[ContextVar[Span | None]] = ContextVar("span", default=None)

_NOTHING: Final = contextlib.nullcontext()


@contextlib.contextmanager
def tracing(environ: Mapping[str, str]) -> Iterator[None]:
    """Trace in this process until the end of the block, if `environ` (by the variables of OpenTelemetry) says so."""
    global _tracer  # noqa: PLW0603  # see above
    _tracer = _tracer_of(environ)
    try:
        yield
    finally:
        tracer, _tracer = _tracer, None
        if tracer is not None:
            # Not in this thread: it would wait for as long as the collector does not answer.
            closing = threading.Thread(target=tracer.close, name="last spans", daemon=True)
            closing.start()
            closing.join(STOP_TIMEOUT_S)


def _tracer_of(environ: Mapping[str, str]) -> Tracer | None:
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if is_off or not any(map(environ.get, ENDPOINTS)):
        return None
    try:
        from tracker.telemetry.tracing.otel import OpenTelemetry  # noqa: PLC0415  # 11 MB: only where it is used
    except ImportError as error:
        # Whoever runs the machine may set the variable for all that runs there: no reason not to serve.
        fields = {"missing": error.name}
        logger.warning(
            "nothing is traced: OTEL_EXPORTER_OTLP_ENDPOINT is set, tracker[tracing] is not installed", extra=fields
        )
        return None
    return OpenTelemetry(environ)


def is_on() -> bool:
    """Return whether any request may be traced in this process."""
    return _tracer is not None


def current() -> Span | None:
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
    name: str, kind: Kind = Kind.INTERNAL, **attributes: str | int
) -> contextlib.AbstractContextManager[Span | None]:
    """Trace the block as a step of what is going on, if that is traced."""
    found = _current.get()
    return _NOTHING if found is None else ended(found.child(name, kind, attributes))


def request(headers: Iterable[tuple[bytes, bytes]]) -> Span | None:
    """Begin the span of a request with these headers, unless it is not to be traced."""
    if _tracer is None:
        return None
    for name, value in headers:
        if name == b"traceparent":
            return _tracer.request(value.decode("latin-1"))
    return _tracer.request(None)


def job(name: str, headers: Mapping[str, object] | None) -> contextlib.AbstractContextManager[Span | None]:
    """Trace the block as the job that was put into the queue with these headers, if what did so was traced."""
    parent = None if headers is None else headers.get(TRACEPARENT)
    if _tracer is None or not isinstance(parent, str):
        return _NOTHING
    return _ended_if_any(_tracer.begin(f"job {name}", Kind.CONSUMER, parent=parent, links=()))


def linked(name: str, causes: Sequence[str]) -> contextlib.AbstractContextManager[Span | None]:
    """Trace the block as what several traced steps have caused, each given by its `traceparent`, if there are any."""
    if _tracer is None or not causes:
        return _NOTHING
    return _ended_if_any(_tracer.begin(name, Kind.INTERNAL, parent=None, links=causes))


def _ended_if_any(span: Span | None) -> contextlib.AbstractContextManager[Span | None]:
    return _NOTHING if span is None else ended(span)


@contextlib.contextmanager
def going_on(span: Span) -> Iterator[Span]:
    """Have everything in the block belong to `span`."""
    token = _current.set(span)
    try:
        yield span
    finally:
        _current.reset(token)


@contextlib.contextmanager
def ended(span: Span) -> Iterator[Span]:
    """Do what `going_on` does, and end the span with the block."""
    try:
        with going_on(span):
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
