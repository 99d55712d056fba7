"""The tracer of a process, built once, if the variables of OpenTelemetry ask for one.

A serving process and `tracker worker` hand it to their parts: no module holds it, so that a reader sees who traces.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from tracker.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from tracker.telemetry.tracing.otel import OpenTelemetry

STOP_TIMEOUT_S: Final = 1.0
"""Seconds to send the last spans when the process ends; a collector that is away is not waited for any longer."""

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Environment variables of which any one switches tracing on."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def tracer_of(environ: Mapping[str, str]) -> Iterator[Tracer | None]:
    """Yield the tracer that `environ` asks for, or None; at the end of the block its last spans are sent."""
    tracer = _build(environ)
    try:
        yield tracer
    finally:
        if tracer is not None:
            # Not in this thread: it would wait for as long as the collector does not answer.
            closing = threading.Thread(target=tracer.close, name="last spans", daemon=True)
            closing.start()
            closing.join(STOP_TIMEOUT_S)


def _build(environ: Mapping[str, str]) -> "OpenTelemetry | None":
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
