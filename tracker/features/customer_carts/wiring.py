"""The carts of customers, as the rest of Tracker sees them."""

from typing import TYPE_CHECKING

from tracker.features.carts.wiring import follow_up_of
from tracker.features.feature import Feature, FeatureServing, ServingParts

if TYPE_CHECKING:
    from tracker.features.feature_data import FeatureData


def serve(parts: ServingParts) -> FeatureServing:
    """Build what serves the carts of customers."""
    from tracker.features.carts.service import CartReader
    from tracker.features.customer_carts import routes
    from tracker.features.customer_carts.examples import EXAMPLES
    from tracker.features.customer_carts.service import CustomerCarts
    from tracker.web.dependencies import given

    carts = CustomerCarts(
        parts.database, parts.pipeline.intake, parts.service(CartReader), follow_up_of(parts.settings)
    )
    return FeatureServing(
        routes=[
            routes.create_cart,
            routes.claim_cart,
            routes.list_carts,
            routes.show_cart,
            routes.put_item,
            routes.delete_item,
        ],
        dependencies={"customer_carts": given(carts)},
        examples=EXAMPLES,
    )


def data() -> "FeatureData":
    """Return what is stored of carts and customers."""
    from tracker.features.customer_carts.data import DATA

    return DATA


FEATURE = Feature(serve=serve, data=data)
