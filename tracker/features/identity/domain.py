"""Customers, the facts about the sender of a request, and the rule for addresses a browser may be sent back to."""

import re
from typing import Annotated, Final

from msgspec import Meta, Struct

from tracker.errors import ForbiddenError, InvalidInputError
from tracker.kit.origins import SAFE_METHODS, Origins

MAX_SUBJECT_CHARS: Final = 255
"""Longest subject, the provider's name for a customer, in characters (OpenID Connect Core, section 2)."""

Subject = Annotated[
    str, Meta(min_length=1, max_length=MAX_SUBJECT_CHARS, pattern=r"\A[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+\Z")
]
"""The provider's name for a customer: never another one's, and kept as it is, letter case and all."""

LOGIN_MAX_AGE_S: Final = 10 * 60
"""Seconds that a login may take: time to find the password and the second factor."""

LOG_IN: Final = "log in at /login or send a bearer token"

LOG_IN_AGAIN: Final = "log in again at /login"

NO_LOGIN: Final = f"no login was begun in this browser in the last {LOGIN_MAX_AGE_S // 60} minutes; {LOG_IN_AGAIN}"

NO_ORIGIN: Final = "a request with a session cookie needs an Origin or Sec-Fetch-Site header, as browsers send them"

MAX_RETURN_ADDRESS_CHARS: Final = 1024

RETURN_ADDRESS_RULE: Final = (
    "must be a path on this site: one slash at the start, then visible ASCII without a backslash,"
    f" at most {MAX_RETURN_ADDRESS_CHARS} characters"
)

RETURN_ADDRESS_PATTERN: Final = r"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?"
"""Pattern of a return address: visible ASCII without a backslash.

Browsers read a backslash as a slash; a second slash would begin a host.
"""

_RETURN_ADDRESS: Final = re.compile(RETURN_ADDRESS_PATTERN)


class Customer(Struct, frozen=True):
    """A customer who is logged in."""

    subject: str
    """The provider's name for the customer; see `Subject`."""


class Caller(Struct, frozen=True, kw_only=True):
    """The facts in a request about its sender: who it is, and from where."""

    method: str

    origin: str
    """Origin of Tracker itself as the client sees it: `scheme://host[:port]`; empty if the request names no host."""

    authorization: str = ""
    cookies: tuple[str, ...] = ()
    """Values of the request's Cookie headers."""

    sent_origins: tuple[str, ...] = ()
    """Values of the request's Origin headers: the origin of the page that made a browser send it."""

    fetch_sites: tuple[str, ...] = ()
    """Values of the request's Sec-Fetch-Site headers: how that page is related to Tracker."""

    @property
    def is_secure(self) -> bool:
        """Whether it came over https."""
        return self.origin.startswith("https://")


def check_return_address(address: str) -> str:
    """Return the path to go back to after logging in or out.

    Raises InvalidInputError if that could lead a browser to another site.
    """
    if len(address) > MAX_RETURN_ADDRESS_CHARS or not _RETURN_ADDRESS.fullmatch(address):
        raise InvalidInputError("return_to", RETURN_ADDRESS_RULE)
    return address


def check_same_site(caller: Caller, listed: Origins | None = None) -> None:
    """Raise ForbiddenError unless a change comes from a page of Tracker's own origin or of a `listed` one.

    A browser adds the session cookie by itself, so another site's page could use it. The sender of a bearer token has
    the token, so that needs no such proof.
    """
    if caller.method in SAFE_METHODS:
        return
    if listed is not None and caller.sent_origins and listed.issuperset(caller.sent_origins):
        return
    if any(site != "same-origin" for site in caller.fetch_sites):
        raise ForbiddenError("the request comes from another site's page: Sec-Fetch-Site must be same-origin")
    if any(origin.lower() != caller.origin.lower() for origin in caller.sent_origins):
        msg = f"the request comes from another site's page: Origin must be {caller.origin}"
        raise ForbiddenError(msg)
    if not caller.fetch_sites and not caller.sent_origins:
        raise ForbiddenError(NO_ORIGIN)
