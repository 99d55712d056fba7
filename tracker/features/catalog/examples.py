"""Examples of the catalog for the API's document."""

from typing import Final

from tracker.features.catalog.dto import CatalogOut, ProductOut
from tracker.web.openapi.examples import Examples
from tracker.web.query_parameters import limit_rule

_LAMP: Final = ProductOut(
    sku="LMP-1",
    title="Reading lamp",
    description="Brass, with a switch",
    item_type="lighting",
    price=4900,
    currency="EUR",
    active=True,
)

EXAMPLES: Final = Examples(
    tags={"catalog": "What is for sale."},
    tag_places={"catalog": 4},
    bodies=[CatalogOut([_LAMP], [], None)],
    fields={"showCatalog": ("limit", limit_rule())},
)
