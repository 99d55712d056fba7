"""The client that calls the reservation service over HTTP.

Nothing it sends is trusted: redirects are not followed, an answer is read up to `MAX_ANSWER_BYTES` and
must hold a reservation id. A failure says whether it pays to ask again.
"""

import asyncio
import email.utils
import time
from typing import Final

import msgspec
from msgspec import Struct

from tracker.errors import TrackerError
from tracker.features.reservations.domain import Attempt, ReservationId
from tracker.kit.outbound_http import Answer, OutboundClient, OutboundError, TooLargeError, UnreachableError
from tracker.telemetry import tracing

MAX_ANSWER_BYTES: Final = 64 * 1024

CONNECT_TIMEOUT_S: Final = 10.0
"""Seconds until an attempt to reach the service is given up; the service may take its time only for the answer."""

ASK_AGAIN: Final = frozenset({408, 409, 425, 429})
"""The 4xx statuses that say nothing about the reservation itself (RFC 9110, 6585, 8470), so asking again may help."""


class RefusedError(TrackerError):
    """The service will never grant the reservation."""


class UnansweredError(TrackerError):
    """There is no answer, or none that can be used; asking again may help.

    `retry_after_s` is what the service asks to wait, `is_down` whether it looks like it is down as a whole,
    `was_asked` whether the request reached it.
    """

    def __init__(
        self, reason: str, *, retry_after_s: float = 0.0, is_down: bool = False, was_asked: bool = True
    ) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.is_down = is_down
        self.was_asked = was_asked


class _Granted(Struct):
    reservation_id: ReservationId


_decode = msgspec.json.Decoder(_Granted).decode


class ReservationClient:
    """Asks the service for reservations through one pool of connections."""

    def __init__(self, url: str, *, timeout_s: float, concurrency: int) -> None:
        """Ask at `url`; an answer may take `timeout_s` seconds in all."""
        self._url = url
        self._timeout_s = timeout_s
        self._client = OutboundClient(timeout_s=timeout_s, connect_timeout_s=CONNECT_TIMEOUT_S, connections=concurrency)

    async def reserve(self, attempt: Attempt) -> int | str:
        """Return the id of the reservation; raise RefusedError or UnansweredError."""
        body = {"item": attempt.external_id, "quantity": attempt.quantity}
        headers = {"Idempotency-Key": attempt.key, "Accept": "application/json", **tracing.headers()}
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.call(
                    "POST", self._url, headers=headers, json=body, max_bytes=MAX_ANSWER_BYTES, reads_errors=False
                )
        except UnreachableError as error:
            raise UnansweredError(f"the service cannot be reached: {error}", is_down=True, was_asked=False) from error
        except TimeoutError as error:
            raise UnansweredError("the service did not answer in time", is_down=True) from error
        except TooLargeError as error:
            raise UnansweredError(f"the service's answer cannot be used: {error}") from error
        except OutboundError as error:
            raise UnansweredError(f"the service did not answer: {error}", is_down=True) from error
        if not answer.is_success:
            raise _unsuccessful(answer)
        try:
            reservation_id = _decode(answer.content).reservation_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnansweredError(f"the service's answer cannot be used: {error}") from error
        if isinstance(reservation_id, str) and "\0" in reservation_id:
            raise UnansweredError("the service's answer cannot be used: reservation_id holds a NUL character")
        return reservation_id

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _unsuccessful(answer: Answer) -> RefusedError | UnansweredError:
    reason = f"the service answered {answer.status} {answer.reason}".rstrip()
    if answer.is_client_error and answer.status not in ASK_AGAIN:
        return RefusedError(reason)
    return UnansweredError(
        reason, retry_after_s=_retry_after_s(answer.headers.get("retry-after", "")), is_down=answer.is_server_error
    )


def _retry_after_s(text: str) -> float:
    """Return the seconds in a Retry-After header, which may be a number or a date; 0 if it is neither."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
