"""The sealed contents of cookies: a session, and the data of a login that must be the same when the browser comes back.

Both are encrypted and authenticated, so that a browser can neither read nor change them, and no worker has
to remember them. The keys are derived from the client secret, apart for each purpose and provider: a login
cookie is no session, and a subject of one provider is nobody at the next. Another secret ends all sessions.
"""

from typing import Final, Generic, TypeVar

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from msgspec import Struct

from tracker.features.identity.domain import Subject
from tracker.kit.clock import Clock

SESSION_MAX_AGE_S: Final = 12 * 60 * 60
"""Seconds that a session lasts: a working day.

Then the provider is asked again, which answers at once while its own session lasts.
"""

MAX_SEALED_CHARS: Final = 4096
"""Longest sealed value, in characters: the most that browsers keep of a cookie."""

_HEADER: Final = {"alg": "dir", "enc": "A256GCM"}
_ALGORITHMS: Final = list(_HEADER.values())


class Session(Struct, frozen=True):
    """The session of a customer who is logged in."""

    subject: Subject
    expires_at: int
    """Time at which the session ends, in seconds since 1970 (UTC)."""


class Login(Struct, frozen=True):
    """A login under way."""

    state: str
    nonce: str
    verifier: str
    """PKCE verifier: shows the provider that the one who brings the code is the one who asked for it."""

    return_to: str
    expires_at: int
    """Time at which the login ends, in seconds since 1970 (UTC)."""


T = TypeVar("T", Session, Login)


class Sealer(Generic[T]):
    """Seals and opens the cookies of one purpose."""

    def __init__(self, model: type[T], secret: str, issuer: str, clock: Clock) -> None:
        self._clock = clock
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(model)
        derivation = HKDF(SHA256(), length=32, salt=issuer.encode(), info=b"tracker " + model.__name__.lower().encode())
        self._key = OctKey.import_key(derivation.derive(secret.encode()))

    def seal(self, content: T) -> str:
        """Return `content` sealed, as the value of a cookie."""
        return jwe.encrypt_compact(dict(_HEADER), msgspec.json.encode(content), self._key, _ALGORITHMS)

    def open(self, sealed: str) -> T | None:
        """Return the sealed content, or None if it was not sealed here for this purpose or has expired."""
        if len(sealed) > MAX_SEALED_CHARS:
            return None
        try:
            content = self._decoder.decode(jwe.decrypt_compact(sealed, self._key, _ALGORITHMS).plaintext or b"")
        except (JoseError, ValueError, TypeError, RecursionError, AttributeError):
            return None
        return content if content.expires_at * 1_000_000 > self._clock.now_us() else None
