"""Settings of the reservations."""

from typing import Annotated

from msgspec import Meta

from tracker.settings import SettingsGroup, check_http_url


class ReservationSettings(SettingsGroup, frozen=True, kw_only=True):
    """The reservation service, and how it is asked."""

    URLS = frozenset({"reservation_url"})

    reservation_url: str | None = None
    """Where every item of a cart is reserved by a POST; None switches reservations off."""

    reservation_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 120.0
    """How long the service may take to answer, in seconds."""

    reservation_concurrency: Annotated[int, Meta(ge=2, le=1000)] = 100
    """Most calls in flight per process."""

    reservation_attempts: Annotated[int, Meta(ge=1, le=1000)] = 8
    """How often the service is asked for one reservation before that counts as failed."""

    def __post_init__(self) -> None:
        """Check the URL."""
        check_http_url("reservation_url", self.reservation_url)
