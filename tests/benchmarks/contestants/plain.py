"""What the Flask contestants share: the check of an item, and its upsert by psycopg."""

import uuid
from typing import Any, Final

Fields = dict[str, Any]

CART: Final = "INSERT INTO carts (id) VALUES (%(cart_id)s) ON CONFLICT DO NOTHING"

ITEM: Final = """
INSERT INTO items (cart_id, external_id, name, value, quantity)
VALUES (%(cart_id)s, %(external_id)s, %(name)s, %(value)s, %(quantity)s)
ON CONFLICT (cart_id, external_id) DO UPDATE
SET name = excluded.name, value = excluded.value, quantity = excluded.quantity
"""


def checked(cart_id: str | None, body: object) -> Fields:
    """Return the parameters of the two statements, in a new cart if none is named; raise ValueError if invalid."""
    if not isinstance(body, dict):
        raise ValueError("send a JSON object")  # noqa: TRY004  # one kind of error for a view to catch
    external_id, name, value = body.get("external_id"), body.get("name"), body.get("value")
    quantity = body.get("quantity", 1)
    if not isinstance(external_id, str) or not 1 <= len(external_id) <= 255:
        raise ValueError("external_id must be a string")
    if not isinstance(name, str | None) or not isinstance(value, int | None) or not isinstance(quantity, int):
        raise ValueError("name must be a string, value and quantity integers")  # noqa: TRY004  # as above
    return {
        "cart_id": str(uuid.UUID(cart_id) if cart_id else uuid.uuid4()),
        "external_id": external_id,
        "name": name,
        "value": value,
        "quantity": quantity,
    }
