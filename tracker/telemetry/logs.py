"""One form for every line of the log, ours and the libraries' alike.

Everybody speaks to Python's own `logging`, as uvicorn, pgqueuer and asyncio do anyway, with what varies in
`extra`; structlog makes lines of it, here and nowhere else. So the event of a line is always the same text, which
can be searched for and counted, and a test needs nothing set up to hear one.

There is no line for each request: a tracking request is answered in 18 µs, and a line costs more than that. What
has gone wrong on the way says so with the id of its request (`request_log`, `request_id`).

No line may hold a cart's id, which is the key to the cart, or anything of a body. The errors of others may quote
both: `_without_values` takes out what can be told from the rest by its form. Who logs an error of PostgreSQL's
sees to the others (`postgres.error_classes.loggable`).
"""

import logging
import os
import re
import sys
from typing import Final

from tracker.kit.loading import without

with without("rich"):
    # structlog loads it wherever it is installed, as Litestar's own command needs it: 50 ms and 7 MiB, for a form of
    # tracebacks that is not used here (it shows the values of variables).
    import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from tracker.settings import LogFormat, LogLevel
from tracker.telemetry import tracing
from tracker.telemetry.request_id import current_request_id

OTHERS_LEVEL: Final = logging.WARNING
"""Lowest level at which a library's line is logged. Libraries write lower ones for each call or retry, and show
addresses and SQL in them."""

_FIRST_KEYS: Final = ("timestamp", "level", "logger", "event")

_FOREIGN_TEXT: Final = ("event", "exception", "error", "reason")
"""Keys of a line whose text may come from libraries or other systems."""

_VALUES: Final = re.compile(
    r"\n?^(?:DETAIL|CONTEXT|HINT|\[SQL|\[parameters)\b.*$"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b",
    re.MULTILINE,
)
"""Pattern of text to take out: PostgreSQL's and SQLAlchemy's lines about values, and what looks like a cart's id."""


def set_up_logging(level: LogLevel, form: LogFormat) -> None:
    """Have every line of this process written to stderr, unless somebody has set up logging before.

    `level` is that of Tracker's own lines.
    """
    is_text = sys.stderr.isatty() if form is LogFormat.AUTO else form is LogFormat.TEXT
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(is_text=is_text))
    number = logging.getLevelNamesMapping()[level.name]
    logging.basicConfig(level=max(number, OTHERS_LEVEL), handlers=[handler])
    logging.getLogger("tracker").setLevel(number)


def formatter(*, is_text: bool) -> logging.Formatter:
    """Return what makes a line of a record: JSON, or text for people."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _with_request,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _without_values,
            *(_text() if is_text else _json()),
        ],
    )


def _text() -> list[Processor]:
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    # Its own way with a traceback, that of `rich`, would show the values of local variables.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain, pad_event_to=0)]


def _json() -> list[Processor]:
    return [_in_order, structlog.processors.JSONRenderer()]


def _with_request(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Add the id of the request that the line is about, and its trace; take out what is for uvicorn's own colors."""
    line.pop("color_message", None)
    if request_id := current_request_id.get():
        line["request_id"] = request_id
    if (span := tracing.current_span()) is not None:
        _, line["trace_id"], line["span_id"], _ = span.traceparent.split("-")
    return line


def _without_values(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    for key in _FOREIGN_TEXT:
        if isinstance(text := line.get(key), str):
            line[key] = _VALUES.sub("", text)
    return line


def _in_order(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    return {**{key: line.pop(key) for key in _FIRST_KEYS}, **line}
