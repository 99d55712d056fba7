"""Structs for the catalog that clients get, and the rule for the SKUs that they ask for."""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from tracker.errors import InvalidInputError
from tracker.features.catalog.domain import Product, check_sku

MAX_SKUS: Final = 100
"""Most SKUs that one request may ask for, if they fit into the 16 KiB that its head may have."""


class ProductOut(Struct):
    """A product of the catalog."""

    sku: str
    title: str
    description: str
    item_type: str
    price: Annotated[int, Meta(description="Cents.")]
    currency: Annotated[str, Meta(description="Three capital letters (ISO 4217).")]
    active: Annotated[bool, Meta(description="Whether it is sold now.")]


class CatalogOut(Struct):
    """Products."""

    products: list[ProductOut]
    unknown: Annotated[list[str], Meta(description="SKUs that were asked for and are no product's.")]
    next: Annotated[str | None, Meta(description="`after` for the next page; null on the last one.")]


def catalog_out(
    products: Sequence[Product], *, unknown: Sequence[str] = (), following: str | None = None
) -> CatalogOut:
    """Return products as clients get them; `following` is the page behind them."""
    described = msgspec.convert(products, list[ProductOut], from_attributes=True)
    return CatalogOut(described, list(unknown), following)


def check_skus(skus: Sequence[str]) -> None:
    """Raise InvalidInputError unless these SKUs may be asked for in one go."""
    if len(skus) > MAX_SKUS:
        raise InvalidInputError("sku", f"must be given at most {MAX_SKUS} times; it is given {len(skus)} times")
    for sku in skus:
        check_sku("sku", sku)
