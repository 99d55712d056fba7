"""Examples of a customer's carts for the API's document."""

from typing import Final

from tracker.features.carts.examples import CART_ID, LAMP, WRONG_QUANTITY
from tracker.features.customer_carts.dto import CustomerCart, CustomerCartOut, CustomerCartsOut, ItemChange
from tracker.features.customer_carts.routes import ID_RULE, MAX_CARTS
from tracker.features.customer_carts.service import CART_OF_ANOTHER, NO_SUCH_CART, PURCHASED
from tracker.web.openapi.examples import AT, Examples
from tracker.web.query_parameters import limit_rule

EXAMPLES: Final = Examples(
    tags={"customers": "The carts of a customer who is logged in; those of others are not found."},
    tag_places={"customers": 2},
    bodies=[
        ItemChange("Reading lamp", 4900, 2),
        CustomerCartsOut([CustomerCart(CART_ID, purchased=False, created_at=AT)], None),
        CustomerCartOut(cart_id=CART_ID, purchased=False, created_at=AT, items=[LAMP]),
    ],
    fields={
        "putItem": WRONG_QUANTITY,
        "deleteItem": ("external_id", ID_RULE),
        "listCarts": ("limit", limit_rule(MAX_CARTS)),
    },
    problems={
        ("claimCart", 404): CART_OF_ANOTHER,
        ("showCart", 404): NO_SUCH_CART,
        ("putItem", 404): NO_SUCH_CART,
        ("putItem", 409): PURCHASED,
        ("deleteItem", 404): NO_SUCH_CART,
        ("deleteItem", 409): PURCHASED,
    },
)
