"""Calls to the HTTP services of others, none of which is trusted.

Redirects are not followed, the proxies of the environment are not used, cookies are not kept, and an answer is read up
to a number of bytes. The only module that knows httpx (16 MB with what it needs), so only those that call somebody
import it.

httpx's own time-outs are for each read, and one byte a minute would never end: the caller bounds the whole call.
"""

from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import NamedTuple

import httpx

from tracker.errors import TrackerError


class Answer(NamedTuple):
    """An answer of a service."""

    status: int
    reason: str
    """Text behind the status; may be empty."""
    headers: Mapping[str, str]
    """Values by name, in any case."""
    content: bytes
    """The content as it was sent."""

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return self.status // 100 == 2  # noqa: PLR2004  # HTTP's number

    @property
    def is_client_error(self) -> bool:
        """Whether the status is a 4xx."""
        return self.status // 100 == 4  # noqa: PLR2004  # HTTP's number

    @property
    def is_server_error(self) -> bool:
        """Whether the status is a 5xx."""
        return self.status // 100 == 5  # noqa: PLR2004  # HTTP's number


class OutboundError(TrackerError):
    """There is no answer; says why."""


class UnreachableError(OutboundError):
    """The service cannot be reached: it has not got the request."""


class TooLargeError(OutboundError):
    """The answer has more bytes than the caller takes."""


class OutboundClient:
    """Calls a service through one pool of connections."""

    def __init__(self, *, timeout_s: float, connect_timeout_s: float, connections: int) -> None:
        """Wait `timeout_s` seconds for each read, and for a connection no longer than `connect_timeout_s` either.

        At most `connections` calls are in flight; further calls wait, within their time.
        """
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s, connect=min(connect_timeout_s, timeout_s)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # none is kept
        )

    async def call(  # noqa: PLR0913  # the parts of a request, and what is wanted of the answer
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        reads_errors: bool = True,
        json: object = None,
        form: Mapping[str, str] | None = None,
        content: bytes | str | None = None,
        auth: tuple[str, str] | None = None,
    ) -> Answer:
        """Send a request, and return the answer, whose content may have up to `max_bytes`.

        The body is one of `json`, `form` and `content`, or none. Without `reads_errors` an answer that is no success
        has no content, and is there with its headers. Raises TimeoutError or OutboundError.
        """
        try:
            async with self._client.stream(
                method,
                url,
                headers={**headers, "Accept-Encoding": "identity"},  # nothing is unpacked
                json=json,
                data=form,
                content=content,
                auth=auth,
            ) as answer:
                content = await _read(answer, max_bytes) if reads_errors or answer.is_success else b""
                return Answer(answer.status_code, answer.reason_phrase, answer.headers, content)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnreachableError(_reason(error)) from error
        except httpx.TimeoutException as error:
            raise TimeoutError(_reason(error)) from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            raise OutboundError(_reason(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _read(answer: httpx.Response, max_bytes: int) -> bytes:
    """Return the content of an answer as it was sent; raise TooLargeError as soon as it has more than `max_bytes`."""
    content = bytearray()
    async for part in answer.aiter_raw():
        content += part
        if len(content) > max_bytes:
            raise TooLargeError(f"it is larger than {max_bytes} bytes")
    return bytes(content)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
