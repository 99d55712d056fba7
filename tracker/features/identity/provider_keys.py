"""Keeps the provider's keys, so that a token whose key is known is verified without a call to the provider.

A key that is not known is asked for, but however many strange tokens arrive, at most once in 5 s and by one
call for all who wait. Keys older than 10 minutes are fetched anew, so that one which the provider has
withdrawn stops working; while the provider is down they stay.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Literal, TypeVar

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from msgspec import Struct

from tracker.errors import UnauthenticatedError
from tracker.features.identity.client import ProviderUnavailableError
from tracker.kit.background_task import cancel
from tracker.kit.backoff import between_s, longest_s

MAX_AGE_S: Final = 600.0
"""Seconds for which a fetched value is used without asking whether it has changed."""

INTERVAL_S: Final = 5.0
"""Minimum seconds between two calls, which limits the calls that strangers can make Tracker send."""

INTERVAL_CAP_S: Final = 30.0
"""Maximum seconds between two calls while the provider is down, so its return goes unnoticed no longer than that."""

CLOSE_TIMEOUT_S: Final = 0.5
"""Seconds that a canceled fetch gets to end."""

MAX_KEYS: Final = 100
"""Most keys of a key set that are looked at."""

RSA_MIN_CHARS: Final = 342
RSA_MAX_CHARS: Final = 1366
"""Longest modulus of an RSA key, in base64 characters.

With RSA_MIN_CHARS it allows 2,048 bits (RFC 7518, section 3.3) to 8,192, which bounds the cost of a signature.
"""

Family = Literal["RSA", "P-256", "Ed25519"]
"""Family of a key, which decides what it can verify: RS256, ES256, or EdDSA."""

_ALGORITHM_NAMES: Final[dict[Family, tuple[str, ...]]] = {
    "RSA": ("RS256",),
    "P-256": ("ES256",),
    "Ed25519": ("EdDSA", "Ed25519"),
}

FAMILY_OF: Final[dict[str, Family]] = {name: family for family, names in _ALGORITHM_NAMES.items() for name in names}
"""The family of keys for each algorithm, by the algorithm's name."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Kept(Generic[T]):
    """Keeps a value that is fetched from the provider when it is needed."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], *, now_s: Callable[[], float] = time.monotonic) -> None:
        """Keep what `fetch` returns; it may raise ProviderUnavailableError, and ends in bounded time."""
        self._fetch = fetch
        self._now_s = now_s
        self._value: T | None = None
        self._failure: ProviderUnavailableError | None = None
        self._failures = 0
        self._fetched_s = self._tried_s = self._next_s = -math.inf
        self._is_first_in_long = False
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """Return the value, at most `MAX_AGE_S` old unless the provider is down; raise ProviderUnavailableError.

        Nobody waits a second time for a provider that was down before.
        """
        if self._now_s() - self._fetched_s > MAX_AGE_S:
            task = self._fetching()
            if task is not None and (self._value is None or self._is_first_in_long):
                await asyncio.shield(task)
        if self._value is None:
            raise self._failure or ProviderUnavailableError("the identity provider did not answer")
        return self._value

    async def renewed(self) -> T:
        """Return the value, fetched anew if a call is allowed by now.

        Raises ProviderUnavailableError if the last fetch failed.
        """
        task = self._fetching()
        if task is not None:
            await asyncio.shield(task)
        if self._failure is not None:
            raise self._failure
        return await self.get()

    async def close(self) -> None:
        """Stop fetching."""
        await cancel(self._task, CLOSE_TIMEOUT_S)

    def _fetching(self) -> asyncio.Task[None] | None:
        """Return the fetch under way, begun now if none is and the last one was long enough ago."""
        if self._task is None:
            now_s = self._now_s()
            if now_s < self._next_s:
                return None
            self._is_first_in_long = now_s - self._tried_s > MAX_AGE_S
            self._tried_s, self._next_s = now_s, now_s + INTERVAL_S
            self._task = asyncio.create_task(self._fetch_once())
        return self._task

    async def _fetch_once(self) -> None:
        try:
            value = await self._fetch()
        except ProviderUnavailableError as error:
            logger.warning("the identity provider has not said what it is asked for", extra={"reason": str(error)})
            self._failure = error
            self._failures += 1
            pause_s = between_s(INTERVAL_S, longest_s(self._failures, INTERVAL_S, INTERVAL_CAP_S))
            self._next_s = self._tried_s + pause_s
        else:
            self._value, self._failure, self._failures = value, None, 0
            self._fetched_s = self._now_s()
        finally:
            self._task = None


class SigningKey(Struct, frozen=True):
    """A key of the provider's."""

    kid: str | None
    family: Family
    key: Key


class Keys:
    """Finds the provider's keys by the header of a token."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]]) -> None:
        """Take the keys from the set that `fetch` returns."""

        async def fetch_keys() -> list[SigningKey]:
            return parse_keys(await fetch())

        self._kept = Kept(fetch_keys)

    async def find(self, kid: str | None, family: Family) -> Key:
        """Return the key that a token names, or the only one if it names none.

        Raises UnauthenticatedError if the provider has no such key, and ProviderUnavailableError if that
        cannot be found out now.
        """
        for keys in (self._kept.get, self._kept.renewed):
            found = [key.key for key in await keys() if key.family == family and kid in {None, key.kid}]
            if len(found) == 1 or (found and kid is not None):
                return found[0]
            if found:
                raise UnauthenticatedError("the token does not say which key signed it", code="invalid_token")
        raise UnauthenticatedError(
            "the token is signed with a key that the provider does not have", code="invalid_token"
        )

    async def close(self) -> None:
        """Stop fetching."""
        await self._kept.close()


class _KeySet(Struct):
    keys: list[msgspec.Raw]


class _Entry(Struct):
    """The fields of a key that are used; the rest is left out before the library sees it."""

    kty: str
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    key_ops: list[str] | None = None
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


def parse_keys(content: bytes) -> list[SigningKey]:
    """Return the keys in a key set that can verify a token; others are passed over.

    Raises ProviderUnavailableError if it is no key set.
    """
    try:
        entries = msgspec.json.decode(content, type=_KeySet).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the identity provider's answer cannot be used: {error}"
        raise ProviderUnavailableError(msg) from error
    return [key for raw in entries[:MAX_KEYS] if (key := _parse_key(raw)) is not None]


def _parse_key(raw: msgspec.Raw) -> SigningKey | None:
    try:
        entry = msgspec.json.decode(raw, type=_Entry)
        imported = _import(entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, JoseError, ValueError, TypeError):
        return None
    if imported is None or entry.use not in {None, "sig"} or "verify" not in (entry.key_ops or ["verify"]):
        return None
    family, key = imported
    return SigningKey(entry.kid, family, key) if entry.alg in {None, *_ALGORITHM_NAMES[family]} else None


def _import(entry: _Entry) -> tuple[Family, Key] | None:
    match entry.kty, entry.crv:
        case "RSA", _ if RSA_MIN_CHARS <= len(entry.n) <= RSA_MAX_CHARS:
            return "RSA", RSAKey.import_key({"kty": "RSA", "n": entry.n, "e": entry.e})
        case "EC", "P-256":
            return "P-256", ECKey.import_key({"kty": "EC", "crv": "P-256", "x": entry.x, "y": entry.y})
        case "OKP", "Ed25519":
            return "Ed25519", OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": entry.x})
    return None
