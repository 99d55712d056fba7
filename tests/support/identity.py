"""An identity provider's client as tests use one: with a stand-in for the provider, and callers of every kind."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

from tests.support.oidc import Provider
from tracker.features.identity.domain import Caller
from tracker.features.identity.openid import OpenID
from tracker.features.identity.service import Callback, Redirection
from tracker.features.identity.settings import IdentitySettings
from tracker.kit.clock import Clock, SystemClock
from tracker.kit.timeouts import RequestTimeouts
from tracker.settings import read_group

SHOP: Final = "https://shop.example"

T = TypeVar("T")


def with_openid(
    provider: Provider,
    use: Callable[[OpenID], Coroutine[Any, Any, T]],
    *,
    clock: Clock | None = None,
    timeouts: RequestTimeouts | None = None,
) -> T:
    async def run() -> T:
        openid = openid_of(provider.env(), clock=clock, timeouts=timeouts)
        try:
            return await use(openid)
        finally:
            await openid.close()

    return asyncio.run(run())


def openid_of(env: Mapping[str, str], *, clock: Clock | None = None, timeouts: RequestTimeouts | None = None) -> OpenID:
    """Return what identifies the customers of the provider that the environment sets."""
    settings = read_group(env, IdentitySettings)
    assert settings.oidc_issuer is not None
    assert settings.oidc_audience is not None
    return OpenID(
        settings.oidc_issuer,
        settings.oidc_audience,
        clock or SystemClock(),
        timeouts or RequestTimeouts(),
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        listed=None,
    )


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
    begun = await openid.start_login(Caller(method="GET", origin=SHOP), "/cart")
    return await openid.finish_login(with_cookie("login", begun.cookie), come_back(provider, begun))
