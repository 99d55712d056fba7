"""The served OpenAPI document, with every schema as msgspec has it.

msgspec is what checks the requests, so its schemas are the true ones; Litestar's rendering of the
same Structs loses a `minimum` of 0 and moves the bounds of a nullable field beside its type.
"""

from typing import Any, Final

import msgspec
from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin

from tracker.carts.dto import CartOut, CartRef, CustomerCartOut, CustomerCarts, ItemChange, ItemIn, ProductIn
from tracker.catalog.dto import CatalogOut
from tracker.checkout.dto import CheckoutIn, OrderOut
from tracker.http import Health, Problem
from tracker.identity.routes import Me
from tracker.warranties.dto import WarrantyIn, WarrantyOut

MODELS: Final = (
    ItemIn,
    ProductIn,
    CartOut,
    CartRef,
    ItemChange,
    CustomerCarts,
    CustomerCartOut,
    CatalogOut,
    CheckoutIn,
    OrderOut,
    Me,
    WarrantyIn,
    WarrantyOut,
    Health,
    Problem,
)


class SchemaPlugin(JsonRenderPlugin):
    """Serves the document as JSON."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document with msgspec's schemas in the place of Litestar's."""
        _, schemas = msgspec.json.schema_components(MODELS, ref_template="#/components/schemas/{name}")
        openapi_schema["components"]["schemas"].update(schemas)
        return super().render(request, openapi_schema)
