"""Customers of a certified OpenID Connect provider: by bearer token, and by logging in with a browser."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import pytest

from tests.conftest import Database, StartTracker, Tracker, starter
from tests.support.certified_oidc import Browser, CertifiedProvider, certified_provider, cookie_named
from tests.support.oidc import ALGORITHMS
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def provider() -> Iterator[CertifiedProvider]:
    with certified_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def tracker(
    provider: CertifiedProvider, shared_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tracker]:
    for start in starter(tmp_path_factory.mktemp("tracker")):
        tracker = start(env={"DATABASE_URL": shared_database.url, **provider.env()})
        provider.change(redirect_uri=f"{tracker.url}/login/callback")
        yield tracker


@pytest.fixture
def browser(tracker: Tracker) -> Iterator[Browser]:
    browser = Browser(tracker.url)
    yield browser
    browser.close()


def with_query(url: str, **changed: str) -> str:
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return urlunsplit(parts._replace(query=urlencode({**query, **changed})))


def me(tracker: Tracker, token: str) -> tuple[int, str]:
    answer = tracker.client.get("/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("subject", answer.json().get("detail"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_each_algorithm_is_taken(tracker: Tracker, provider: CertifiedProvider, algorithm: str) -> None:
    assert me(tracker, provider.token(algorithm)) == (200, "tracker")


def test_new_keys_are_found_and_withdrawn_ones_end(
    provider: CertifiedProvider, start_tracker: StartTracker, shared_database: Database
) -> None:
    rotating = start_tracker(env={"DATABASE_URL": shared_database.url, **provider.env()})
    old = provider.token("ES256")
    assert me(rotating, old)[0] == 200
    provider.change(rotate=True)
    new = provider.token("ES256")
    wait_until(lambda: me(rotating, new) == (200, "tracker"))
    assert me(rotating, old) == (401, "the token is signed with a key that the provider does not have")


def test_a_customer_logs_in_and_out(browser: Browser) -> None:
    assert browser.get("/me").status_code == 401
    answer = browser.log_in("/me?x=%2F", subject="Änne <a@b>")
    assert (answer.status_code, answer.headers["location"]) == (303, "/me?x=/")
    assert answer.headers["cache-control"] == "no-store"
    assert "login" not in browser.cookies()
    assert browser.get("/me").json() == {"subject": "Änne <a@b>"}
    session = cookie_named(browser, "session")
    assert session.has_nonstandard_attr("HttpOnly")
    assert session.get_nonstandard_attr("SameSite", "") == "lax"

    for _ in range(2):
        answer = browser.post("/logout?return_to=/bye")
        assert (answer.status_code, answer.headers["location"]) == (303, "/bye")
        assert "session" not in browser.cookies()
        assert "cart_id=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax" in answer.headers.get_list("set-cookie")
    assert browser.get("/me").status_code == 401


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_id_token_of_each_algorithm_opens_a_session(
    provider: CertifiedProvider, browser: Browser, algorithm: str
) -> None:
    provider.change(id_token_alg=algorithm)
    try:
        # The keys may just have been fetched, before those of the last rotation came to be.
        wait_until(lambda: browser.log_in().status_code == 303)
        assert browser.get("/me").json() == {"subject": "anna"}
    finally:
        provider.change(id_token_alg="RS256")  # noqa: S106  # an algorithm


def test_a_refused_login_is_said_plainly(browser: Browser) -> None:
    answer = browser.get(browser.start_login(subject=""))
    assert answer.status_code == 400
    assert "access_denied (nobody wants to log in); log in again at /login" in answer.json()["detail"]


@pytest.mark.parametrize("state", ["", "x", "ü"])
def test_a_forged_state_opens_no_session(browser: Browser, state: str) -> None:
    back = browser.start_login()
    answer = browser.get(with_query(back, state=state))
    assert (answer.status_code, answer.json()["field"]) == (400, "state")
    assert "session" not in browser.cookies()


def test_the_way_back_of_another_browser_opens_no_session(tracker: Tracker, browser: Browser) -> None:
    back = browser.start_login()
    victim = Browser(tracker.url)
    try:
        answer = victim.get(back)
        assert answer.status_code == 400
        assert "no login was begun in this browser" in answer.json()["detail"]
        victim.start_login(subject="victim")
        answer = victim.get(back)
        assert (answer.status_code, answer.json()["field"]) == (400, "state")
        # Not even with that browser's own state: the code belongs to another PKCE verifier.
        other = victim.start_login(subject="victim")
        (state,) = parse_qs(urlsplit(other).query)["state"]
        answer = victim.get(with_query(back, state=state))
        assert (answer.status_code, answer.json()["field"]) == (400, "code")
        assert "session" not in victim.cookies()
    finally:
        victim.close()


def test_an_answer_of_another_provider_opens_no_session(browser: Browser) -> None:
    back = browser.start_login()
    assert "iss=" in back
    answer = browser.get(with_query(back, iss="http://127.0.0.1:1"))
    assert (answer.status_code, answer.json()["field"]) == (400, "iss")


def test_a_code_works_once(browser: Browser) -> None:
    back = browser.start_login()
    login = browser.cookies()["login"]
    assert browser.get(back).status_code == 303
    assert browser.get(back).status_code == 400
    answer = browser.client.get(back, headers={"Cookie": f"login={login}"})
    assert (answer.status_code, answer.json()["field"]) == (400, "code")


def test_a_changed_session_is_none(browser: Browser) -> None:
    browser.log_in()
    sealed = browser.cookies()["session"]
    for changed in (sealed[:-1] + ("A" if sealed[-1] != "A" else "Q"), sealed[:-20], sealed + "A", "", "x" * 9000):
        browser.set_cookie("session", changed)
        assert browser.get("/me").status_code == 401


def test_a_press_on_another_sites_button_does_nothing(tracker: Tracker, browser: Browser) -> None:
    browser.log_in()
    answer = browser.post("/logout", origin="http://evil.example")
    assert answer.status_code == 403
    assert f"Origin must be {tracker.url}" in answer.json()["detail"]
    assert browser.get("/me").status_code == 200
