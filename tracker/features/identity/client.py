"""The client that calls the identity provider over HTTP.

Nothing it sends is trusted: redirects are not followed, an answer is bounded in bytes and time, and what
it says is checked before it is used. Every failure is a `ProviderUnavailableError`, except that the provider does not
take a code: only this concerns the customer.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from tracker.errors import TrackerError, UnavailableError
from tracker.kit.outbound_http import OutboundClient, OutboundError, TooLargeError
from tracker.kit.timeouts import RequestTimeouts

TIMEOUT_S: Final = 5.0
"""Seconds that a whole answer may take; somebody waits for it."""

MAX_ANSWER_BYTES: Final = 64 * 1024

MAX_KEYS_BYTES: Final = 1024 * 1024
"""Largest key set, in bytes: keys with long certificate chains are large."""

CONNECTIONS: Final = 10

_OUR_FAULT: Final = frozenset({"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_request"})
"""Errors of RFC 6749, section 5.2, that a new login would not change."""

logger = logging.getLogger(__name__)


class ProviderUnavailableError(UnavailableError):
    """The identity provider does not answer, or not as it should."""

    retry_after_s = 5


class CodeRefusedError(TrackerError):
    """The provider does not take the code that a browser brought."""


class Discovery(Struct, frozen=True):
    """The provider's description of itself (OpenID Connect Discovery, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])
    authorization_response_iss_parameter_supported: bool = False


class _Tokens(Struct):
    id_token: str


class _Refusal(Struct):
    error: str


class ProviderClient:
    """Calls the provider through one pool of connections."""

    def __init__(
        self, issuer: str, timeouts: RequestTimeouts, *, client_id: str | None, client_secret: str | None
    ) -> None:
        self._issuer = issuer
        self._timeouts = timeouts
        self._client_id = client_id or ""
        self._client_secret = client_secret or ""
        self._client = OutboundClient(timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S, connections=CONNECTIONS)

    async def discover(self) -> Discovery:
        """Return what the provider says about itself; raise ProviderUnavailableError."""
        url = f"{self._issuer.removesuffix('/')}/.well-known/openid-configuration"
        found = _decoded(await self._fetch(url, MAX_ANSWER_BYTES), Discovery)
        if found.issuer != self._issuer:
            raise _unusable("its issuer is not TRACKER_OIDC_ISSUER")
        for endpoint in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            if not _is_endpoint(endpoint, secure=self._issuer.startswith("https:")):
                raise _unusable("an address in it is not valid")
        return found

    async def keys(self, url: str) -> bytes:
        """Return the key set at `url` as it is; raise ProviderUnavailableError."""
        return await self._fetch(url, MAX_KEYS_BYTES)

    async def exchange(self, provider: Discovery, *, code: str, redirect_uri: str, verifier: str) -> str:
        """Return the ID token for a code; raise CodeRefusedError or ProviderUnavailableError."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        auth: tuple[str, str] | None = None
        if "client_secret_basic" in provider.token_endpoint_auth_methods_supported:
            auth = (quote(self._client_id, safe=""), quote(self._client_secret, safe=""))
        elif "client_secret_post" in provider.token_endpoint_auth_methods_supported:
            form |= {"client_id": self._client_id, "client_secret": self._client_secret}
        else:
            raise _unusable("it takes neither client_secret_basic nor client_secret_post")
        status, content = await self._send("POST", provider.token_endpoint, MAX_ANSWER_BYTES, form, auth)
        if status in {400, 401, 403}:
            raise _refusal(content)
        if status != HTTPStatus.OK:
            raise _unusable(f"its status is {status}")
        return _decoded(content, _Tokens).id_token

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _fetch(self, url: str, max_bytes: int) -> bytes:
        status, content = await self._send("GET", url, max_bytes)
        if status != HTTPStatus.OK:
            raise _unusable(f"its status is {status}")
        return content

    async def _send(
        self,
        method: str,
        url: str,
        max_bytes: int,
        form: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> tuple[int, bytes]:
        headers = {"Accept": "application/json"}
        try:
            async with self._timeouts.within(TIMEOUT_S):
                answer = await self._client.call(
                    method, url, headers=headers, max_bytes=max_bytes, form=form, auth=auth
                )
        except TimeoutError as error:
            raise ProviderUnavailableError("the identity provider did not answer in time") from error
        except TooLargeError as error:
            raise _unusable(str(error)) from error
        except (OutboundError, OSError) as error:
            raise ProviderUnavailableError("the identity provider cannot be reached") from error
        return answer.status, answer.content


T = TypeVar("T", bound=Struct)


def _decoded(content: bytes, model: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=model)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable(str(error)) from error


def _refusal(content: bytes) -> CodeRefusedError | ProviderUnavailableError:
    error = _decoded(content, _Refusal).error
    if error in _OUR_FAULT:
        logger.error("the identity provider refuses Tracker's own part of a login", extra={"error": error})
        return ProviderUnavailableError(f"the identity provider refuses Tracker itself: {error}")
    return CodeRefusedError("the identity provider does not take this login any more")


def _unusable(reason: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(f"the identity provider's answer cannot be used: {reason}")


def _is_endpoint(url: str, *, secure: bool) -> bool:
    """Return whether `url` can be called; an https provider has no endpoints that anybody could listen to."""
    try:
        parts = urlsplit(url)
        schemes = {"https"} if secure else {"http", "https"}
        return (
            parts.scheme in schemes
            and bool(parts.hostname)
            and parts.port != 0
            and parts.username is None
            and not parts.fragment
            and url.isascii()
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        return False
