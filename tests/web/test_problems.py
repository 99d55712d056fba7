"""Every error has one status and the same headers, whichever part of Tracker answers with it."""

import asyncio

import pytest
from litestar.testing import RequestFactory
from litestar.types import HTTPReceiveMessage, Message

from tracker import errors
from tracker.errors import (
    BufferFullError,
    ConfigurationError,
    InvalidInputError,
    LostItemsError,
    RateLimitedError,
    StaleSchemaError,
    TrackerError,
    UnauthenticatedError,
    UnavailableError,
    UnconfirmedError,
)
from tracker.web.fast_lane.recognizer import refused
from tracker.web.middleware.browser_policy import SECURITY_HEADERS, UNRESTRICTED
from tracker.web.problems import ANSWERS, EXCEPTION_HANDLERS, response_to, status_and_headers

NOT_OF_REQUESTS = {ConfigurationError, LostItemsError}
"""Errors that end the process, or keep it from starting."""

ERRORS: list[TrackerError] = [
    InvalidInputError("name", "must be shorter"),
    InvalidInputError("", "the body must be valid JSON"),
    UnauthenticatedError("log in"),
    UnauthenticatedError("the token has expired", code="invalid_token"),
    RateLimitedError("cart", quota=20, window_s=10),
    UnavailableError("later"),
    BufferFullError("full"),
    UnconfirmedError("7d9f5f0e-1111-4222-8333-444455556666", "not in time"),
    *(kind("a reason") for kind in ANSWERS if kind not in {InvalidInputError, RateLimitedError}),
]


def test_every_kind_of_error_that_a_request_may_cause_has_an_answer() -> None:
    kinds = {kind for kind in TrackerError.__subclasses__() if kind.__module__ == errors.__name__}
    assert kinds == {*ANSWERS, *NOT_OF_REQUESTS}
    assert set(ANSWERS) <= set(EXCEPTION_HANDLERS)


def test_no_two_kinds_of_error_share_a_status() -> None:
    statuses = [answer.status for answer in ANSWERS.values()]
    assert len(set(statuses)) == len(statuses)


def test_an_error_is_answered_as_the_nearest_kind_above_it() -> None:
    assert status_and_headers(BufferFullError("full")) == (503, {"Retry-After": "1"})


@pytest.mark.parametrize("error", [ConfigurationError("x"), StaleSchemaError("x"), TrackerError("x")])
def test_an_error_that_no_request_causes_has_no_answer(error: TrackerError) -> None:
    with pytest.raises(KeyError):
        status_and_headers(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_fast_lane_answers_an_error_as_the_application_does(error: TrackerError) -> None:
    answer = asyncio.run(sent_by_application(error))
    status, sent = refused(error, UNRESTRICTED[False], b"")
    head, _, body = sent.partition(b"\r\n\r\n")
    headers = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")]
    own = [header for header in headers if header not in SECURITY_HEADERS[False]]
    assert (status, sorted(own), body) == answer


async def sent_by_application(error: TrackerError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> HTTPReceiveMessage:
        raise AssertionError

    request = RequestFactory().get()
    await response_to(error).to_asgi_response(app=None, request=request)(request.scope, receive, send)
    start, end = sent
    assert start["type"] == "http.response.start"
    assert end["type"] == "http.response.body"
    return start["status"], sorted(start["headers"]), end["body"]


def test_a_401_says_what_is_wrong_with_the_token() -> None:
    _, headers = status_and_headers(UnauthenticatedError("the token has expired", code="invalid_token"))
    challenge = 'Bearer error="invalid_token", error_description="the token has expired"'
    assert headers == {"WWW-Authenticate": challenge}
    assert status_and_headers(UnauthenticatedError("log in")) == (401, {"WWW-Authenticate": "Bearer"})
