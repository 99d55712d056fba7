"""Examples of the checkout for the API's document."""

from typing import Final

from tracker.features.carts.examples import CART_ID
from tracker.features.checkout.domain import Status
from tracker.features.checkout.dto import CheckoutIn, OrderLineOut, OrderOut
from tracker.features.checkout.payments.sandbox import REFUSAL
from tracker.features.checkout.payments.stripe_signature import NO_WEBHOOKS, SIGNATURE_HEADER, SIGNATURE_RULE
from tracker.features.checkout.service import EMPTY_CART, KEY_REUSED, NO_SUCH_ORDER
from tracker.web.openapi.examples import AT, Examples, location

_EVENT: Final = {
    "description": "An event as Stripe sends it, byte for byte: it is signed.",
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
            "example": {"type": "payment_intent.succeeded", "data": {"object": {"id": "pm_1"}}},
        }
    },
}

EXAMPLES: Final = Examples(
    tags={"checkout": "Buying a cart, at the prices of the catalog."},
    tag_places={"checkout": 3},
    bodies=[
        CheckoutIn("accepted"),
        OrderOut(
            order_id="9a3e5f3c-0c40-4f0f-9df1-1c3a0a2f1d02",
            cart_id=CART_ID,
            next_cart_id="d3b07384-d113-4ec6-a7a1-5b0a7f7b3c11",
            status=Status.PAID,
            reason=None,
            total=9800,
            currency="EUR",
            created_at=AT,
            lines=[OrderLineOut("LMP-1", "Reading lamp", "lighting", 4900, 2)],
        ),
    ],
    fields={"checkOut": ("payment_method", "is required"), "hearStripe": (SIGNATURE_HEADER, SIGNATURE_RULE)},
    problems={
        ("checkOut", 402): REFUSAL.reason,
        ("checkOut", 409): EMPTY_CART,
        ("checkOut", 422): KEY_REUSED,
        ("showOrder", 404): NO_SUCH_ORDER,
        ("hearStripe", 501): NO_WEBHOOKS,
    },
    headers={("checkOut", status): {"Location": location("The order")} for status in (200, 202)},
    request_bodies={"hearStripe": _EVENT},
)
