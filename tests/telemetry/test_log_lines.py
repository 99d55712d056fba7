"""What a line of the log looks like, and what never stands in one."""

import asyncio
import json
import logging
import os
import pty
import re
import subprocess
import sys
from typing import Any

import asyncpg
import httpx
import pytest
from litestar import Litestar, Response, get
from litestar.params import FromPath
from sqlalchemy.exc import DBAPIError

from tracker.postgres.error_classes import FollowUpError, loggable
from tracker.telemetry.logs import formatter
from tracker.telemetry.request_id import current_request_id
from tracker.web.middleware.request_log import MAX_LINES_PER_S, RequestLogMiddleware
from tracker.web.problems import EXCEPTION_HANDLERS

CART = "7d9f5f0e-1111-4222-8333-444455556666"

SAYS_ALL = """
import logging
from tracker.telemetry.logs import set_up_logging
from tracker.settings import LogFormat, LogLevel
set_up_logging(LogLevel.INFO, LogFormat.AUTO)
logging.getLogger("tracker.x").debug("too low")
logging.getLogger("tracker.x").info("started", extra={"items": 3})
logging.getLogger("httpx").info("HTTP Request: POST https://user:password@host")
logging.getLogger("uvicorn.error").error("of uvicorn", extra={"color_message": "colored"})
"""


def record(message: str, *arguments: object, raised: BaseException | None = None, **extra: object) -> logging.LogRecord:
    exc_info = None if raised is None else (type(raised), raised, raised.__traceback__)
    return logging.getLogger("tracker.test").makeRecord(
        "tracker.test", logging.WARNING, "file", 1, message, arguments, exc_info, extra=extra
    )


def line(found: logging.LogRecord) -> dict[str, Any]:
    text = formatter(is_text=False).format(found)
    assert "\n" not in text
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def failed(text: str) -> ValueError:
    """Return an error with a trace and a cause."""
    carts: dict[str, int] = {}

    def look() -> int:
        try:
            return carts[CART]
        except KeyError as error:
            raise ValueError(text) from error

    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        look()
    return caught.value


def test_a_line_is_json_with_its_fields() -> None:
    found = line(record("items are stored", items=3, error="O'Brien \n\x1b[31m"))
    assert list(found)[:4] == ["timestamp", "level", "logger", "event"]
    assert found["timestamp"].endswith("Z")
    del found["timestamp"]
    assert found == {
        "level": "warning",
        "logger": "tracker.test",
        "event": "items are stored",
        "items": 3,
        "error": "O'Brien \n\x1b[31m",
    }


def test_a_trace_is_one_field_of_its_line() -> None:
    found = line(record("failed", raised=failed("wrong")))
    assert "Traceback (most recent call last)" in found["exception"]
    assert "ValueError: wrong" in found["exception"]
    assert "exc_info" not in found


@pytest.mark.parametrize("is_text", [False, True])
def test_no_line_shows_what_an_error_quotes_of_a_row(is_text: bool) -> None:  # noqa: FBT001  # of parametrize
    quoting = failed(f"duplicate key\nDETAIL:  Key (name)=(Mug) exists.\n[parameters: ('Mug',)]\nin {CART.upper()}")
    text = formatter(is_text=is_text).format(record("failed for %s", CART, raised=quoting, reason=f"of {CART}"))
    assert "duplicate key" in text
    assert "Mug" not in text
    assert CART not in text.lower()


def test_a_line_of_a_request_has_its_id() -> None:
    token = current_request_id.set("abc")
    assert line(record("failed"))["request_id"] == "abc"
    current_request_id.reset(token)
    assert "request_id" not in line(record("failed"))


def test_elsewhere_than_on_a_terminal_lines_are_json_and_the_libraries_are_heard_from_warning_on() -> None:
    done = subprocess.run([sys.executable, "-c", SAYS_ALL], capture_output=True, text=True, check=True, timeout=60)
    found = [json.loads(text) for text in done.stderr.splitlines()]
    assert [(one["logger"], one["level"], one["event"]) for one in found] == [
        ("tracker.x", "info", "started"),
        ("uvicorn.error", "error", "of uvicorn"),
    ]
    assert found[0]["items"] == 3
    assert "color_message" not in found[1]


def test_on_a_terminal_lines_are_for_people() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run([sys.executable, "-c", SAYS_ALL], stderr=theirs, check=True, timeout=60)
        os.close(theirs)
        shown_text = terminal.read(10_000).decode()
    assert "started" in shown_text
    assert "\x1b[" in shown_text
    assert '"event"' not in shown_text


def of_sqlalchemy(error: asyncpg.PostgresError) -> DBAPIError:
    adapted = Exception(str(error))
    adapted.sqlstate = error.sqlstate  # type: ignore[attr-defined]  # as that of SQLAlchemy's has it
    adapted.__cause__ = error
    return DBAPIError("INSERT", {"cart_id": CART}, adapted, hide_parameters=True)


def test_an_error_of_postgresql_is_shown_without_the_values_of_a_row() -> None:
    down = ConnectionRefusedError(111, "Connect call failed")
    assert loggable(down) == "ConnectionRefusedError: [Errno 111] Connect call failed"
    missing = of_sqlalchemy(asyncpg.UndefinedTableError('relation "items" does not exist'))
    assert loggable(missing) == 'UndefinedTableError (42P01): relation "items" does not exist'
    bad = of_sqlalchemy(asyncpg.InvalidTextRepresentationError(f'invalid input syntax for type uuid: "{CART}"'))
    assert loggable(bad) == "InvalidTextRepresentationError (22P02)"
    follow_up = FollowUpError(str(bad))
    follow_up.__cause__ = bad
    assert loggable(follow_up) == "InvalidTextRepresentationError (22P02)"
    assert loggable(asyncpg.DataError(f"invalid input for query argument $1: ['{CART}']")) == "DataError (22000)"
    assert loggable(KeyError(CART)) == "KeyError"


@get("/carts/{cart_id:str}")
async def fail(cart_id: FromPath[str]) -> None:
    raise RuntimeError(f"nobody has thought of {cart_id}")


@get("/busy")
async def busy() -> Response[None]:
    return Response(None, status_code=503)


@get("/off")
async def off() -> Response[None]:
    return Response(None, status_code=501)


def answers(*paths: str) -> list[httpx.Response]:
    app = Litestar([fail, busy, off], exception_handlers=EXCEPTION_HANDLERS, logging_config=None, openapi_config=None)
    app.asgi_handler = RequestLogMiddleware(app.asgi_handler, None)

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # ASGI all the same
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            return [await client.get(path, headers={"X-Request-ID": "mine"}) for path in paths]

    return asyncio.run(main())


def test_an_unexpected_error_is_one_line_that_names_the_request_and_not_the_cart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.handler.setFormatter(formatter(is_text=False))
    (answer,) = answers(f"/carts/{CART}")
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine")
    (found,) = map(json.loads, caplog.text.splitlines())
    assert found.pop("duration_ms") >= 0
    assert "RuntimeError: nobody has thought of" in found.pop("exception")
    del found["timestamp"], found["message"]  # the latter is pytest's
    assert found == {
        "level": "error",
        "logger": "tracker.web.middleware.request_log",
        "event": "a request has ended in a server error",
        "method": "GET",
        "route": "/carts/{cart_id}",
        "status": 500,
        "request_id": "mine",
    }
    assert CART not in caplog.text


def test_many_failing_requests_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    count = 10 * MAX_LINES_PER_S
    answers(*["/busy"] * count)
    seconds = len({int(found.created) for found in caplog.records}) + 1
    records = [found for found in caplog.records if found.name == "tracker.web.middleware.request_log"]
    assert MAX_LINES_PER_S <= len(records) <= seconds * MAX_LINES_PER_S


def test_what_is_switched_off_is_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert answers("/off")[0].status_code == 501
    assert not [found for found in caplog.records if found.name == "tracker.web.middleware.request_log"]
