"""OpenTelemetry, as `tracing` uses it: makes spans, and sends them by OTLP over HTTP from a thread of its own.

The SDK's sampler is not asked: it takes 3 µs for a request that is not traced, a sixth of what answering one takes.
The decision is made here, by the same variables, in 0.1.

Nor does OpenTelemetry's propagator read and write `traceparent`: it takes 4.1 µs to read one instead of 1.6, for every
request that brings it, traced or not, and 2.1 instead of 0.6 to write one. It passes over a `traceparent` of a later
version with more than 512 characters, and sends the flags of our spans as 03 (sampled, with a random id), not 01.

What waits to be sent is bounded (OTEL_BSP_MAX_QUEUE_SIZE spans, 2,048 if not set), and dropped beyond. A
collector that is away is no news for who is served.
"""

import logging
import random
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, StatusCode, TraceFlags

from tracker.telemetry.tracing import TRACEPARENT, Span, SpanKind

DEFAULT_SAMPLER: Final = "parentbased_traceidratio"

DEFAULT_RATIO: Final = 0.01
"""Share of the requests without a trace of their caller for which one is begun; tracing a request takes 50 µs."""

MAX_TRACED_PER_S: Final = 100
"""Most requests that a process traces in a second: 0.5 % of a core, whatever the load and whatever strangers say in
`traceparent`."""

_RATIOS: Final = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
"""Share of requests that each sampler (named without `parentbased_`) traces; None: that of OTEL_TRACES_SAMPLER_ARG."""

_parse = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
).fullmatch
"""Match a `traceparent`: version, trace, span, flags, and what versions to come may add (W3C Trace Context, 3.2)."""

logger = logging.getLogger(__name__)


class OpenTelemetry:
    """The tracer of a process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take the settings from the variables of OpenTelemetry; bad ones are logged and passed over."""
        self._by_parent, self._ratio = _sampling(environ)
        self._second = self._begun = 0
        resource: dict[str, str] = {SERVICE_VERSION: metadata.version("tracker")}
        if not environ.get("OTEL_SERVICE_NAME") and SERVICE_NAME not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
            resource[SERVICE_NAME] = "tracker"
        self._provider = TracerProvider(ALWAYS_ON, Resource.create(resource), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter()))
        self._tracer = self._provider.get_tracer("tracker")
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what remains to be said `_Exporter` says
        logger.info("requests are traced", extra={"ratio": self._ratio, "heeds_callers": self._by_parent})

    def request(self, headers: Iterable[tuple[bytes, bytes]]) -> Span | None:
        """Begin the span of a request with these headers, unless it is not to be traced."""
        parent = None
        for name, value in headers:
            if name == b"traceparent":
                parent = _context_of(value.decode("latin-1"))
                break
        if parent is not None and self._by_parent:
            is_sampled = parent.trace_flags.sampled
        else:
            # Not by the id of the caller's trace, as the SDK would: a stranger could choose one that is taken.
            is_sampled = random.random() < self._ratio  # noqa: S311  # not a secret
        if not is_sampled or not self._has_room():
            return None
        return _Span(self._tracer, "request", trace.SpanKind.SERVER, parent=parent)

    def _has_room(self) -> bool:
        """Count a request that is to be traced; return False if this second already had `MAX_TRACED_PER_S` of them."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._begun = second, 0
        self._begun += 1
        return self._begun <= MAX_TRACED_PER_S

    def job(self, name: str, headers: Mapping[str, object] | None) -> Span | None:
        """Begin the span of a job that was put into the queue with these headers, if what did so was traced."""
        traceparent = None if headers is None else headers.get(TRACEPARENT)
        parent = _context_of(traceparent) if isinstance(traceparent, str) else None
        return None if parent is None else _Span(self._tracer, f"job {name}", trace.SpanKind.CONSUMER, parent=parent)

    def linked(self, name: str, traceparents: Sequence[str]) -> Span | None:
        """Begin a span that several traced steps have caused, each given by its `traceparent`, if there are any."""
        links = [Link(found) for found in map(_context_of, traceparents) if found is not None]
        return _Span(self._tracer, name, trace.SpanKind.INTERNAL, links=links) if links else None

    def close(self) -> None:
        """Send the spans that are left; this waits for the collector."""
        self._provider.shutdown()


class _Exporter(OTLPSpanExporter):
    """Logs once that the collector is away, and once that it is back; the SDK itself logs it 25 times a minute."""

    _is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; return whether the collector has them."""
        result = super().export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away != self._is_away:
            self._is_away = is_away
            logger.warning("traces cannot be sent to the collector" if is_away else "traces are sent again")
        return result


class _Span:
    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        kind: trace.SpanKind,
        *,
        parent: SpanContext | None = None,
        links: Sequence[Link] = (),
        attributes: Mapping[str, str | int] | None = None,
    ) -> None:
        context = None if parent is None else trace.set_span_in_context(NonRecordingSpan(parent))
        self._tracer = tracer
        self._span = tracer.start_span(name, context, kind, attributes, links)

    @property
    def traceparent(self) -> str:
        found = self._span.get_span_context()
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-01"

    def child(self, name: str, kind: SpanKind, attributes: Mapping[str, str | int]) -> Span:
        parent = self._span.get_span_context()
        return _Span(self._tracer, name, _KINDS[kind], parent=parent, attributes=attributes)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, **attributes: str | int) -> None:
        self._span.set_attributes(attributes)

    def fail(self, reason: str) -> None:
        self._span.set_attribute("error.type", reason)
        self._span.set_status(StatusCode.ERROR)

    def end(self) -> None:
        self._span.end()


_KINDS: Final = {SpanKind.INTERNAL: trace.SpanKind.INTERNAL, SpanKind.CLIENT: trace.SpanKind.CLIENT}


def _sampling(environ: Mapping[str, str]) -> tuple[bool, float]:
    """Return whether what a caller has decided counts, and the ratio of the others' requests that are traced."""
    name = environ.get("OTEL_TRACES_SAMPLER") or DEFAULT_SAMPLER
    kind = name.removeprefix("parentbased_")
    if kind not in _RATIOS:
        logger.warning("OTEL_TRACES_SAMPLER is not known", extra={"sampler": name, "instead": DEFAULT_SAMPLER})
        name, kind = DEFAULT_SAMPLER, "traceidratio"
    ratio = _RATIOS[kind]
    if ratio is None:
        text = environ.get("OTEL_TRACES_SAMPLER_ARG") or str(DEFAULT_RATIO)
        try:
            ratio = float(text)
        except ValueError:
            ratio = -1
        if not 0 <= ratio <= 1:
            logger.warning("OTEL_TRACES_SAMPLER_ARG is no ratio", extra={"argument": text, "instead": DEFAULT_RATIO})
            ratio = DEFAULT_RATIO
    return name.startswith("parentbased_"), ratio


def _context_of(traceparent: str) -> SpanContext | None:
    found = _parse(traceparent)
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    flags = TraceFlags(int(found[4], 16))
    return SpanContext(int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=flags)
