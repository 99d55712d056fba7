"""The rules that every feature's texts share: what PostgreSQL and its indexes can hold, and how an id is spelled."""

import re
from typing import Final

from tracker.errors import InvalidInputError

NO_NUL_PATTERN: Final = "^[^\\u0000]*$"
"""Pattern, for a schema, of a text without NUL.

A schema cannot say that a length counts bytes of UTF-8 and not characters.
"""

_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def uuid_of(text: str) -> str | None:
    """Return the UUID that `text` spells, of any version and either case, in lower case, or None if it is none."""
    lowered = text.lower()
    return lowered if _UUID.fullmatch(lowered) else None


def check_text(field: str, text: str, max_bytes: int, *, required: bool = False) -> None:
    """Raise InvalidInputError, naming `field`, if `text` holds NUL or has more than `max_bytes` in UTF-8.

    A text that is `required` may not be empty either.
    """
    if required and not text:
        raise InvalidInputError(field, f"must be 1 to {max_bytes} bytes of UTF-8; it is empty")
    if "\0" in text:
        raise InvalidInputError(field, "must not contain NUL characters")
    # At most 4 bytes a character: most texts need no encoding to be known as short enough.
    if 4 * len(text) > max_bytes:
        length = len(text.encode())
        if length > max_bytes:
            raise InvalidInputError(field, f"must be at most {max_bytes} bytes of UTF-8; it has {length}")
