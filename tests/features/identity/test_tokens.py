"""Which tokens are taken: those of the provider, for us, in time, and no other."""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import Key, RSAKey

from tests.support.clock import ManualClock
from tests.support.oidc import ALGORITHMS, AUDIENCE, Provider, new_keys, oct_key, rsa_key, sign
from tracker.errors import TrackerError, UnauthenticatedError
from tracker.features.identity import provider_cache
from tracker.features.identity.client import ProviderUnavailableError
from tracker.features.identity.provider_cache import Kept
from tracker.features.identity.provider_keys import Keys, parse_keys
from tracker.features.identity.tokens import LEEWAY_S, MAX_TOKEN_CHARS, TokenVerifier

PROVIDER = Provider("https://id.example")
NOW_S = int(time.time())
CLIENT = "shop"


def key_set(*keys: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"keys": keys or PROVIDER.key_set()["keys"]})


def verifier(content: bytes | None = None) -> TokenVerifier:
    async def fetch() -> bytes:
        return key_set() if content is None else content

    return TokenVerifier(Keys(fetch).find, PROVIDER.url, ManualClock(NOW_S * 1_000_000))


def subject_of(token: str, content: bytes | None = None) -> str:
    return asyncio.run(verifier(content).verify_access_token(token, AUDIENCE)).subject


def refusal_of(token: str, content: bytes | None = None) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        subject_of(token, content)
    assert caught.value.code == "invalid_token"
    reason = str(caught.value)
    assert reason.isascii()
    assert reason.isprintable()
    assert not set('"\\') & set(reason)
    return reason


def claims(**changed: object) -> dict[str, Any]:
    return {"iss": PROVIDER.url, "aud": AUDIENCE, "sub": "anna", "exp": NOW_S + 300, **changed}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_three_algorithms_are_taken(algorithm: str) -> None:
    assert subject_of(PROVIDER.token(algorithm=algorithm)) == "anna"


def test_the_new_name_of_eddsa_is_taken() -> None:
    key = PROVIDER.keys["EdDSA"]
    assert subject_of(sign(claims(), key, {"alg": "Ed25519", "kid": key.kid})) == "anna"


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": ["other", AUDIENCE]},
        {"exp": NOW_S - LEEWAY_S + 1},
        {"exp": NOW_S + 0.5},
        {"exp": 2**62},
        {"nbf": NOW_S + LEEWAY_S, "iat": NOW_S + LEEWAY_S},
        {"nbf": None, "more": {"nested": [1]}},
        {"sub": "a" * 255},
        {"sub": "Änne 😀"},
    ],
)
def test_a_good_token_is_taken(changed: dict[str, Any]) -> None:
    assert subject_of(PROVIDER.sign(claims(**changed))) == changed.get("sub", "anna")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": NOW_S - LEEWAY_S}, "has expired"),
        ({"exp": 0}, "has expired"),
        ({"exp": -(2**62)}, "has expired"),
        ({"exp": "tomorrow"}, "exp in the token"),
        ({"exp": True}, "exp in the token"),
        ({"exp": None}, "exp in the token"),
        ({"nbf": NOW_S + LEEWAY_S + 1}, "not valid yet"),
        ({"iat": NOW_S + LEEWAY_S + 1}, "not valid yet"),
        ({"iat": "x"}, "iat in the token"),
        ({"aud": "other"}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": AUDIENCE + "2"}, "another audience"),
        ({"aud": AUDIENCE[:-1]}, "another audience"),
        ({"aud": [AUDIENCE, 1]}, "aud in the token"),
        ({"aud": {"x": AUDIENCE}}, "aud in the token"),
        ({"iss": PROVIDER.url + "/"}, "another provider"),
        ({"iss": [PROVIDER.url]}, "iss in the token"),
        ({"sub": ""}, "sub in the token"),
        ({"sub": "a" * 256}, "sub in the token"),
        ({"sub": 7}, "sub in the token"),
        ({"sub": "a\0"}, "sub in the token"),
        ({"sub": "a\n"}, "sub in the token"),
        ({"sub": "a\x85"}, "sub in the token"),
    ],
)
def test_a_token_whose_claims_are_wrong_is_refused(changed: dict[str, Any], reason: str) -> None:
    assert reason in refusal_of(PROVIDER.sign(claims(**changed)))


@pytest.mark.parametrize("missing", ["iss", "aud", "sub", "exp"])
def test_a_token_without_a_claim_is_refused(missing: str) -> None:
    whole = claims()
    del whole[missing]
    assert refusal_of(PROVIDER.sign(whole)).startswith(f"{missing} in the token is missing")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"sub": "\\ud800"}',
        b"[" * 3000,
        b'{"x": ' * 1000,
        b'{"exp": 1e999}',
        b'{"exp": NaN}',
        b'{"exp": ' + b"9" * 4000 + b"}",
    ],
)
def test_a_payload_that_is_no_set_of_claims_is_refused(payload: bytes) -> None:
    assert "token" in refusal_of(PROVIDER.sign(payload))


def test_an_unsigned_token_is_refused() -> None:
    assert "must be signed with" in refusal_of(sign(claims(), rsa_key(), {"alg": "none", "kid": _kid("RS256")}))


@pytest.mark.parametrize("of", ["pem", "der", "n"])
def test_the_public_key_is_no_secret_to_sign_with(of: str) -> None:
    key = rsa_key()
    public = {"pem": key.as_pem(), "der": key.as_der(), "n": str(key["n"]).encode()}[of]
    forged = sign(claims(), oct_key(public), {"alg": "HS256", "kid": _kid("RS256")})
    assert "must be signed with" in refusal_of(forged)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_other_algorithms_of_the_same_key_are_refused(algorithm: str) -> None:
    assert "must be signed with" in refusal_of(sign(claims(), rsa_key(), {"alg": algorithm, "kid": _kid("RS256")}))


def stranger(algorithm: str) -> Key:
    return new_keys()[algorithm] if algorithm != "RS256" else RSAKey.generate_key(2048, auto_kid=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_strangers_key_is_refused_under_any_name(algorithm: str) -> None:
    key = stranger(algorithm)
    public = {**key.as_dict(), "kid": _kid(algorithm)}
    for header in (
        {},
        {"jwk": public},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert", "x5c": ["AAAA"]},
    ):
        forged = sign(claims(), key, {"alg": algorithm, "kid": _kid(algorithm), **header})
        assert refusal_of(forged) == "the signature of the token is not valid"
        unknown = sign(claims(), key, {"alg": algorithm, "kid": "stranger", **header})
        assert "a key that the provider does not have" in refusal_of(unknown)


def test_a_key_of_another_algorithm_is_not_used() -> None:
    forged = PROVIDER.sign(claims(), "ES256", kid=_kid("RS256"))
    assert "a key that the provider does not have" in refusal_of(forged)


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], ["kid"], "exp", 7])
def test_critical_headers_are_refused(crit: object) -> None:
    segment = base64.urlsafe_b64encode(msgspec.json.encode({"alg": "RS256", "kid": _kid("RS256"), "crit": crit}))
    _, payload, signature = PROVIDER.token().split(".")
    assert "header" in refusal_of(f"{segment.decode().rstrip('=')}.{payload}.{signature}")


def test_an_encrypted_token_is_refused() -> None:
    sealed = jwe.encrypt_compact({"alg": "RSA-OAEP", "enc": "A256GCM"}, msgspec.json.encode(claims()), rsa_key())
    assert "must be a signed JWT" in refusal_of(sealed)


@pytest.mark.parametrize(
    "tamper", [lambda t: t[:-2], lambda t: t + "A", lambda t: t + ".", lambda t: "." + t, str.upper]
)
def test_a_changed_token_is_refused(tamper: Callable[[str], str]) -> None:
    refusal_of(tamper(PROVIDER.token()))


def test_another_payload_under_the_signature_is_refused() -> None:
    header, _, signature = PROVIDER.token("anna").split(".")
    _, payload, _ = PROVIDER.token("berta").split(".")
    assert refusal_of(f"{header}.{payload}.{signature}") == "the signature of the token is not valid"


def test_a_token_that_is_too_long_is_refused_unread() -> None:
    assert "longer than" in refusal_of(PROVIDER.sign(claims(more="x" * MAX_TOKEN_CHARS)))


@given(
    st.text(max_size=100)
    | st.lists(st.text("eyJhbGciOiJSUzI1NiJ9_-", max_size=30), min_size=3, max_size=3).map(".".join)
)
def test_garbage_is_refused(garbage: str) -> None:
    refusal_of(garbage)


@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "jwk", "x5c", "typ"]),
        st.none() | st.text(max_size=5) | st.just("RS256") | st.integers() | st.lists(st.text(max_size=3), max_size=2),
    )
)
def test_any_header_is_refused_in_order(header: dict[str, object]) -> None:
    segment = base64.urlsafe_b64encode(msgspec.json.encode(header)).decode().rstrip("=")
    _, payload, signature = PROVIDER.token().split(".")
    refusal_of(f"{segment}.{payload}.{signature}", key_set(PROVIDER.keys["ES256"].as_dict()))


def test_a_token_that_names_no_key_is_taken_if_there_is_only_one() -> None:
    token = sign(claims(), rsa_key(), {"alg": "RS256"})
    assert subject_of(token) == "anna"
    two = key_set({**rsa_key().as_dict()}, {**stranger("RS256").as_dict()})
    assert "does not say which key" in refusal_of(token, two)


def test_only_keys_for_signatures_count() -> None:
    public = PROVIDER.keys["ES256"].as_dict()
    rsa = PROVIDER.keys["RS256"].as_dict()
    unusable: list[dict[str, Any]] = [
        {**public, "use": "enc"},
        {**public, "key_ops": ["encrypt"]},
        {**public, "alg": "ES384"},
        {**public, "x": "AAAA"},
        {**public, "x": "!"},
        {**public, "crv": "P-384"},
        {**rsa, "n": "AQAB"},
        {**rsa, "e": ""},
        {**rsa, "n": "_" * 100_000},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kid": 7},
        {},
    ]
    assert parse_keys(msgspec.json.encode({"keys": [*unusable, 7, None, [], "x"]})) == []
    assert [key.kid for key in parse_keys(key_set(*unusable, public))] == [public["kid"]]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"keys": 7}', b"<html>", b"\xff", b'{"keys":' + b"[" * 100_000])
def test_what_is_no_key_set_is_the_providers_fault(content: bytes) -> None:
    with pytest.raises(ProviderUnavailableError, match="cannot be used"):
        parse_keys(content)


def id_token_refusal(**changed: object) -> str:
    token = PROVIDER.sign(claims(**{"aud": CLIENT, "nonce": "n", **changed}))
    with pytest.raises(UnauthenticatedError) as caught:
        asyncio.run(verifier().verify_id_token(token, CLIENT, "n"))
    return str(caught.value)


def test_an_id_token_is_for_this_login_and_this_client() -> None:
    for good in ({}, {"azp": CLIENT}, {"aud": [CLIENT]}, {"aud": [CLIENT, "other"], "azp": CLIENT}):
        token = PROVIDER.sign(claims(**{"aud": CLIENT, "nonce": "n", **good}))
        assert asyncio.run(verifier().verify_id_token(token, CLIENT, "n")).subject == "anna"
    assert "not for this login" in id_token_refusal(nonce="other")
    assert "not for this login" in id_token_refusal(nonce=None)
    assert "another audience" in id_token_refusal(aud=AUDIENCE)
    assert "somebody else" in id_token_refusal(azp="other")
    assert "somebody else" in id_token_refusal(aud=[CLIENT, "other"])


def _kid(algorithm: str) -> str:
    return str(PROVIDER.keys[algorithm].kid)


class Remote:
    """Something to fetch, with a clock to move by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.fetches = 0
        self.is_down = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.kept = Kept(self.fetch, now_s=lambda: self.now_s)

    async def fetch(self) -> int:
        self.fetches += 1
        await self.answers.wait()
        if self.is_down:
            raise ProviderUnavailableError("down")
        return self.fetches


def test_a_thousand_who_wait_are_served_by_one_fetch() -> None:
    async def run() -> None:
        remote = Remote()
        assert await remote.kept.get() == 1
        assert await asyncio.gather(*(remote.kept.renewed() for _ in range(1000))) == [1] * 1000
        remote.now_s += 5
        remote.answers.clear()
        waiting = [asyncio.create_task(remote.kept.renewed()) for _ in range(1000)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        remote.answers.set()
        assert await asyncio.gather(*waiting[1:]) == [2] * 999
        assert remote.fetches == 2

    asyncio.run(run())


def test_what_is_old_is_fetched_anew_and_kept_while_the_provider_is_down() -> None:
    async def run() -> None:
        remote = Remote()
        assert await remote.kept.get() == 1
        remote.now_s += 600
        assert await remote.kept.get() == 1
        remote.now_s += 1
        assert await remote.kept.get() == 2
        remote.now_s += 601
        remote.is_down = True
        assert await remote.kept.get() == 2
        assert remote.fetches == 3
        with pytest.raises(TrackerError, match="down"):
            await remote.kept.renewed()
        assert remote.fetches == 3
        # Nobody waits for it again, even when it hangs ...
        remote.now_s += 60
        remote.answers.clear()
        assert await remote.kept.get() == 2
        await asyncio.sleep(0)
        assert remote.fetches == 4
        # ... and when it is back, that is noticed.
        remote.is_down = False
        remote.answers.set()
        assert await remote.kept.renewed() == 4
        assert await remote.kept.get() == 4

    asyncio.run(run())


def test_a_provider_that_is_down_from_the_start_is_asked_at_a_bounded_rate() -> None:
    async def run() -> None:
        remote = Remote()
        remote.is_down = True
        for _ in range(600):
            for ask in (remote.kept.get, remote.kept.renewed):
                with pytest.raises(ProviderUnavailableError):
                    await ask()
            remote.now_s += 1
        assert 600 / 31 <= remote.fetches <= 600 / 5
        remote.is_down = False
        remote.now_s += 30
        assert await remote.kept.get() == remote.fetches

    asyncio.run(run())


def test_closing_ends_a_fetch() -> None:
    async def run() -> None:
        remote = Remote()
        remote.answers.clear()
        waiting = asyncio.create_task(remote.kept.get())
        await asyncio.sleep(0)
        await remote.kept.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())


def test_new_keys_are_found_and_withdrawn_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_cache, "INTERVAL_S", 0.0)
    provider = Provider("https://id.example")

    async def fetch() -> bytes:
        return msgspec.json.encode(provider.key_set())

    async def use() -> None:
        found = Keys(fetch)
        old = provider.keys["ES256"].kid
        await found.find(old, "P-256")
        provider.rotate()
        await found.find(provider.keys["ES256"].kid, "P-256")
        with pytest.raises(UnauthenticatedError):
            await found.find(old, "P-256")

    asyncio.run(use())
