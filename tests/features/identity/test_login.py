"""Who logs in with a browser, with a stand-in for the provider that also does what no real one would."""

import time
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import Tracker
from tests.support.clock import ManualClock
from tests.support.identity import SHOP, come_back, log_in, with_cookie, with_openid
from tests.support.oidc import CLIENT_ID, Answer, Provider
from tracker.errors import ForbiddenError, InvalidInputError, UnauthenticatedError, UnavailableError
from tracker.features.identity.domain import Caller
from tracker.features.identity.openid import OpenID
from tracker.features.identity.service import Callback

CART = "7d9f5f0e-1111-4222-8333-444455556666"


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
        begun, other = [await openid.start_login(Caller(method="GET", origin=SHOP), "/") for _ in range(2)]
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
        begun = await openid.start_login(Caller(method="GET", origin=SHOP), "/")
        back = come_back(provider, begun)
        caller = with_cookie("login", begun.cookie)
        odd = Callback(state=back.state, error="a\n\x00b", error_description="x" * 100_000)
        with pytest.raises(InvalidInputError, match=r"refused the login: a  b \(xxx") as caught:
            await openid.finish_login(caller, odd)
        assert len(str(caught.value)) < 400
        with pytest.raises(InvalidInputError, match="code is required"):
            await openid.finish_login(caller, Callback(state=back.state))
        with pytest.raises(InvalidInputError, match="Host is required"):
            await openid.start_login(Caller(method="GET", origin=""), "/")

    with_openid(provider, use)


def test_a_get_does_not_log_out(tracker: Tracker) -> None:
    answer = tracker.client.get("/logout", headers={"Cookie": f"cart_id={CART}"})
    assert answer.status_code == 405
    assert "set-cookie" not in answer.headers


def test_a_login_ends_after_ten_minutes_and_a_session_after_twelve_hours(provider: Provider) -> None:
    now_s = int(time.time())  # the provider's clock

    def begin_and_finish(ago_s: int) -> str:
        guest, clock = Caller(method="GET", origin=SHOP), ManualClock((now_s - ago_s) * 1_000_000)
        begun = with_openid(provider, lambda openid: openid.start_login(guest, "/"), clock=clock)
        back, caller = come_back(provider, begun), with_cookie("login", begun.cookie)
        clock = ManualClock(now_s * 1_000_000)
        return with_openid(provider, lambda openid: openid.finish_login(caller, back), clock=clock).cookie

    def subject_of(session: str, after_s: int) -> str:
        caller, clock = with_cookie("session", session), ManualClock((now_s + after_s) * 1_000_000)
        return with_openid(provider, lambda openid: openid.customer_of(caller), clock=clock).subject

    with pytest.raises(InvalidInputError, match="no login was begun"):
        begin_and_finish(601)
    session = begin_and_finish(599)
    assert subject_of(session, 43_199) == "anna"
    with pytest.raises(UnauthenticatedError):
        subject_of(session, 43_201)
