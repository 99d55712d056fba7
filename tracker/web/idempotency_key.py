"""The Idempotency-Key of a request: a repeat with the same key gets the answer of the first."""

import re
from typing import Annotated, Final

from litestar.openapi.spec import OpenAPIType, Operation, Schema
from litestar.openapi.spec import Parameter as OpenAPIParameter
from litestar.params import HeaderParameter

from tracker.errors import InvalidInputError

KEY_HEADER: Final = "Idempotency-Key"

MAX_KEY_CHARS: Final = 255

_KEY: Final = re.compile(f"[\x21-\x7e]{{1,{MAX_KEY_CHARS}}}")
_RULE: Final = f"must be 1 to {MAX_KEY_CHARS} visible ASCII characters, other ones for each new request"

IdempotencyKey = Annotated[str | None, HeaderParameter(name=KEY_HEADER, description=_RULE)]
"""A handler's parameter; `check_key` says whether it is valid."""


def check_key(key: str | None) -> str:
    """Return a key that a request must have; raise InvalidInputError if it is missing or not valid."""
    stripped = "" if key is None else key.strip(" \t")  # no part of a header's value (RFC 9110, section 5.5)
    if not _KEY.fullmatch(stripped):
        raise InvalidInputError(KEY_HEADER, _RULE)
    return stripped


def describe_key(operation: Operation, *, required: bool) -> None:
    """Have OpenAPI describe the form of the key; its absence is answered like any other error of a field."""
    for parameter in operation.parameters or ():
        if isinstance(parameter, OpenAPIParameter) and parameter.name == KEY_HEADER:
            parameter.required = required
            parameter.schema = Schema(type=OpenAPIType.STRING, pattern=f"^{_KEY.pattern}$", examples=["7d9f5f0e"])
