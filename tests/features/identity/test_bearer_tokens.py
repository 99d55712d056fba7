"""Who sends a bearer token, and what a provider that is down, slow or odd does to that."""

import asyncio
import subprocess
import sys
import time

import pytest

from tests.conftest import REPO, Database, StartTracker, Tracker
from tests.support.identity import SHOP, bearer, openid_of, with_cookie, with_openid
from tests.support.oidc import Answer, Provider, running_provider
from tests.support.waiting import wait_until
from tracker.errors import NotConfiguredError, UnauthenticatedError, UnavailableError
from tracker.features.identity.domain import Caller
from tracker.features.identity.openid import OpenID
from tracker.features.identity.service import Callback, NoIdentity
from tracker.kit.timeouts import RequestTimeouts

DISCOVERY = "/.well-known/openid-configuration"


def test_without_a_provider_it_says_what_to_set(start_tracker: StartTracker, shared_database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": shared_database.url})
    for method, path in (("GET", "/me"), ("GET", "/login"), ("GET", "/login/callback"), ("POST", "/logout")):
        answer = tracker.client.request(method, path, headers={"Origin": tracker.url})
        assert answer.status_code == 501
        assert "TRACKER_OIDC_ISSUER and TRACKER_OIDC_AUDIENCE" in answer.json()["detail"]
        assert answer.headers["cache-control"] == "no-store"
    assert tracker.post_item({"external_id": "a"}).status_code == 204
    asyncio.run(NoIdentity().close())


def test_without_a_provider_its_libraries_are_not_loaded() -> None:
    theirs = {"joserfc", "cryptography", "httpx"}
    program = f"import sys, tracker.runtime.application; sys.exit(bool({theirs} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], cwd=REPO, check=True, timeout=60)


def test_without_a_client_only_bearer_tokens_are_taken(provider: Provider) -> None:
    env = {name: value for name, value in provider.env().items() if "CLIENT" not in name}

    async def run() -> None:
        openid = openid_of(env)
        caller = with_cookie("session", "x")
        assert (await openid.customer_of(bearer(provider.token()))).subject == "anna"
        with pytest.raises(UnauthenticatedError):
            await openid.customer_of(caller)
        with pytest.raises(NotConfiguredError, match="TRACKER_OIDC_CLIENT_ID and TRACKER_OIDC_CLIENT_SECRET"):
            await openid.start_login(caller, "/")
        with pytest.raises(NotConfiguredError, match="TRACKER_OIDC_CLIENT_ID and TRACKER_OIDC_CLIENT_SECRET"):
            await openid.finish_login(caller, Callback())
        await openid.close()

    asyncio.run(run())


def test_over_http_a_bearer_token_says_who_it_is(tracker: Tracker, provider: Provider) -> None:
    answer = tracker.client.get("/me", headers=provider.bearer("berta"))
    assert (answer.status_code, answer.json()) == (200, {"subject": "berta"})
    # What proves nothing is not made up for by anything else, and the answer says how to do it right.
    for authorization, challenge in (
        ("bearer nonsense", 'Bearer error="invalid_token", error_description="the token must be a signed JWT"'),
        ("Bearer", 'Bearer error="invalid_token", error_description="the token must be a signed JWT"'),
        ("Basic YTpi", "Bearer"),
        ("", "Bearer"),
    ):
        answer = tracker.client.get("/me", headers={"Authorization": authorization})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, challenge)


def test_two_tokens_are_nobodys(tracker: Tracker, provider: Provider) -> None:
    both = [("Authorization", provider.bearer(subject)["Authorization"]) for subject in ("anna", "berta")]
    for headers in (both, both[::-1]):
        assert tracker.client.get("/me", headers=headers).status_code == 401


def test_a_thousand_strange_tokens_cost_one_fetch(own_provider: Provider) -> None:
    own_provider.delay_s = 0.1

    async def flood(openid: OpenID) -> None:
        tokens = [own_provider.sign(own_provider.claims(), "EdDSA", kid=f"stranger-{n}") for n in range(1000)]
        results = await asyncio.gather(*(openid.customer_of(bearer(t)) for t in tokens), return_exceptions=True)
        assert all(isinstance(result, UnauthenticatedError) for result in results)
        assert (await openid.customer_of(bearer(own_provider.token()))).subject == "anna"

    with_openid(own_provider, flood)
    assert own_provider.fetches == {DISCOVERY: 1, "/keys": 1}


def test_the_provider_being_down_breaks_no_token_whose_key_is_known(own_provider: Provider) -> None:
    async def use(openid: OpenID) -> None:
        assert (await openid.customer_of(bearer(own_provider.token()))).subject == "anna"
        own_provider.is_down = True
        assert (await openid.customer_of(bearer(own_provider.token("berta")))).subject == "berta"

    with_openid(own_provider, use)


ODD: dict[str, tuple[str, Answer]] = {
    "error": (DISCOVERY, (500, {}, b"")),
    "html": (DISCOVERY, (200, {}, b"<html>")),
    "list": (DISCOVERY, (200, {}, b"[]")),
    "nothing": (DISCOVERY, (200, {}, b"{}")),
    "nested": (DISCOVERY, (200, {}, b'{"a":' + b"[" * 60_000)),
    "keys missing": ("/keys", (404, {}, b"")),
    "keys html": ("/keys", (200, {}, b"<html>")),
    "compressed": ("/keys", (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b nonsense")),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_answer_is_a_503(own_provider: Provider, odd: str) -> None:
    path, answer = ODD[odd]
    own_provider.answers[path] = answer

    async def use(openid: OpenID) -> None:
        with pytest.raises(UnavailableError, match="identity provider"):
            await openid.customer_of(bearer(own_provider.token()))

    with_openid(own_provider, use)
    assert own_provider.fetches[path] == 1


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
def test_a_right_answer_from_elsewhere_or_without_end_is_a_503(path: str) -> None:
    async def use(openid: OpenID) -> None:
        with pytest.raises(UnavailableError, match=r"larger than|status is 302"):
            await openid.customer_of(bearer(provider.token()))

    for changed in ((302, {"Location": "/elsewhere"}, b""), None):
        with running_provider() as provider:
            right = provider.answer(path, {}, {}, "")
            provider.answers["/elsewhere"] = right
            provider.answers[path] = changed or (200, {}, right[2] + b" " * 2**20)
            with_openid(provider, use)
            assert provider.fetches["/elsewhere"] == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://evil.example"},
        {"issuer": 7},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "//evil.example/keys"},
        {"token_endpoint": "http://a b/"},
        {"authorization_endpoint": "http://user@evil.example/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://evil.example:99999/\r\nX: y"},
    ],
)
def test_a_provider_that_says_strange_things_about_itself_is_not_used(
    own_provider: Provider, changed: dict[str, object]
) -> None:
    own_provider.discovery = changed

    async def use(openid: OpenID) -> None:
        with pytest.raises(UnavailableError, match="cannot be used"):
            await openid.start_login(Caller(method="GET", origin=SHOP), "/")

    with_openid(own_provider, use)


def test_a_provider_that_is_down_is_a_503_over_http(
    own_provider: Provider, start_tracker: StartTracker, shared_database: Database
) -> None:
    own_provider.is_down = True
    tracker = start_tracker(env={"DATABASE_URL": shared_database.url, **own_provider.env()})
    for path in ("/me", "/login"):
        answer = tracker.client.get(path, headers=own_provider.bearer())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.headers["cache-control"] == "no-store"
    assert tracker.post_item({"external_id": "a"}).status_code == 204


def test_a_provider_that_hangs_is_waited_for_until_the_process_stops(own_provider: Provider) -> None:
    own_provider.delay_s = 60
    timeouts = RequestTimeouts()

    async def use(openid: OpenID) -> float:
        asking = asyncio.create_task(openid.customer_of(bearer(own_provider.token())))
        await asyncio.to_thread(wait_until, lambda: own_provider.fetches)
        begun = time.monotonic()
        timeouts.end()
        with pytest.raises(UnavailableError, match="did not answer in time"):
            await asking
        return time.monotonic() - begun

    assert with_openid(own_provider, use, timeouts=timeouts) < 3
