"""Errors as problem+json (RFC 9457), and the one table of the status and the headers that each is answered with."""

import functools
import http
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from msgspec import UNSET, Struct, UnsetType

from tracker.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    KeyReusedError,
    NotConfiguredError,
    NotFoundError,
    PaymentRefusedError,
    RateLimitedError,
    TrackerError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaTypeError,
)
from tracker.web.header_lines import lines_of
from tracker.web.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES, REQUEST_TIMEOUT_S

BODY_TOO_LARGE: Final = f"the body must be at most {MAX_BODY_BYTES} bytes"

NOT_HTTP: Final = "this is no valid HTTP request"

REQUEST_TOO_SLOW: Final = f"the request did not arrive within {REQUEST_TIMEOUT_S:.0f} s"

HEADERS_TOO_LARGE: Final = f"the headers are larger than {MAX_HEADER_BYTES} bytes"

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

_DETAILS: Final = {
    404: "there is nothing under this path",
    405: "this path does not take this method; see the Allow header",
    413: BODY_TOO_LARGE,
}
"""Details that replace those of Litestar's own exceptions, which say too little, by status."""

UNEXPECTED: Final = "unexpected error"
"""Key in the state of a request's scope under which an unexpected error is kept for the log."""


class Problem(Struct, omit_defaults=True):
    """The body of an answer that says what went wrong."""

    title: str
    status: int
    detail: str
    field: str | UnsetType = UNSET
    rule: str | UnsetType = UNSET


AnyRequest = Request[Any, Any, Any]


def problem_spec(description: str) -> ResponseSpec:
    """Return how OpenAPI describes an answer that is a problem."""
    return ResponseSpec(Problem, description=description, media_type=PROBLEM_MEDIA_TYPE, generate_examples=False)


BODY_PROBLEMS: Final = {
    400: problem_spec("A field or a header breaks its rule; the answer names both"),
    413: problem_spec(f"The body is larger than {MAX_BODY_BYTES // 1024} KiB"),
    415: problem_spec("The body is not JSON by its content type"),
}
"""Problems that every route that takes JSON may answer, by status, for OpenAPI."""

ADDRESS_PROBLEMS: Final = {
    431: problem_spec(f"The address is too long: with all headers at most {MAX_HEADER_BYTES // 1024} KiB")
}
"""Problems that every route whose query may be long may answer, by status, for OpenAPI."""


def problem(status: int, detail: str, **more: str) -> Problem:
    """Return the problem for an HTTP status; `more` are `field` and `rule`."""
    return Problem(title=http.HTTPStatus(status).phrase, status=status, detail=detail, **more)


def _challenge(error: UnauthenticatedError) -> str:
    """Return how to authenticate (RFC 6750, section 3)."""
    return f'Bearer error="{error.code}", error_description="{error}"' if error.code else "Bearer"


class Header(NamedTuple):
    """A header that the answer to an error has."""

    value: Callable[[Any], str]
    """Function that returns its value for an error."""

    description: str
    schema: Mapping[str, Any] = {"type": "string"}


class Answer(NamedTuple):
    """Form of the answer to a kind of error: its status, and its headers by their names."""

    status: int
    headers: Mapping[str, Header] = {}


RETRY_AFTER: Final = Header(lambda error: str(error.retry_after_s), "Seconds", {"type": "integer", "minimum": 0})

ANSWERS: Final[Mapping[type[TrackerError], Answer]] = {
    InvalidInputError: Answer(400),
    UnauthenticatedError: Answer(401, {"WWW-Authenticate": Header(_challenge, "How to authenticate (RFC 6750)")}),
    PaymentRefusedError: Answer(402),
    ForbiddenError: Answer(403),
    NotFoundError: Answer(404),
    ConflictError: Answer(409),
    UnsupportedMediaTypeError: Answer(415),
    KeyReusedError: Answer(422),
    # RFC 9110, and the IETF's draft of the RateLimit fields.
    RateLimitedError: Answer(
        429,
        {
            "Retry-After": RETRY_AFTER,
            "RateLimit-Policy": Header(
                lambda error: f'"{error.limit}";q={error.quota};w={error.window_s}', "The quota, and its seconds"
            ),
            "RateLimit": Header(
                lambda error: f'"{error.limit}";r=0;t={error.retry_after_s}', "Which limit, and what is left of it"
            ),
        },
    ),
    NotConfiguredError: Answer(501),
    UnavailableError: Answer(503, {"Retry-After": RETRY_AFTER}),
}
"""Answer to each kind of error; an error of a kind that is not listed is answered as the nearest class above it.

The application, the fast lane, the policy for browsers and the API's document all follow it.
"""


@functools.cache
def _answer_to(kind: type) -> Answer:
    return ANSWERS[next(filter(ANSWERS.__contains__, kind.__mro__), kind)]


def status_and_headers(error: TrackerError) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of the answer to an error; raise KeyError for one that no request causes."""
    kind: type = type(error)
    status, headers = _answer_to(kind)
    return status, {name: header.value(error) for name, header in headers.items()}


def status_and_lines(error: TrackerError) -> tuple[int, bytes]:
    """Return the same, with the headers as the lines that are sent; those who use no Litestar need them."""
    status, headers = status_and_headers(error)
    return status, lines_of((name.lower().encode(), value.encode()) for name, value in headers.items())


def problem_of(status: int, error: TrackerError) -> Problem:
    """Return the problem that an error is."""
    if isinstance(error, InvalidInputError):
        return problem(status, str(error), field=error.field, rule=error.rule)
    return problem(status, str(error))


def response_to(error: TrackerError) -> Response[Problem]:
    """Return the answer to an error."""
    status, headers = status_and_headers(error)
    return _response(problem_of(status, error), headers)


def _response(content: Problem, headers: dict[str, str] | None = None) -> Response[Problem]:
    return Response(content, status_code=content.status, media_type=PROBLEM_MEDIA_TYPE, headers=headers)


def _tracker_error(_: AnyRequest, error: TrackerError) -> Response[Problem]:
    return response_to(error)


def _http_exception(_: AnyRequest, error: HTTPException) -> Response[Problem]:
    status = error.status_code
    return _response(problem(status, _DETAILS.get(status, error.detail)), dict(error.headers or {}))


def _validation_exception(_: AnyRequest, error: ValidationException) -> Response[Problem]:
    """Answer 400 for an error that Litestar finds by itself: in a parameter, or in `data`, a body that is missing."""
    for found in error.extra or ():
        field, rule = (found["key"], found["message"]) if isinstance(found, dict) else ("", str(found))
        if field == "data":
            field, rule = "", "the body must be valid JSON: it is empty"
        return response_to(InvalidInputError(field, rule))
    return response_to(InvalidInputError("", error.detail))


def _unexpected(request: AnyRequest, error: Exception) -> Response[Problem]:
    request.scope["state"][UNEXPECTED] = error
    return _response(problem(500, "An error on our side; it is in the log."))


EXCEPTION_HANDLERS: Final[dict[int | type[Exception], Callable[[AnyRequest, Any], Response[Any]]]] = {
    **dict.fromkeys(ANSWERS, _tracker_error),
    ValidationException: _validation_exception,
    HTTPException: _http_exception,
    Exception: _unexpected,
}
"""Litestar's handlers of errors; it looks for the nearest class, too."""
