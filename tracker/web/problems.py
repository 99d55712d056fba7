"""Errors as problem+json (RFC 9457)."""

import http
from collections.abc import Callable
from typing import Any, Final

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

MAX_BODY_BYTES: Final = 65_536
"""Largest body of a request, in bytes: the most that sendBeacon can send."""

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

_DETAILS: Final = {
    404: "there is nothing under this path",
    405: "this path does not take this method; see the Allow header",
    413: f"the body must be at most {MAX_BODY_BYTES} bytes",
}
"""Details that replace those of Litestar's own exceptions, which say too little, by status."""

UNEXPECTED: Final = "unexpected error"
"""Key in the state of a request's scope under which an unexpected error is kept for the log."""


class Problem(Struct, omit_defaults=True):
    """What went wrong."""

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
    413: problem_spec("The body is larger than 64 KiB"),
    415: problem_spec("The body is not JSON by its content type"),
}
"""Problems that every route that takes JSON may answer, by status, for OpenAPI."""


def problem(status: int, detail: str, **more: str) -> Problem:
    """Return the problem for an HTTP status; `more` are `field` and `rule`."""
    return Problem(title=http.HTTPStatus(status).phrase, status=status, detail=detail, **more)


def _answer(status: int, detail: str, headers: dict[str, str] | None = None, **more: str) -> Response[Problem]:
    return Response(
        problem(status, detail, **more),
        status_code=status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=headers,
    )


def _invalid_input(_: AnyRequest, error: InvalidInputError) -> Response[Problem]:
    return _answer(400, str(error), field=error.field, rule=error.rule)


def _unauthenticated(_: AnyRequest, error: UnauthenticatedError) -> Response[Problem]:
    """Answer 401, and how to authenticate (RFC 6750, section 3)."""
    challenge = f'Bearer error="{error.code}", error_description="{error}"' if error.code else "Bearer"
    return _answer(401, str(error), headers={"WWW-Authenticate": challenge})


def _answer_of(status: int) -> Callable[[AnyRequest, TrackerError], Response[Problem]]:
    return lambda _, error: _answer(status, str(error))


def unavailable(_: AnyRequest, error: UnavailableError) -> Response[Problem]:
    """Answer 503, and when to try again."""
    return _answer(503, str(error), headers={"Retry-After": str(error.retry_after_s)})


def rate_limit_headers(error: RateLimitedError) -> dict[str, str]:
    """Return what a 429 says about the limit (RFC 9110, and the IETF's draft of the RateLimit fields)."""
    return {
        "Retry-After": str(error.retry_after_s),
        "RateLimit-Policy": f'"{error.limit}";q={error.quota};w={error.window_s}',
        "RateLimit": f'"{error.limit}";r=0;t={error.retry_after_s}',
    }


def _rate_limited(_: AnyRequest, error: RateLimitedError) -> Response[Problem]:
    return _answer(429, str(error), headers=rate_limit_headers(error))


def _http_exception(_: AnyRequest, error: HTTPException) -> Response[Problem]:
    detail = _DETAILS.get(error.status_code, error.detail)
    return _answer(error.status_code, detail, headers=dict(error.headers or {}))


def _validation_exception(request: AnyRequest, error: ValidationException) -> Response[Problem]:
    """Answer 400 for an error that Litestar finds by itself: in a parameter, or in `data`, a body that is missing."""
    for found in error.extra or ():
        field, rule = (found["key"], found["message"]) if isinstance(found, dict) else ("", str(found))
        if field == "data":
            field, rule = "", "the body must be valid JSON: it is empty"
        return _invalid_input(request, InvalidInputError(field, rule))
    return _invalid_input(request, InvalidInputError("", error.detail))


def _unexpected(request: AnyRequest, error: Exception) -> Response[Problem]:
    request.scope["state"][UNEXPECTED] = error
    return _answer(500, "An error on our side; it is in the log.")


EXCEPTION_HANDLERS: Final[dict[int | type[Exception], Callable[[AnyRequest, Any], Response[Any]]]] = {
    InvalidInputError: _invalid_input,
    UnauthenticatedError: _unauthenticated,
    PaymentRefusedError: _answer_of(402),
    ForbiddenError: _answer_of(403),
    NotFoundError: _answer_of(404),
    ConflictError: _answer_of(409),
    UnsupportedMediaTypeError: _answer_of(415),
    KeyReusedError: _answer_of(422),
    RateLimitedError: _rate_limited,
    NotConfiguredError: _answer_of(501),
    UnavailableError: unavailable,
    ValidationException: _validation_exception,
    HTTPException: _http_exception,
    Exception: _unexpected,
}
