"""Settings of the checkout."""

import enum
from typing import Annotated

from msgspec import Meta

from tracker.errors import ConfigurationError
from tracker.settings import SettingsGroup, check_http_url


class Payment(enum.Enum):
    """Which payment processor charges the customers."""

    SANDBOX = "sandbox"
    """None: the payment methods say themselves what becomes of them, for trying Tracker out."""

    STRIPE = "stripe"


class CheckoutSettings(SettingsGroup, frozen=True, kw_only=True):
    """The payment processor."""

    SECRETS = frozenset({"stripe_secret_key", "stripe_webhook_secret"})
    URLS = frozenset({"stripe_url"})

    payment: Payment | None = None
    """The processor that charges the customers; None switches off the checkout."""

    stripe_secret_key: Annotated[str, Meta(pattern=r"^[\x21-\x7e]+\Z")] | None = None
    """Tracker's key at Stripe."""

    stripe_webhook_secret: str | None = None
    """The secret that Stripe signs its webhooks with; None refuses them all."""

    stripe_url: str = "https://api.stripe.com"
    """Stripe's API, or what stands in for it in a test."""

    def __post_init__(self) -> None:
        """Check the URL, and that Stripe has its key."""
        check_http_url("stripe_url", self.stripe_url)
        if self.payment is Payment.STRIPE and self.stripe_secret_key is None:
            msg = "TRACKER_PAYMENT=stripe needs TRACKER_STRIPE_SECRET_KEY"
            raise ConfigurationError(msg)
