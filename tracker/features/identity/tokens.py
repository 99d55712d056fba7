"""Verifies that a token was made by the provider, for us, and is still good.

What a token says about itself chooses nothing but the key, by its id among those that the provider
publishes: not an algorithm beyond the three, not a key, and not an address to get one from.

msgspec checks the types of the claims, joserfc their values. joserfc would not say which of the two is wrong with one,
takes null for a claim that is there, and knows neither the length of a subject nor `azp`.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from joserfc import jws
from joserfc.errors import ClaimError, JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import Key
from joserfc.jwt import ClaimsOption, JWTClaimsRegistry
from joserfc.util import urlsafe_b64decode
from msgspec import Struct

from tracker.errors import UnauthenticatedError
from tracker.features.identity.domain import Customer, Subject
from tracker.features.identity.provider_keys import FAMILY_OF, Family
from tracker.kit.clock import Clock

MAX_TOKEN_CHARS: Final = 8192
"""Longest token, in characters. Providers that put groups into their tokens make some of 4 KB."""

MAX_HEADER_CHARS: Final = 4096
"""Most of these characters that the header may take: some carry a chain of certificates, which is not looked at."""

LEEWAY_S: Final = 60
"""Seconds by which the clocks of the provider and of this machine may differ."""

FindKey = Callable[[str | None, Family], Awaitable[Key]]


class _Header(Struct):
    alg: str
    kid: str | None = None
    crit: list[str] | None = None


class _Claims(Struct, omit_defaults=True):
    iss: str
    sub: Subject
    aud: str | list[str]
    exp: int | float
    nbf: int | float | None = None
    iat: int | float | None = None
    nonce: str | None = None
    azp: str | None = None


class _Registry(jws.JWSRegistry):
    """The algorithms, where EdDSA is another name for Ed25519 (RFC 9864) and headers of no meaning do no harm."""

    max_header_length = MAX_HEADER_CHARS

    def __init__(self) -> None:
        super().__init__(algorithms=["RS256", "ES256", "Ed25519"], strict_check_header=False)

    def get_alg(self, name: str) -> JWSAlgModel:
        """Return an algorithm by its name in a token's header."""
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


_REGISTRY: Final = _Registry()
_decode_header = msgspec.json.Decoder(_Header).decode
_decode_claims = msgspec.json.Decoder(_Claims).decode

_REASONS: Final = {
    "iss": "the token was made by another provider",
    "aud": "the token is for another audience",
    "exp": "the token has expired",
    "nbf": "the token is not valid yet",
    "iat": "the token is not valid yet",
    "nonce": "the token is not for this login",
}
"""Text for a claim that has its type and breaks a rule, by the claim's name."""


class TokenVerifier:
    """Verifies tokens of one issuer."""

    def __init__(self, find_key: FindKey, issuer: str, clock: Clock) -> None:
        self._find_key = find_key
        self._issuer = issuer
        self._clock = clock

    async def verify_access_token(self, token: str, audience: str) -> Customer:
        """Return the customer whose token it is.

        Raises UnauthenticatedError, or ProviderUnavailableError if its key is unknown.
        """
        return Customer((await self._verify(token, audience)).sub)

    async def verify_id_token(self, token: str, client_id: str, nonce: str) -> Customer:
        """Return the customer who has logged in (OpenID Connect Core, section 3.1.3.7).

        Raises the same errors as for an access token.
        """
        claims = await self._verify(token, client_id, nonce={"essential": True, "value": nonce})
        if claims.azp not in (
            {client_id} if isinstance(claims.aud, list) and len(claims.aud) > 1 else {None, client_id}
        ):
            raise _invalid("the token was given to somebody else")
        return Customer(claims.sub)

    async def _verify(self, token: str, audience: str, **more: ClaimsOption) -> _Claims:
        header = _header_of(token)
        if header.alg not in FAMILY_OF:
            raise _invalid("the token must be signed with RS256, ES256 or EdDSA")
        key = await self._find_key(header.kid, FAMILY_OF[header.alg])
        try:
            payload = jws.deserialize_compact(token, key, registry=_REGISTRY).payload
        except (JoseError, ValueError, TypeError, RecursionError):
            raise _invalid("the signature of the token is not valid") from None
        claims = _claims_in(payload)
        now_s = self._clock.now_us() // 1_000_000
        rules = JWTClaimsRegistry(now_s, LEEWAY_S, iss={"value": self._issuer}, aud={"value": audience}, **more)
        try:
            rules.validate(msgspec.to_builtins(claims))
        except ClaimError as error:
            raise _invalid(_REASONS[error.claim]) from None
        return claims


def _header_of(token: str) -> _Header:
    parts = token.split(".")
    if len(token) > MAX_TOKEN_CHARS:
        msg = f"the token is longer than {MAX_TOKEN_CHARS} characters"
        raise _invalid(msg)
    if len(parts) != 3 or not token.isascii():  # noqa: PLR2004  # header, payload, signature
        raise _invalid("the token must be a signed JWT")
    try:
        header = _decode_header(urlsafe_b64decode(parts[0].encode()))
    except (ValueError, RecursionError):  # msgspec's and binascii's errors are ValueErrors
        raise _invalid("the header of the token is not valid") from None
    if header.crit is not None:
        raise _invalid("the token has a critical header, of which none is known here")
    return header


_NAME: Final = re.compile(r"(?:\$\.|field `)(?P<name>[a-z]+)")


def _claims_in(payload: bytes) -> _Claims:
    try:
        return _decode_claims(payload)
    except msgspec.ValidationError as error:
        name = _NAME.search(str(error))
        of = f"{name['name']} in " if name else ""
        raise _invalid(f"{of}the token is missing or not valid") from None
    except (ValueError, RecursionError):
        raise _invalid("the token holds no valid JSON") from None


def _invalid(reason: str) -> UnauthenticatedError:
    return UnauthenticatedError(reason, code="invalid_token")
