"""Example requests and answers, one of each, for the API's document.

They are the Structs themselves, so that an example cannot have a field that is not there.
"""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct

from tracker.features.carts.dto import QUANTITY_RULE, WHAT_NAMES_A_PRODUCT, CartOut, CartRef, ItemIn, ItemOut, ProductIn
from tracker.features.catalog.dto import CatalogOut, ProductOut
from tracker.features.checkout.domain import Status
from tracker.features.checkout.dto import SIGNATURE_RULE, CheckoutIn, OrderLineOut, OrderOut
from tracker.features.customer_carts.dto import CustomerCart, CustomerCartOut, CustomerCartsOut, ItemChange
from tracker.features.customer_carts.routes import MAX_CARTS
from tracker.features.identity.domain import NO_LOGIN, RETURN_ADDRESS_RULE
from tracker.features.identity.routes import Me
from tracker.features.warranties.domain import COST_RULE
from tracker.features.warranties.dto import WarrantyIn, WarrantyOut
from tracker.web.health_routes import Health
from tracker.web.limits import MAX_HEADER_BYTES, REQUEST_TIMEOUT_S
from tracker.web.openapi.document import Models
from tracker.web.problems import BODY_TOO_LARGE, problem
from tracker.web.query_parameters import limit_rule

_AT: Final = datetime(2026, 11, 20, 17, 56, 45, 423814, tzinfo=UTC)
CART_ID: Final = "0b6f8f5e-2c57-4dd0-9b3b-0f2f6c1f3c55"
_NEXT_CART_ID: Final = "d3b07384-d113-4ec6-a7a1-5b0a7f7b3c11"

_LAMP: Final = ItemOut("LMP-1", "Reading lamp", 4900, 2, _AT, 4711, "reserved")

_BODIES: Final[list[Struct]] = [
    ItemIn("LMP-1", "Reading lamp", 4900, 2),
    ProductIn("LMP-1", 4900, "Reading lamp", 2, msgspec.Raw(msgspec.json.encode(CART_ID))),
    ItemChange("Reading lamp", 4900, 2),
    CheckoutIn("accepted"),
    CartRef(CART_ID),
    CartOut(CART_ID, [_LAMP]),
    CustomerCartsOut([CustomerCart(CART_ID, purchased=False, created_at=_AT)], None),
    CustomerCartOut(cart_id=CART_ID, purchased=False, created_at=_AT, items=[_LAMP]),
    CatalogOut([ProductOut("LMP-1", "Reading lamp", "Brass, with a switch", "lighting", 4900, "EUR", True)], [], None),  # noqa: FBT003  # a field as the others
    OrderOut(
        order_id="9a3e5f3c-0c40-4f0f-9df1-1c3a0a2f1d02",
        cart_id=CART_ID,
        next_cart_id=_NEXT_CART_ID,
        status=Status.PAID,
        reason=None,
        total=9800,
        currency="EUR",
        created_at=_AT,
        lines=[OrderLineOut("LMP-1", "Reading lamp", "lighting", 4900, 2)],
    ),
    Me("anna"),
    WarrantyIn("b21ad0676f26439", "furniture", "986kjeo8fy9qhu", msgspec.Raw(b"150.0"), "Amy's Sectional Sofa"),
    WarrantyOut(
        id="019a9f0e-6a5f-7c2b-8d11-3f6a2b9c0d4e",
        store_uuid="b21ad0676f26439",
        item_type="furniture",
        item_sku="986kjeo8fy9qhu",
        item_cost=150.0,
        item_title="Amy's Sectional Sofa",
        term_months=24,
        price=1500,
        terms_version="2026-11-72ecde5a",
        created_at=_AT,
    ),
    Health("live"),
]

_PROBLEMS: Final = {
    400: "this is no valid HTTP request",
    401: "log in at /login or send a bearer token",
    402: "the sandbox refuses this payment, as its method asks for",
    403: "a request with a session cookie needs an Origin or Sec-Fetch-Site header, as browsers send them",
    404: "you have no cart of this id",
    408: f"the request did not arrive within {REQUEST_TIMEOUT_S:.0f} s",
    409: "this cart is purchased; it does not change any more",
    413: BODY_TOO_LARGE,
    415: "send JSON as application/json or text/plain, not as application/xml",
    422: "this Idempotency-Key was used for another checkout; take a new one",
    429: "too many requests; see the RateLimit header",
    431: f"the headers are larger than {MAX_HEADER_BYTES} bytes",
    501: "this Tracker does not know any customers: set TRACKER_OIDC_ISSUER and TRACKER_OIDC_AUDIENCE",
    503: "the database does not answer",
}
"""Usual text of the problem with a status, by the status."""

_PROBLEMS_OF: Final = {
    ("checkOut", 409): "this cart is empty",
    ("claimCart", 404): "the cart of your cookie is not yours",
    ("comeBack", 400): NO_LOGIN,
    ("createWarranty", 422): "this Idempotency-Key was used for another warranty of this store; take a new one",
    ("hearStripe", 501): "webhooks of Stripe need TRACKER_STRIPE_WEBHOOK_SECRET",
    (
        "ready",
        503,
    ): "no items are accepted now: buffer, journal or disk are full, or a task has ended; the log says more",
    ("showOrder", 404): "you have no order of this id",
    ("showWarranty", 404): "there is no warranty of this id",
}
"""Text of the problem in an operation where the usual text would be wrong, by operation and status."""

_INTEGER_OR_NULL: Final = f"{QUANTITY_RULE}; got str"
_LIMIT: Final = limit_rule()
_FIELDS: Final = {
    "addItem": ("quantity", _INTEGER_OR_NULL),
    "addProduct": ("quantity", _INTEGER_OR_NULL),
    "addProductV1": ("quantity", _INTEGER_OR_NULL),
    "putItem": ("quantity", _INTEGER_OR_NULL),
    "checkOut": ("payment_method", "is required"),
    "createWarranty": ("item_cost", COST_RULE),
    "hearStripe": ("Stripe-Signature", SIGNATURE_RULE),
    "listCarts": ("limit", limit_rule(MAX_CARTS)),
    "listWarranties": ("limit", _LIMIT),
    "showCatalog": ("limit", _LIMIT),
    "deleteItem": ("external_id", "must be UTF-8"),
    "logIn": ("return_to", RETURN_ADDRESS_RULE),
    "logOut": ("return_to", RETURN_ADDRESS_RULE),
}
"""A field that may be wrong, and its rule, by operation."""


def examples() -> dict[str, Any]:
    """Return the example of each model, by the model's name, as JSON has it."""
    return {type(body).__name__: msgspec.json.decode(msgspec.json.encode(body)) for body in _BODIES}


def problem_example(operation_id: str, status: int) -> dict[str, Any]:
    """Return the problem that an operation answers with a status."""
    if status == HTTPStatus.BAD_REQUEST and operation_id in _FIELDS:
        field, rule = _FIELDS[operation_id]
        found = problem(status, f"{field} {rule}", field=field, rule=rule)
    else:
        found = problem(status, _PROBLEMS_OF.get((operation_id, status), _PROBLEMS[status]))
    example: dict[str, Any] = msgspec.to_builtins(found)
    return example


MODELS: Final = Models(
    structs=(
        ItemIn,
        ProductIn,
        CartOut,
        CartRef,
        ItemChange,
        CustomerCartsOut,
        CustomerCartOut,
        CatalogOut,
        CheckoutIn,
        OrderOut,
        Me,
        WarrantyIn,
        WarrantyOut,
        Health,
    ),
    beside={"ProductIn": WHAT_NAMES_A_PRODUCT},
    examples=examples,
    problem_example=problem_example,
)
"""Models of all features for the API's document."""
