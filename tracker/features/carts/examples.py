"""Examples of the tracking routes for the API's document."""

from typing import Final

import msgspec

from tracker.features.carts.dto import QUANTITY_RULE, WHAT_NAMES_A_PRODUCT, CartOut, CartRef, ItemIn, ItemOut, ProductIn
from tracker.web.openapi.examples import AT, Examples

CART_ID: Final = "0b6f8f5e-2c57-4dd0-9b3b-0f2f6c1f3c55"

LAMP: Final = ItemOut("LMP-1", "Reading lamp", 4900, 2, AT, 4711, "reserved")

WRONG_QUANTITY: Final = ("quantity", f"{QUANTITY_RULE}; got str")

EXAMPLES: Final = Examples(
    tags={"carts": "What a store's page calls for every item; who knows a cart's id, by its cookie, may change it."},
    tag_places={"carts": 1},
    bodies=[
        ItemIn("LMP-1", "Reading lamp", 4900, 2),
        ProductIn("LMP-1", 4900, "Reading lamp", 2, msgspec.Raw(msgspec.json.encode(CART_ID))),
        CartRef(CART_ID),
        CartOut(CART_ID, [LAMP]),
    ],
    fields={"addItem": WRONG_QUANTITY, "addProduct": WRONG_QUANTITY, "addProductV1": WRONG_QUANTITY},
    schemas={"ProductIn": WHAT_NAMES_A_PRODUCT},
)
