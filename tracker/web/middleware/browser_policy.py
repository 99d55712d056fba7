"""Rules for browsers: which origins and host names may be used, and what headers every answer has.

They hold for both ways to answer, the application and the fast lane.

Litestar's own middlewares would not do. That for CORS sends most of its headers to every origin, and `Vary` only to
some; that for hosts knows no ports, and answers no problem+json. And the fast lane, which knows no Litestar, must give
the same answers byte for byte: one function looks at a request's headers, and the lines of its answer are made once.

Where origins are listed, a request that changes something must come from a page of a listed or of our own origin, or
from no page at all. That rule mentions no cookies: a beacon (text/plain, no preflight) starts a cart without any.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tracker.errors import ForbiddenError, InvalidInputError, TrackerError
from tracker.kit.origins import SAFE_METHODS, Hosts, Origins
from tracker.web.header_lines import lines_of
from tracker.web.problems import AnyRequest, response_to

PREFLIGHT_MAX_AGE_S: Final = 600
"""Seconds that a browser may reuse the answer to a preflight; Chrome keeps it for 2 hours at most, and the list of
origins may change."""

HSTS_MAX_AGE_S: Final = 365 * 24 * 60 * 60

_ON_ANY_HOST: Final = "/health/"
"""Path prefix of requests that may name any host: load balancers ask by address."""

_HeaderList = list[tuple[bytes, bytes]]

_SECURITY: Final[_HeaderList] = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
_HSTS: Final = (b"strict-transport-security", b"max-age=%d" % HSTS_MAX_AGE_S)

_PREFLIGHT: Final[_HeaderList] = [
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Idempotency-Key, X-Request-ID"),
    (b"access-control-max-age", b"%d" % PREFLIGHT_MAX_AGE_S),
]

_VARY: Final = (b"vary", b"Origin")


SECURITY_HEADERS: Final = {False: _SECURITY, True: [*_SECURITY, _HSTS]}
"""Security headers of all answers except 204: over http under False, over https under True.

A 204 has no content that could be taken for something else or framed, and nearly every request gets one: these lines
would be three times the rest of it.
"""

SECURITY_LINES: Final = {secure: lines_of(headers) for secure, headers in SECURITY_HEADERS.items()}


class Admission(NamedTuple):
    """Result for a request that may pass: facts about the request, and headers to add to the answer."""

    secure: bool
    """Whether the request came over https."""
    headers: _HeaderList
    end: bytes
    """`headers` as the bytes that are sent, and the empty line that ends the head."""
    is_listed: bool = False
    """Whether the request comes from a page of a listed origin."""


def _admissions(headers: _HeaderList, *, is_listed: bool = False) -> tuple[Admission, Admission]:
    """Return the admissions with these headers, for http and for https."""
    end = lines_of(headers) + b"\r\n"
    return Admission(False, headers, end, is_listed), Admission(True, headers, end, is_listed)  # noqa: FBT003  # by their index


UNRESTRICTED: Final = _admissions([])
"""Passes for http and https where no origins are listed."""

_UNLISTED: Final = _admissions([_VARY])


def joined(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return a header's value, or b"" without it; two of one name are joined, and so match no list."""
    return b", ".join([value for key, value in headers if key == name and value])


class BrowserPolicy:
    """Decides by its host and its origin whether a request may pass."""

    def __init__(self, origins: Origins | None, hosts: Hosts | None) -> None:
        """Take the lists; None means that every origin or every host may."""
        self._hosts = hosts
        self._lists_origins = origins is not None
        self._listed = {origin.encode(): _listed(origin.encode()) for origin in origins or ()}

    def admit(
        self,
        host: bytes,
        origin: bytes,
        secure: bool,  # noqa: FBT001  # of a cache's key
        *,
        safe: bool = False,
        any_host: bool = False,
    ) -> Admission:
        """Return the admission, with the headers for the answer, of a request with these headers (empty: without them).

        `secure` says whether it came over https, `safe` whether its method changes nothing. Raises InvalidInputError if
        it names a host that is not ours, ForbiddenError if another origin's page made a browser send it.
        """
        if self._hosts is not None and not any_host and not self._hosts.allows(host):
            raise InvalidInputError("Host", "must be a name that this service is known by")
        if not self._lists_origins:
            return UNRESTRICTED[secure]
        if not origin:
            return _UNLISTED[secure]
        listed = self._listed.get(origin)
        if listed is not None:
            return listed[secure]
        if safe or (host and origin.lower() == b"%b://%b" % (b"https" if secure else b"http", host.lower())):
            return _UNLISTED[secure]
        raise ForbiddenError("the request comes from a page whose Origin may not change anything here")

    @property
    def is_on(self) -> bool:
        """Whether origins or hosts are listed."""
        return self._hosts is not None or self._lists_origins

    def turn_away(self, *, secure: bool) -> Admission:
        """Return the admission whose headers the answer to a refused request gets."""
        return _UNLISTED[secure] if self._lists_origins else UNRESTRICTED[secure]


def _listed(origin: bytes) -> tuple[Admission, Admission]:
    headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"),
        _VARY,
    ]
    return _admissions(headers, is_listed=True)


class BrowserPolicyMiddleware:
    """An application behind a policy for browsers."""

    def __init__(self, app: ASGIApp, policy: BrowserPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request that may pass, and add the policy's headers to its answer; refuse any other request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        method, secure = scope["method"], scope["scheme"] == "https"
        refusal: TrackerError | None = None
        try:
            admission = self._policy.admit(
                joined(scope["headers"], b"host"),
                joined(scope["headers"], b"origin"),
                secure,
                safe=method in SAFE_METHODS,
                any_host=scope["path"].startswith(_ON_ANY_HOST),
            )
        except (InvalidInputError, ForbiddenError) as error:
            admission, refusal = self._policy.turn_away(secure=secure), error

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message["headers"]
                named = {name for name, _ in own}
                headers = [] if message["status"] == 204 else SECURITY_HEADERS[secure]  # noqa: PLR2004  # HTTP's number
                more = [header for header in headers if header[0] not in named]
                message["headers"] = [*own, *more, *admission.headers]
            await send(message)

        if refusal is not None:
            request = AnyRequest(scope, receive, send_with_policy)
            response = response_to(refusal).to_asgi_response(app=None, request=request)
            await response(scope, receive, send_with_policy)
        elif method == "OPTIONS" and admission.is_listed and _asks_for_method(scope["headers"]):
            await send_with_policy({"type": "http.response.start", "status": 204, "headers": [*_PREFLIGHT]})
            await send_with_policy({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._app(scope, receive, send_with_policy)


def _asks_for_method(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"access-control-request-method" for name, _ in headers)
