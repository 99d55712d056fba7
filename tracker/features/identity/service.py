"""The interface to customers for the rest of Tracker, and the one that answers where no provider is set.

`Identity` is the whole of it; the one that does the work is `openid.OpenID`.
"""

from typing import Final, NoReturn, Protocol

from msgspec import Struct

from tracker.errors import NotConfiguredError
from tracker.features.identity.domain import Caller, Customer

NO_CUSTOMERS: Final = "this Tracker does not know any customers: set TRACKER_OIDC_ISSUER and TRACKER_OIDC_AUDIENCE"


class Callback(Struct, frozen=True, kw_only=True):
    """The parameters that a browser brings back from the provider (RFC 6749, section 4.1.2; RFC 9207)."""

    state: str | None = None
    code: str | None = None
    iss: str | None = None
    error: str | None = None
    error_description: str | None = None


class Redirection(Struct, frozen=True):
    """The address that a browser is sent to next, and the cookie that it gets."""

    location: str
    cookie: str
    """Sealed value of the cookie: that of the login when it begins, that of the session when it has succeeded."""

    max_age_s: int


class Identity(Protocol):
    """Knows who sent a request, and logs customers in."""

    async def customer_of(self, caller: Caller) -> Customer:
        """Return the customer who sent the request, by its bearer token or else by its session cookie.

        Raises UnauthenticatedError if that is nobody, ForbiddenError if another site's page may have made the
        browser send it, UnavailableError if the provider had to be asked and does not answer.
        """
        ...

    async def start_login(self, caller: Caller, return_to: str) -> Redirection:
        """Send a browser to the provider, and from there back to the path `return_to` in the end.

        Raises InvalidInputError for another site's address, UnavailableError if the provider does not answer.
        """
        ...

    async def finish_login(self, caller: Caller, callback: Callback) -> Redirection:
        """Open a session for the browser that comes back from the provider.

        Raises InvalidInputError if this is not the end of a login that it began, or the provider refused
        it, and UnavailableError if the provider does not answer.
        """
        ...

    def log_out(self, caller: Caller, return_to: str) -> str:
        """Return where the browser goes once its cookies are dropped.

        Raises ForbiddenError if another site's page may have made the browser ask for it, and
        InvalidInputError for another site's address.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class NoIdentity:
    """Stands in where no provider is set: its errors say what to set."""

    async def customer_of(self, caller: Caller) -> Customer:
        """Raise NotConfiguredError."""
        del caller
        _not_configured()

    async def start_login(self, caller: Caller, return_to: str) -> Redirection:
        """Raise NotConfiguredError."""
        del caller, return_to
        _not_configured()

    async def finish_login(self, caller: Caller, callback: Callback) -> Redirection:
        """Raise NotConfiguredError."""
        del caller, callback
        _not_configured()

    def log_out(self, caller: Caller, return_to: str) -> str:
        """Raise NotConfiguredError."""
        del caller, return_to
        _not_configured()

    async def close(self) -> None:
        """Do nothing."""


def _not_configured() -> NoReturn:
    raise NotConfiguredError(NO_CUSTOMERS)
