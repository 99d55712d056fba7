"""What the connection and the fast lane say to each other: the bare parts of a request, the bytes of a reply."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from tracker.confirmation import Confirmation

Reply = tuple[int, bytes]
"""Status of an answer, and what follows the server's own headers: header lines, the empty line, the body."""


class Later(NamedTuple):
    """A reply that waits for something."""

    confirmation: Confirmation
    reply: Callable[[str | None], Reply]
    """Gives the reply to what the confirmation says."""


Answerer = Callable[[bytes], Reply | Later | None]
"""Gives the reply to a request with this body, or None if the application must."""


class Lane(Protocol):
    """Answers plain requests by itself."""

    def begin(
        self, url: bytes, headers: Sequence[tuple[bytes, bytes]], *, secure: bool, trusted: bool
    ) -> Answerer | None:
        """Return who answers a POST with these headers once its body is here, or None if the application must.

        `secure` says whether the connection is https, `trusted` whether its client is a proxy whose word
        on that counts.
        """
        ...
