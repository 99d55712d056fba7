"""What PostgreSQL and its indexes can hold of a text: the one rule that every feature's texts share."""

from tracker.errors import InvalidInputError


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
