"""Parameters of a query that are taken as text, so that their rules are told in our words.

Litestar would convert them by itself, and word its errors after its own types.
"""

import re
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from litestar.openapi.spec import OpenAPIType
from litestar.params import QueryParameter

from tracker.errors import InvalidInputError

MAX_LIMIT: Final = 1000
"""Most entries that a page may have."""

DEFAULT_LIMIT: Final = 100

_LIMIT: Final = re.compile(f"[0-9]{{1,{len(str(MAX_LIMIT))}}}")


def text_parameter(description: str, **schema: Any) -> QueryParameter:  # noqa: ANN401  # fields of Schema
    """Return a parameter that is taken as text and shown as `schema`."""
    return QueryParameter(description=description, schema_extra={"one_of": None, **schema})


def check_parameters(query: bytes, known: Collection[str], *, repeatable: Collection[str] = ()) -> None:
    """Raise InvalidInputError if a parameter is unknown or given twice: it would be passed over, and more be shown.

    Or if one is not UTF-8: Litestar would take each such byte for U+FFFD.
    """
    seen: set[str] = set()
    for part in filter(None, query.split(b"&")):
        given, _, value = part.partition(b"=")
        name = unquote_to_bytes(given).decode(errors="replace")
        if name not in known:
            raise InvalidInputError(name, f"is no parameter of this route; it has {', '.join(known)}")
        if name in seen and name not in repeatable:
            raise InvalidInputError(name, "must be given once")
        seen.add(name)
        try:
            unquote_to_bytes(value).decode()
        except UnicodeDecodeError:
            raise InvalidInputError(name, "must be UTF-8") from None


def limit_parameter(
    description: str, *, default: int | None = DEFAULT_LIMIT, largest: int = MAX_LIMIT
) -> QueryParameter:
    """Return the parameter that says how many entries a page has at most; `limit_of` reads it."""
    return text_parameter(description, type=OpenAPIType.INTEGER, minimum=1, maximum=largest, default=default)


def limit_rule(largest: int = MAX_LIMIT) -> str:
    """Return the rule for the number of entries on a page that has `largest` at most."""
    return f"must be an integer from 1 to {largest}"


def limit_of(text: str | None, *, default: int = DEFAULT_LIMIT, largest: int = MAX_LIMIT) -> int:
    """Return how many entries a page has at most; raise InvalidInputError if `text` does not say it."""
    if text is None:
        return default
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= largest:
        raise InvalidInputError("limit", limit_rule(largest))
    return int(text)


def boolean_parameter(description: str) -> QueryParameter:
    """Return a parameter that is true or false; `boolean_of` reads it."""
    return text_parameter(description, type=OpenAPIType.BOOLEAN)


def boolean_of(field: str, text: str | None) -> bool | None:
    """Return what `text` says, None if nothing; raise InvalidInputError, naming `field`, if it is another word."""
    if text is None:
        return None
    if text not in {"true", "false"}:
        raise InvalidInputError(field, "must be true or false")
    return text == "true"
