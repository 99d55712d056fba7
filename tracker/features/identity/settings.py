"""Settings of the identity provider."""

from typing import Annotated

from msgspec import Meta

from tracker.errors import ConfigurationError
from tracker.settings import SettingsGroup, check_http_url, check_together


class IdentitySettings(SettingsGroup, frozen=True, kw_only=True):
    """The OpenID Connect provider, and Tracker as its client."""

    SECRETS = frozenset({"oidc_client_secret"})
    URLS = frozenset({"oidc_issuer"})

    oidc_issuer: str | None = None
    """The OpenID Connect provider that customers log in at; None switches off what needs a customer."""

    oidc_audience: str | None = None
    """Whom the bearer tokens must be made out to."""

    oidc_client_id: str | None = None
    """Tracker's client id at the provider; None switches off /login."""

    oidc_client_secret: Annotated[str, Meta(min_length=16)] | None = None
    """Tracker's password at the provider; the cookies of sessions are encrypted with a key derived from it."""

    def __post_init__(self) -> None:
        """Check the URL, and that what goes together is set together."""
        check_http_url("oidc_issuer", self.oidc_issuer)
        check_together(self, "oidc_issuer", "oidc_audience")
        check_together(self, "oidc_client_id", "oidc_client_secret")
        if self.oidc_client_id is not None and self.oidc_issuer is None:
            msg = "TRACKER_OIDC_CLIENT_ID is set, but not TRACKER_OIDC_ISSUER"
            raise ConfigurationError(msg)
