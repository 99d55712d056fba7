"""Keeps the provider's keys, so that a token whose key is known is verified without a call to the provider.

A key that is not known is asked for, but not more often than `provider_cache` lets, however many strange tokens arrive.
Keys that have become old are fetched anew, so that one which the provider has withdrawn stops working.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from msgspec import Struct

from tracker.errors import UnauthenticatedError
from tracker.features.identity.client import ProviderUnavailableError
from tracker.features.identity.provider_cache import Kept

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
