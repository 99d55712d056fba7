"""Who the customer is, with a stand-in for the provider that also does what no real one would."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import REPO, Database, StartTracker, Tracker
from tests.oidc import CLIENT_ID, Answer, Provider, running_provider
from tests.reservations import wait_until
from tracker.clock import SystemClock
from tracker.errors import ForbiddenError, InvalidInputError, NotConfiguredError, UnauthenticatedError, UnavailableError
from tracker.identity.domain import Caller
from tracker.identity.openid import OpenID
from tracker.identity.service import Callback, NoIdentity, Redirection
from tracker.settings import load_settings
from tracker.waits import Waits

SHOP = "https://shop.example"
DISCOVERY = "/.well-known/openid-configuration"
CART = "7d9f5f0e-1111-4222-8333-444455556666"

T = TypeVar("T")


@pytest.fixture
def own_provider() -> Iterator[Provider]:
    """Yield one whose switches may be turned."""
    with running_provider() as provider:
        yield provider


def with_openid(provider: Provider, use: Callable[[OpenID], Coroutine[Any, Any, T]], waits: Waits | None = None) -> T:
    async def run() -> T:
        openid = OpenID(load_settings(provider.env()), SystemClock(), waits or Waits())
        try:
            return await use(openid)
        finally:
            await openid.close()

    return asyncio.run(run())


def bearer(token: str) -> Caller:
    return Caller(method="GET", origin=SHOP, authorization=f"Bearer {token}")


def come_back(provider: Provider, begun: Redirection) -> Callback:
    """Return what the browser brings back from the provider."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(begun.location).query).items()}
    status, headers, _ = provider.answer("/authorize", query, {}, "")
    assert status == 302
    back = parse_qs(urlsplit(headers["Location"]).query)
    return Callback(state=back["state"][0], code=back["code"][0])


def with_cookie(name: str, value: str, **more: Any) -> Caller:  # noqa: ANN401  # fields of Caller
    return Caller(**{"method": "GET", "origin": SHOP, "cookies": (f"__Host-{name}={value}",), **more})


async def log_in(openid: OpenID, provider: Provider) -> Redirection:
    begun = await openid.begin_login(Caller(method="GET", origin=SHOP), "/cart")
    return await openid.finish_login(with_cookie("login", begun.cookie), come_back(provider, begun))


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
    program = "import sys, tracker.app; sys.exit(bool({'joserfc', 'cryptography', 'httpx'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], cwd=REPO, check=True, timeout=60)


def test_without_a_client_only_bearer_tokens_are_taken(provider: Provider) -> None:
    env = {name: value for name, value in provider.env().items() if "CLIENT" not in name}

    async def run() -> None:
        openid = OpenID(load_settings(env), SystemClock(), Waits())
        caller = with_cookie("session", "x")
        assert (await openid.customer_of(bearer(provider.token()))).subject == "anna"
        with pytest.raises(UnauthenticatedError):
            await openid.customer_of(caller)
        with pytest.raises(NotConfiguredError, match="TRACKER_OIDC_CLIENT_ID and TRACKER_OIDC_CLIENT_SECRET"):
            await openid.begin_login(caller, "/")
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
            await openid.begin_login(Caller(method="GET", origin=SHOP), "/")

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
    waits = Waits()

    async def use(openid: OpenID) -> float:
        asking = asyncio.create_task(openid.customer_of(bearer(own_provider.token())))
        await asyncio.to_thread(wait_until, lambda: own_provider.fetches)
        begun = time.monotonic()
        waits.end()
        with pytest.raises(UnavailableError, match="did not answer in time"):
            await asking
        return time.monotonic() - begun

    assert with_openid(own_provider, use, waits) < 3


def test_a_login_opens_a_session(provider: Provider) -> None:
    async def use(openid: OpenID) -> None:
        done = await log_in(openid, provider)
        assert done.location == "/cart"
        assert (await openid.customer_of(with_cookie("session", done.cookie))).subject == "anna"
        # Another cookie of the name does no harm, and one for http counts for nothing over https.
        shadowed = (f"__Host-session=x; __Host-session={done.cookie}",)
        assert (await openid.customer_of(with_cookie("", "", cookies=shadowed))).subject == "anna"
        for cookies in ((f"session={done.cookie}",), (f"__Host-login={done.cookie}",)):
            with pytest.raises(UnauthenticatedError):
                await openid.customer_of(with_cookie("", "", cookies=cookies))

    with_openid(provider, use)


def test_a_session_changes_things_only_from_our_own_pages(provider: Provider) -> None:
    async def use(openid: OpenID) -> None:
        session = (await log_in(openid, provider)).cookie
        ours = with_cookie("session", session, method="POST", sent_origins=(SHOP,))
        assert (await openid.customer_of(ours)).subject == "anna"
        for theirs in (
            with_cookie("session", session, method="POST"),
            with_cookie("session", session, method="DELETE", sent_origins=("https://evil.example",)),
            with_cookie("session", session, method="PUT", fetch_sites=("same-site",)),
        ):
            with pytest.raises(ForbiddenError):
                await openid.customer_of(theirs)
            with pytest.raises(ForbiddenError):
                openid.log_out(theirs, "/")
        # A token is not sent by a browser on its own.
        machine = Caller(method="POST", origin=SHOP, authorization=f"Bearer {provider.token()}")
        assert (await openid.customer_of(machine)).subject == "anna"

    with_openid(provider, use)


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "forged"},
        {"nonce": None},
        {"aud": "somebody-else"},
        {"aud": [CLIENT_ID, "somebody-else"]},
        {"azp": "somebody-else"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"sub": ""},
        {"sub": "a\0b"},
    ],
)
def test_a_wrong_id_token_opens_no_session(own_provider: Provider, changed: dict[str, object]) -> None:
    own_provider.id_claims = changed

    async def use(openid: OpenID) -> None:
        with pytest.raises(InvalidInputError, match="log in again at /login"):
            await log_in(openid, own_provider)

    with_openid(own_provider, use)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((400, {}, b'{"error": "invalid_grant"}'), InvalidInputError),
        ((401, {}, b'{"error": "invalid_client"}'), UnavailableError),
        ((400, {}, b"<html>"), UnavailableError),
        ((302, {"Location": "/"}, b""), UnavailableError),
        ((200, {}, b"{}"), UnavailableError),
        ((200, {}, b'{"id_token": "nonsense"}'), InvalidInputError),
        ((200, {}, b" " * 200_000), UnavailableError),
        ((503, {}, b""), UnavailableError),
    ],
)
def test_an_odd_answer_to_a_code_opens_no_session(
    own_provider: Provider, answer: Answer, error: type[Exception]
) -> None:
    own_provider.answers["/token"] = answer

    async def use(openid: OpenID) -> None:
        with pytest.raises(error):
            await log_in(openid, own_provider)

    with_openid(own_provider, use)
    assert own_provider.fetches["/token"] == 1


@pytest.mark.parametrize("methods", [["client_secret_post"], ["private_key_jwt", "client_secret_basic"]])
def test_the_secret_is_sent_as_the_provider_wants_it(own_provider: Provider, methods: list[str]) -> None:
    own_provider.discovery = {"token_endpoint_auth_methods_supported": methods}
    assert with_openid(own_provider, lambda openid: log_in(openid, own_provider)).location == "/cart"


def test_a_provider_that_takes_no_secret_is_not_used(own_provider: Provider) -> None:
    own_provider.discovery = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}

    async def use(openid: OpenID) -> None:
        with pytest.raises(UnavailableError, match="client_secret_basic"):
            await log_in(openid, own_provider)

    with_openid(own_provider, use)


def test_the_way_back_says_which_provider_it_comes_from(own_provider: Provider) -> None:
    own_provider.discovery = {"authorization_response_iss_parameter_supported": True}

    async def use(openid: OpenID) -> None:
        with pytest.raises(InvalidInputError, match="iss is not that of"):
            await log_in(openid, own_provider)

    with_openid(own_provider, use)


@pytest.mark.parametrize("address", ["//evil.example", "/\\evil.example", "https://evil.example", "/a%0d%0aX: y", ""])
def test_nobody_is_sent_to_another_site(tracker: Tracker, address: str) -> None:
    for method, path in (("GET", "/login"), ("POST", "/logout")):
        answer = tracker.client.request(method, f"{path}?return_to={address}", headers={"Origin": tracker.url})
        assert (answer.status_code, answer.json()["field"]) == (400, "return_to")
        assert "set-cookie" not in answer.headers


def test_behind_a_proxy_that_ends_tls_the_cookies_are_bound_to_the_host(tracker: Tracker, provider: Provider) -> None:
    headers = {"X-Forwarded-Proto": "https", "Host": "shop.example"}
    begun = tracker.client.get("/login?return_to=/cart", headers=headers)
    assert begun.status_code == 302
    assert begun.headers["cache-control"] == "no-store"
    query = parse_qs(urlsplit(begun.headers["location"]).query)
    assert query["redirect_uri"] == ["https://shop.example/login/callback"]
    (login,) = begun.headers.get_list("set-cookie")
    assert login.startswith("__Host-login=")
    assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure", "Max-Age=600"} <= set(login.split("; "))
    assert "Domain" not in login

    status, redirect, _ = provider.answer("/authorize", {name: v[0] for name, v in query.items()}, {}, "")
    assert status == 302
    path = redirect["Location"].removeprefix("https://shop.example")
    done = tracker.client.get(path, headers={**headers, "Cookie": login.partition(";")[0]})
    assert (done.status_code, done.headers["location"]) == (303, "/cart")
    session, dropped = sorted(done.headers.get_list("set-cookie"), reverse=True)
    assert session.startswith("__Host-session=")
    assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure", "Max-Age=43200"} <= set(session.split("; "))
    assert dropped.startswith('__Host-login=""')
    assert "Max-Age=0" in dropped

    cookie = {"Cookie": session.partition(";")[0]}
    assert tracker.client.get("/me", headers={**headers, **cookie}).json() == {"subject": "anna"}
    refused = tracker.client.post("/logout", headers={**headers, **cookie, "Origin": "http://shop.example"})
    assert refused.status_code == 403
    out = tracker.client.post("/logout", headers={**headers, **cookie, "Origin": "https://shop.example"})
    assert (out.status_code, out.headers["location"]) == (303, "/")
    dropped, cart = sorted(out.headers.get_list("set-cookie"))
    assert dropped.startswith('__Host-session=""; ')
    assert "Secure" in dropped
    assert cart == "cart_id=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"


def test_a_forged_state_or_another_browsers_opens_no_session(provider: Provider) -> None:
    async def use(openid: OpenID) -> None:
        begun, other = [await openid.begin_login(Caller(method="GET", origin=SHOP), "/") for _ in range(2)]
        back = come_back(provider, begun)
        for caller, state in (
            (with_cookie("login", begun.cookie), None),
            (with_cookie("login", begun.cookie), "forged"),
            (with_cookie("login", other.cookie), back.state),
        ):
            with pytest.raises(InvalidInputError, match="state is not that of the login last begun"):
                await openid.finish_login(caller, Callback(state=state, code=back.code))
        with pytest.raises(InvalidInputError, match="no login was begun"):
            await openid.finish_login(with_cookie("session", begun.cookie), back)
        assert (await openid.finish_login(with_cookie("login", begun.cookie), back)).location == "/"
        with pytest.raises(InvalidInputError, match="code is refused"):
            await openid.finish_login(with_cookie("login", begun.cookie), back)

    with_openid(provider, use)


def test_an_error_of_the_provider_is_shown_harmlessly(provider: Provider) -> None:
    async def use(openid: OpenID) -> None:
        begun = await openid.begin_login(Caller(method="GET", origin=SHOP), "/")
        back = come_back(provider, begun)
        caller = with_cookie("login", begun.cookie)
        odd = Callback(state=back.state, error="a\n\x00b", error_description="x" * 100_000)
        with pytest.raises(InvalidInputError, match=r"refused the login: a  b \(xxx") as caught:
            await openid.finish_login(caller, odd)
        assert len(str(caught.value)) < 400
        with pytest.raises(InvalidInputError, match="code is required"):
            await openid.finish_login(caller, Callback(state=back.state))
        with pytest.raises(InvalidInputError, match="Host is required"):
            await openid.begin_login(Caller(method="GET", origin=""), "/")

    with_openid(provider, use)


def test_a_get_does_not_log_out(tracker: Tracker) -> None:
    answer = tracker.client.get("/logout", headers={"Cookie": f"cart_id={CART}"})
    assert answer.status_code == 405
    assert "set-cookie" not in answer.headers
