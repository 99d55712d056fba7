"""Examples of a customer's carts for the API's document."""

from typing import Final

from tracker.features.carts.examples import CART_ID, LAMP, WRONG_QUANTITY
from tracker.features.customer_carts.dto import CustomerCart, CustomerCartOut, CustomerCartsOut, ItemChange
from tracker.features.customer_carts.routes import MAX_CARTS
from tracker.web.openapi.examples import AT, Examples
from tracker.web.query_parameters import limit_rule

_NO_SUCH_CART: Final = "you have no cart of this id"
_PURCHASED: Final = "this cart is purchased; it does not change any more"

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
        "deleteItem": ("external_id", "must be UTF-8"),
        "listCarts": ("limit", limit_rule(MAX_CARTS)),
    },
    problems={
        ("claimCart", 404): "the cart of your cookie is not yours",
        ("showCart", 404): _NO_SUCH_CART,
        ("putItem", 404): _NO_SUCH_CART,
        ("putItem", 409): _PURCHASED,
        ("deleteItem", 404): _NO_SUCH_CART,
        ("deleteItem", 409): _PURCHASED,
    },
)
