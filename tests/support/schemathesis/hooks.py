"""What schemathesis is told about numbers."""

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:  # noqa: ANN401  # any JSON
    """Write integers without a fraction: to JSON Schema 5.0 is an integer, Tracker refuses it as such."""
    del context
    return _written(body)


def _written(value: Any) -> Any:  # noqa: ANN401  # any JSON
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _written(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_written(part) for part in value]
    return value
