"""The routes of the checkout: HTTP in, `Checkout` calls, HTTP out."""

from dataclasses import dataclass
from typing import Annotated, Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, JSONBody, PathParameter, SkipValidation

from tracker.errors import ConflictError, NotFoundError, PaymentRefusedError
from tracker.features.carts.cookie import cart_id_of_cookie
from tracker.features.carts.cookie_http import SETS_COOKIE, CartOperation, cookie_of
from tracker.features.carts.domain import parse_cart_id
from tracker.features.checkout.domain import Status
from tracker.features.checkout.dto import CheckoutIn, OrderLineOut, OrderOut
from tracker.features.checkout.payments.stripe_signature import SIGNATURE_HEADER
from tracker.features.checkout.service import NO_SUCH_ORDER, NOT_YOURS, Checkout, OrderView
from tracker.features.identity.current_customer import CUSTOMER_PROBLEMS, FOR_CUSTOMERS, CurrentCustomer
from tracker.kit.text_rules import uuid_of
from tracker.web.idempotency_key import IdempotencyKey, check_key, describe_key
from tracker.web.problems import BODY_PROBLEMS, AnyRequest, problem_spec
from tracker.web.strict_json import JSONOperation, StrictJSON

RETRY_AFTER_S: Final = 5
"""Seconds after which a client should look again at an order that is still `paying`."""

_PAYING: Final = "What becomes of the payment is not known yet: the order is `paying`, and is settled later"

Checkouts = NamedDependency[SkipValidation[Checkout]]

_CHECKOUT_PROBLEMS: Final = {
    **CUSTOMER_PROBLEMS,
    **BODY_PROBLEMS,
    402: problem_spec("The payment was refused; the answer says why. The cart is open again"),
    409: problem_spec("The cart cannot be bought; the answer says why"),
    422: problem_spec("The Idempotency-Key was used for another checkout"),
}


@dataclass
class CheckoutOperation(CartOperation):
    """Adds the Idempotency-Key to the OpenAPI description of the checkout."""

    def __post_init__(self) -> None:
        """Require the Idempotency-Key."""
        super().__post_init__()
        describe_key(self, required=True)


@post(
    "/carts/{cart_id:str}/checkout",
    dto=StrictJSON[CheckoutIn],
    return_dto=None,
    status_code=200,
    summary="Buy a cart",
    responses={**_CHECKOUT_PROBLEMS, 202: ResponseSpec(OrderOut, description=_PAYING, generate_examples=False)},
    response_headers=[SETS_COOKIE],
    operation_class=CheckoutOperation,
    tags=["checkout"],
    **FOR_CUSTOMERS,
)
async def check_out(
    cart_id: Annotated[str, PathParameter(description="A cart of the customer")],
    data: JSONBody[CheckoutIn],
    request: AnyRequest,
    customer: CurrentCustomer,
    checkout: Checkouts,
    idempotency_key: IdempotencyKey = None,
) -> Response[OrderOut]:
    """Buy a cart of the customer's at the prices of the catalog.

    The same Idempotency-Key gives the same answer. Once it is paid the browser gets a new cart.
    """
    key = check_key(idempotency_key)
    wanted = parse_cart_id(cart_id)
    if wanted is None:
        raise ConflictError(NOT_YOURS)
    found = await checkout.check_out(customer.subject, wanted, data.payment_method, key)
    order = found.order
    if order.status is Status.FAILED:
        raise PaymentRefusedError(order.reason)
    headers = {"Location": f"/orders/{order.id}"}
    if order.status is Status.PAYING:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    elif cart_id_of_cookie(request.scope["headers"]) in {None, order.cart_id}:
        headers |= _open_cart(found, request)
    return Response(_order_out(found), status_code=202 if order.status is Status.PAYING else 200, headers=headers)


@get(
    "/orders/{order_id:str}",
    summary="Show an order",
    responses={**CUSTOMER_PROBLEMS, 404: problem_spec("The customer has no such order")},
    response_headers=[SETS_COOKIE],
    operation_class=CartOperation,
    tags=["checkout"],
    **FOR_CUSTOMERS,
)
async def show_order(
    order_id: Annotated[str, PathParameter(description="An order of the customer")],
    request: AnyRequest,
    customer: CurrentCustomer,
    checkout: Checkouts,
) -> Response[OrderOut]:
    """Show an order of the customer's, and what became of its payment.

    A browser that still has the cart which was bought gets a new one, as its checkout may have ended without.
    """
    wanted = uuid_of(order_id)
    if wanted is None:
        raise NotFoundError(NO_SUCH_ORDER)
    found = await checkout.find(customer.subject, wanted)
    order = found.order
    is_theirs = cart_id_of_cookie(request.scope["headers"]) == order.cart_id
    headers = _open_cart(found, request) if order.status is Status.PAID and is_theirs else {}
    return Response(_order_out(found), headers=headers)


@post(
    "/payments/stripe",
    status_code=204,
    summary="Hear from Stripe",
    operation_class=JSONOperation,
    responses={
        400: problem_spec("The message is not one that Stripe has signed lately"),
        403: problem_spec("A browser sent it, for a page whose origin is not listed"),
        413: BODY_PROBLEMS[413],
        501: problem_spec("No payment processor is configured, or no secret for its webhooks"),
        503: problem_spec("Try again after Retry-After seconds"),
    },
    tags=["checkout"],
)
async def hear_stripe(
    request: AnyRequest,
    checkout: Checkouts,
    signature: Annotated[str, HeaderParameter(name=SIGNATURE_HEADER, description="As Stripe sets it")] = "",
) -> None:
    """Take a webhook of Stripe's: what became of a payment."""
    await checkout.handle_webhook(await request.body(), signature)


def _open_cart(found: OrderView, request: AnyRequest) -> dict[str, str]:
    """Return the header that has the browser go on with the cart that takes the items of the bought one now."""
    return {} if found.open_cart_id is None else cookie_of(found.open_cart_id, request)


def _order_out(found: OrderView) -> OrderOut:
    order = found.order
    return OrderOut(
        order_id=order.id,
        cart_id=order.cart_id,
        next_cart_id=found.next_cart_id,
        status=order.status,
        reason=order.reason,
        total=order.total,
        currency=order.currency,
        created_at=order.created_at,
        lines=[OrderLineOut(line.sku, line.title, line.item_type, line.price, line.quantity) for line in found.lines],
    )
