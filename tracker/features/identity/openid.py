"""The customers of an OpenID Connect provider: by bearer token, or by a session that a login has opened.

The login is the authorization code flow with PKCE, state and nonce: each ties the way back to the browser
that began it, the last two also to the answer of the provider.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final
from urllib.parse import urlencode

from tracker.errors import InvalidInputError, NotConfiguredError, UnauthenticatedError
from tracker.features.identity.client import CodeRefusedError, Discovery, ProviderClient
from tracker.features.identity.cookie import Cookie, values_of
from tracker.features.identity.domain import (
    LOG_IN,
    LOG_IN_AGAIN,
    LOGIN_MAX_AGE_S,
    NO_LOGIN,
    Caller,
    Customer,
    check_return_address,
    check_same_site,
)
from tracker.features.identity.provider_cache import Kept
from tracker.features.identity.provider_keys import Keys
from tracker.features.identity.service import Callback, Redirection
from tracker.features.identity.session import SESSION_MAX_AGE_S, Login, Sealer, Session
from tracker.features.identity.tokens import TokenVerifier
from tracker.kit.clock import Clock
from tracker.kit.origins import Origins
from tracker.kit.timeouts import RequestTimeouts

CALLBACK_PATH: Final = "/login/callback"

SECRET_BYTES: Final = 32
"""Bytes of a state, a nonce and a PKCE verifier, which become 43 characters (RFC 7636, section 4.1)."""

MAX_ERROR_CHARS: Final = 200
"""Most characters of a provider's error that are shown."""


class OpenID:
    """Identifies the customers of one provider, and logs them in and out."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        clock: Clock,
        timeouts: RequestTimeouts,
        *,
        client_id: str | None,
        client_secret: str | None,
        listed: Origins | None,
    ) -> None:
        """Take tokens of a provider that are made out to `audience`; `listed` are the origins of pages that may call.

        Without `client_id` and `client_secret` nobody can log in with a browser.
        """
        self._issuer = issuer
        self._audience = audience
        self._listed = listed
        self._clock = clock
        self._client = ProviderClient(issuer, timeouts, client_id=client_id, client_secret=client_secret)
        self._discovery = Kept(self._client.discover)
        self._keys = Keys(self._fetch_keys)
        self._tokens = TokenVerifier(self._keys.find, issuer, clock)
        self._browsers: _Browsers | None = None
        if client_id is not None and client_secret is not None:
            self._browsers = _Browsers(client_id, client_secret, issuer, clock)

    async def customer_of(self, caller: Caller) -> Customer:
        """Return who sent the request; see `Identity`."""
        scheme, _, token = caller.authorization.partition(" ")
        if scheme.lower() == "bearer":
            return await self._tokens.verify_access_token(token.strip(), self._audience)
        session = None if self._browsers is None else self._browsers.session_of(caller)
        if session is None:
            raise UnauthenticatedError(LOG_IN)
        check_same_site(caller, self._listed)
        return Customer(session.subject)

    async def start_login(self, caller: Caller, return_to: str) -> Redirection:
        """Send a browser to the provider; see `Identity`."""
        browsers = self._of_browsers()
        check_return_address(return_to)
        redirect_uri = _redirect_uri(caller)
        provider = await self._discovery.get()
        state, nonce, verifier = (secrets.token_urlsafe(SECRET_BYTES) for _ in range(3))
        login = Login(state, nonce, verifier, return_to, self._now_s() + LOGIN_MAX_AGE_S)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = urlencode(
            {
                "response_type": "code",
                "client_id": browsers.client_id,
                "redirect_uri": redirect_uri,
                "scope": "openid",
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        endpoint = provider.authorization_endpoint
        location = f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"
        return Redirection(location, browsers.logins.seal(login), LOGIN_MAX_AGE_S)

    async def finish_login(self, caller: Caller, callback: Callback) -> Redirection:
        """Open a session; see `Identity`."""
        browsers = self._of_browsers()
        login = browsers.login_of(caller)
        if login is None:
            raise InvalidInputError("", NO_LOGIN)
        if not hmac.compare_digest(login.state.encode(), (callback.state or "").encode("utf-8", "replace")):
            raise InvalidInputError("state", f"is not that of the login last begun in this browser; {LOG_IN_AGAIN}")
        provider = await self._discovery.get()
        _check_issuer(callback, provider)
        if callback.error is not None:
            raise InvalidInputError(
                "", f"the identity provider refused the login: {_error_text(callback)}; {LOG_IN_AGAIN}"
            )
        if not callback.code:
            raise InvalidInputError("code", f"is required; {LOG_IN_AGAIN}")
        try:
            token = await self._client.exchange(
                provider, code=callback.code, redirect_uri=_redirect_uri(caller), verifier=login.verifier
            )
            customer = await self._tokens.verify_id_token(token, browsers.client_id, login.nonce)
        except CodeRefusedError as error:
            raise InvalidInputError("code", f"is refused: {error}; {LOG_IN_AGAIN}") from error
        except UnauthenticatedError as error:
            msg = f"what the identity provider says about the customer is not valid: {error}; {LOG_IN_AGAIN}"
            raise InvalidInputError("", msg) from error
        session = Session(customer.subject, self._now_s() + SESSION_MAX_AGE_S)
        return Redirection(login.return_to, browsers.sessions.seal(session), SESSION_MAX_AGE_S)

    def log_out(self, caller: Caller, return_to: str) -> str:
        """Return where the browser goes next; see `Identity`."""
        check_same_site(caller, self._listed)
        return check_return_address(return_to)

    async def close(self) -> None:
        """Close the connections."""
        await self._keys.close()
        await self._discovery.close()
        await self._client.close()

    async def _fetch_keys(self) -> bytes:
        return await self._client.keys((await self._discovery.get()).jwks_uri)

    def _of_browsers(self) -> "_Browsers":
        if self._browsers is None:
            msg = "nobody can log in with a browser: set TRACKER_OIDC_CLIENT_ID and TRACKER_OIDC_CLIENT_SECRET"
            raise NotConfiguredError(msg)
        return self._browsers

    def _now_s(self) -> int:
        return self._clock.now_us() // 1_000_000


class _Browsers:
    """The parts that logging in by a browser needs, with Tracker as a client of the provider."""

    def __init__(self, client_id: str, client_secret: str, issuer: str, clock: Clock) -> None:
        self.client_id = client_id
        self.sessions = Sealer(Session, client_secret, issuer, clock)
        self.logins = Sealer(Login, client_secret, issuer, clock)

    def session_of(self, caller: Caller) -> Session | None:
        values = values_of(Cookie.SESSION, caller.cookies, secure=caller.is_secure)
        return next(filter(None, map(self.sessions.open, values)), None)

    def login_of(self, caller: Caller) -> Login | None:
        values = values_of(Cookie.LOGIN, caller.cookies, secure=caller.is_secure)
        return next(filter(None, map(self.logins.open, values)), None)


def _redirect_uri(caller: Caller) -> str:
    if not caller.origin:
        raise InvalidInputError("Host", "is required: the provider must know where to send the browser back to")
    return f"{caller.origin}{CALLBACK_PATH}"


def _check_issuer(callback: Callback, provider: Discovery) -> None:
    """Check that the answer comes from our provider and no other that this browser knows (RFC 9207)."""
    must_be_there = provider.authorization_response_iss_parameter_supported
    if callback.iss != provider.issuer and (callback.iss is not None or must_be_there):
        raise InvalidInputError("iss", f"is not that of the identity provider; {LOG_IN_AGAIN}")


def _error_text(callback: Callback) -> str:
    text = f"{callback.error} ({callback.error_description})" if callback.error_description else callback.error or ""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_ERROR_CHARS])
