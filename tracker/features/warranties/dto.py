"""Structs that clients of the warranties send and get."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tracker.features.warranties.domain import (
    CENTS_PER_UNIT,
    COST_RULE,
    MAX_COST_CENTS,
    MAX_TEXT_BYTES,
    MAX_TITLE_BYTES,
    STORE_PATTERN,
    STORE_RULE,
    Sale,
    Warranty,
    cents_of,
)
from tracker.kit.text_rules import NO_NUL_PATTERN


class WarrantyIn(Struct):
    """A sold item that a store asks a warranty for."""

    store_uuid: Annotated[
        str,
        Meta(
            description=STORE_RULE,
            extra_json_schema={"pattern": STORE_PATTERN},
            examples=["b21ad0676f26439"],
        ),
    ]
    item_type: Annotated[
        str,
        Meta(
            description=f"must be a string of 1 to {MAX_TEXT_BYTES} bytes of UTF-8",
            extra_json_schema={"minLength": 1, "maxLength": MAX_TEXT_BYTES, "pattern": NO_NUL_PATTERN},
            examples=["furniture"],
        ),
    ]
    item_sku: Annotated[
        str,
        Meta(
            description=f"must be a string of 1 to {MAX_TEXT_BYTES} bytes of UTF-8",
            extra_json_schema={"minLength": 1, "maxLength": MAX_TEXT_BYTES, "pattern": NO_NUL_PATTERN},
            examples=["986kjeo8fy9qhu"],
        ),
    ]
    # As it was written: as a float, 1.000000000000000001 would be exact to the cent.
    item_cost: Annotated[
        msgspec.Raw,
        Meta(
            description=COST_RULE,
            # No rule of JSON Schema is safe in floats: who checks this one with them finds 19.99 no multiple.
            extra_json_schema={
                "type": "number",
                "minimum": 0,
                "maximum": MAX_COST_CENTS / CENTS_PER_UNIT,
                "multipleOf": 1 / CENTS_PER_UNIT,
            },
            examples=[150.0],
        ),
    ]
    item_title: Annotated[
        str,
        Meta(
            description=f"must be a string of 1 to {MAX_TITLE_BYTES} bytes of UTF-8",
            extra_json_schema={"minLength": 1, "maxLength": MAX_TITLE_BYTES, "pattern": NO_NUL_PATTERN},
            examples=["Amy's Sectional Sofa"],
        ),
    ]


class WarrantyOut(Struct):
    """A warranty."""

    id: str
    store_uuid: str
    item_type: str
    item_sku: str
    item_cost: Annotated[float, Meta(description="As it was sold on, in currency units.")]
    item_title: Annotated[str, Meta(description="As it was sold on.")]
    term_months: int
    price: Annotated[int, Meta(description="Cents.")]
    terms_version: Annotated[str, Meta(description="Of the rate table that the price and the term come from.")]
    created_at: datetime


def sale_of(data: WarrantyIn, idempotency_key: str | None) -> Sale:
    """Return the sale in a request; raise InvalidInputError unless its cost is valid."""
    return Sale(
        store_uuid=data.store_uuid,
        item_type=data.item_type,
        item_sku=data.item_sku,
        item_title=data.item_title,
        item_cost=cents_of("item_cost", bytes(data.item_cost)),
        idempotency_key=idempotency_key,
    )


def warranty_out(warranty: Warranty) -> WarrantyOut:
    """Return a warranty as clients get it."""
    return WarrantyOut(
        id=warranty.id,
        store_uuid=warranty.store_uuid,
        item_type=warranty.item_type,
        item_sku=warranty.item_sku,
        item_cost=warranty.item_cost / CENTS_PER_UNIT,
        item_title=warranty.item_title,
        term_months=warranty.term_months,
        price=warranty.price,
        terms_version=warranty.terms_version,
        created_at=warranty.created_at,
    )
