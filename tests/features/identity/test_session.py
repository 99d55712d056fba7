import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import ManualClock
from tracker.features.identity.cookie import MAX_COOKIES, Cookie, values_of
from tracker.features.identity.session import MAX_SEALED_CHARS, Login, Sealer, Session

SECRET = "0123456789abcdef"  # noqa: S105  # opens nothing
ISSUER = "https://id.example"
CLOCK = ManualClock(1_000_000_000)
SESSIONS = Sealer(Session, SECRET, ISSUER, CLOCK)
SESSION = Session("anna", 2000)


@pytest.mark.parametrize("subject", ["anna", "Ü" * 255, "😀" * 255, '"\\'])
def test_what_was_sealed_is_opened(subject: str) -> None:
    sealed = SESSIONS.seal(Session(subject, 2000))
    assert len(sealed) <= MAX_SEALED_CHARS
    assert subject not in sealed
    assert SESSIONS.open(sealed) == Session(subject, 2000)


def test_it_looks_different_each_time() -> None:
    assert SESSIONS.seal(SESSION) != SESSIONS.seal(SESSION)


def test_it_expires() -> None:
    clock = ManualClock(1_999_999_999)
    sealer = Sealer(Session, SECRET, ISSUER, clock)
    sealed = sealer.seal(SESSION)
    assert sealer.open(sealed) == SESSION
    clock.set(2_000_000_000)
    assert sealer.open(sealed) is None


@pytest.mark.parametrize(
    "sealer",
    [Sealer(Session, SECRET[::-1], ISSUER, CLOCK), Sealer(Session, SECRET, ISSUER + "/", CLOCK)],
    ids=["secret", "issuer"],
)
def test_another_secret_or_provider_opens_nothing(sealer: Sealer[Session]) -> None:
    assert sealer.open(SESSIONS.seal(SESSION)) is None


def test_a_login_is_no_session() -> None:
    logins = Sealer(Login, SECRET, ISSUER, CLOCK)
    sealed = logins.seal(Login("s", "n", "v", "/", 2000))
    assert logins.open(sealed) is not None
    assert SESSIONS.open(sealed) is None
    assert logins.open(SESSIONS.seal(SESSION)) is None
    # Nor would it be if it had the same content: the keys differ.
    assert SESSIONS.open(logins.seal(SESSION)) is None  # type: ignore[arg-type]  # on purpose


def test_every_changed_character_is_noticed() -> None:
    sealed = SESSIONS.seal(SESSION)
    for place, char in enumerate(sealed):
        changed = sealed[:place] + ("A" if char != "A" else "B") + sealed[place + 1 :]
        assert SESSIONS.open(changed) is None, place


@given(st.text(max_size=200) | st.lists(st.text(max_size=20), min_size=5, max_size=5).map(".".join))
def test_nonsense_is_none(text: str) -> None:
    assert SESSIONS.open(text) is None


@pytest.mark.parametrize("secure", [True, False])
def test_cookies_are_found_in_their_order(secure: bool) -> None:  # noqa: FBT001  # of the test's cases
    name = "__Host-session" if secure else "session"
    other = "session" if secure else "__Host-session"
    headers = [f"a=b; {name}=1;{name} = 2 ; {other}=x", f"my{name}=y; {name}=3=4; {name}; {name.upper()}=z"]
    assert list(values_of(Cookie.SESSION, headers, secure=secure)) == ["1", "2", "3=4", ""]


def test_only_so_many_cookies_are_looked_at() -> None:
    assert len(list(values_of(Cookie.LOGIN, ["login=x; " * 1000], secure=False))) == MAX_COOKIES
