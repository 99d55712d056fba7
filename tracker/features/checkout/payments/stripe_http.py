"""The HTTP client below Stripe's library: it bounds each answer and checks that it has the form the library expects.

The library's own clients send through the proxies of the environment, read answers of any size, and let an
answer of another form (of a proxy in between, say) end in an AttributeError somewhere above.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import stripe
from msgspec import Struct

from tracker.kit.backoff import about_s
from tracker.kit.outbound_http import OutboundClient, OutboundError, TooLargeError
from tracker.telemetry import tracing

# It would write a file into the home folder, and its id into each request. The library (16) has this switch for the
# process alone, none for a client, and asks it at each request; this module is the first of ours that imports it.
stripe.enable_telemetry = False

MAX_ANSWER_BYTES: Final = 1024 * 1024

CONNECT_TIMEOUT_S: Final = 5.0

CONNECTIONS: Final = 20
"""Maximum number of calls in flight per process; further calls wait, within the time that they have."""


class _Error(Struct):
    """The part of an error answer that the library reads."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None


class _Answer(Struct):
    error: _Error | None = None


_check = msgspec.json.Decoder(_Answer).decode


class HTTPClient(stripe.HTTPClient):
    """Sends the requests of `stripe.StripeClient`."""

    name = "httpx"

    def __init__(self, *, timeout_s: float) -> None:
        """Give each try `timeout_s` seconds."""
        super().__init__()
        self._client = OutboundClient(timeout_s=timeout_s, connect_timeout_s=CONNECT_TIMEOUT_S, connections=CONNECTIONS)

    async def request_async(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        post_data: Any = None,  # noqa: ANN401  # as in the class above: form data
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Return body, status and headers; raise APIConnectionError, which says whether to try again."""
        try:
            answer = await self._client.call(
                method,
                url,
                headers={**headers, **tracing.headers()},
                max_bytes=MAX_ANSWER_BYTES,
                content=post_data,
            )
        except TooLargeError as error:
            raise _unanswered(f"the answer cannot be used: {error}", should_retry=False) from error
        except (TimeoutError, OutboundError) as error:
            raise _unanswered(f"no answer: {error}", should_retry=True) from error
        try:
            _check(answer.content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = f"the answer with status {answer.status} cannot be used: {error}"
            raise _unanswered(reason, should_retry=answer.is_server_error) from error
        return answer.content, answer.status, answer.headers

    async def sleep_async(self, secs: float) -> None:
        """Wait about `secs` before the next try; the library's own jitter leaves the first wait as it is."""
        await asyncio.sleep(about_s(secs))

    async def close_async(self) -> None:
        """Close the connections."""
        await self._client.close()


def _unanswered(reason: str, *, should_retry: bool) -> stripe.APIConnectionError:
    return stripe.APIConnectionError(reason, should_retry=should_retry)  # type: ignore[no-untyped-call]  # has no types
