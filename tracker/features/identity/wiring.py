"""Customers, as the rest of Tracker sees them: the dependency `customer` of routes, and the way to log in."""

from typing import TYPE_CHECKING

from tracker.features.feature import Feature, FeatureServing, ServingParts
from tracker.features.identity.settings import IdentitySettings
from tracker.settings import WebSettings

if TYPE_CHECKING:
    from tracker.features.identity.service import Identity


def serve(parts: ServingParts) -> FeatureServing:
    """Build what knows the customers."""
    from litestar.di import Provide

    from tracker.features.identity import routes
    from tracker.features.identity.examples import EXAMPLES
    from tracker.web.dependencies import given

    identity = _identity(parts)
    return FeatureServing(
        routes=[routes.log_in, routes.come_back, routes.log_out, routes.who_am_i],
        dependencies={"identity": given(identity), "customer": Provide(routes.customer_of_request)},
        examples=EXAMPLES,
        close=identity.close,
    )


def _identity(parts: ServingParts) -> "Identity":
    settings = parts.settings[IdentitySettings]
    if settings.oidc_issuer is None or settings.oidc_audience is None:  # they are set together
        from tracker.features.identity.service import NoIdentity

        return NoIdentity()
    # joserfc, cryptography and httpx take 16 MB and 0.15 s: only where they are used.
    from tracker.features.identity.openid import OpenID

    return OpenID(
        settings.oidc_issuer,
        settings.oidc_audience,
        parts.clock,
        parts.timeouts,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        listed=parts.settings[WebSettings].allowed_origins,
    )


FEATURE = Feature(settings=IdentitySettings, serve=serve)
