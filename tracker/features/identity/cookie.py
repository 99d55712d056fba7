"""The cookies of a login and of a session: their names, and how they are found.

Over https their names begin with `__Host-`: then no other host, not even a subdomain, can set or shadow
them. What they hold is sealed; see `session`.
"""

import enum
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

MAX_COOKIES: Final = 8
"""Most cookies of one name that are looked at; a browser sends one, and each costs a decryption."""


class Cookie(enum.Enum):
    """The cookies of a session and of a login under way."""

    SESSION = "session"
    LOGIN = "login"

    def name_for(self, *, secure: bool) -> str:
        """Return the name over https (`secure`) or http."""
        return f"__Host-{self.value}" if secure else self.value


def values_of(cookie: Cookie, headers: Iterable[str], *, secure: bool) -> Iterator[str]:
    """Yield the values of a cookie in the order they were sent; there may be several of one name."""
    name = cookie.name_for(secure=secure)
    pairs = (pair.partition("=") for header in headers for pair in header.split(";"))
    return islice((value.strip() for key, _, value in pairs if key.strip() == name), MAX_COOKIES)
