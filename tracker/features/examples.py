"""The examples of all features, for the API's document."""

from typing import Final

from tracker.features.carts import examples as carts
from tracker.features.catalog import examples as catalog
from tracker.features.checkout import examples as checkout
from tracker.features.customer_carts import examples as customer_carts
from tracker.features.identity import examples as identity
from tracker.features.warranties import examples as warranties
from tracker.web import health_routes
from tracker.web.openapi.examples import OF_ALL, joined

_FEATURES: Final = (carts, customer_carts, checkout, catalog, identity, warranties)

EXAMPLES: Final = joined([OF_ALL, health_routes.EXAMPLES, *(feature.EXAMPLES for feature in _FEATURES)])
