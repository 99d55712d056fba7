"""The tracking routes: HTTP in, calls of `Intake` and `CartReader`, HTTP out."""

from copy import copy
from typing import Annotated, Any, Final

from litestar import Response, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter, SkipValidation

from tracker.errors import UnconfirmedError
from tracker.features.carts.cookie import cart_id_of_cookie
from tracker.features.carts.cookie_http import SETS_COOKIE, CartOperation, cookie_of
from tracker.features.carts.domain import new_cart_id, parse_cart_id
from tracker.features.carts.dto import CartOut, CartRef, ItemIn, ProductIn, items_out
from tracker.features.carts.service import CartReader
from tracker.ingest.intake import Intake
from tracker.ingest.items import CartId, ItemWrite
from tracker.web.middleware.responses import NotStored
from tracker.web.problems import BODY_PROBLEMS, AnyRequest, Problem, problem_spec, response_to
from tracker.web.rate_limit import RateLimits
from tracker.web.strict_json import StrictJSON

ITEMS_PATHS: Final = ["/items", "/api/v1/items"]

_UNAVAILABLE = {503: problem_spec("Try again after Retry-After seconds")}
_REFUSED = {
    **BODY_PROBLEMS,
    **_UNAVAILABLE,
    403: problem_spec("Origins are allowed by a list, and that of the page is not on it"),
    429: problem_spec("One address, or one cart, sends more than it may; try again after Retry-After seconds"),
}

Items = NamedDependency[SkipValidation[Intake]]
Carts = NamedDependency[SkipValidation[CartReader]]
Limits = NamedDependency[SkipValidation[RateLimits]]


def _unconfirmed(request: AnyRequest, error: UnconfirmedError) -> Response[Problem]:
    """Answer 503 with the cart's cookie: the item is on its way there, and a retry must find the same cart."""
    answer = response_to(error)
    answer.headers.update(cookie_of(CartId(error.cart_id), request))
    return answer


@post(
    "/item",
    dto=StrictJSON[ItemIn],
    return_dto=None,
    status_code=204,
    summary="Put an item into the cart",
    responses=_REFUSED,
    response_headers=[SETS_COOKIE],
    operation_class=CartOperation,
    exception_handlers={UnconfirmedError: _unconfirmed},
    tags=["carts"],
)
async def add_item(data: JSONBody[ItemIn], request: AnyRequest, intake: Items, limits: Limits) -> Response[None]:
    """Put an item into the cart of the `cart_id` cookie, or change it there.

    Without a valid cookie the item goes into a new cart, whose cookie is set.
    """
    cart_id = cart_id_of_cookie(request.scope["headers"])
    limits.check_cart(cart_id)
    if cart_id:
        headers = {}
    else:
        cart_id = new_cart_id()
        headers = cookie_of(cart_id, request)
    await intake.accept(ItemWrite(cart_id, data.external_id, data.name, data.value, data.quantity))
    return Response(None, status_code=204, headers=headers)


@post(
    ITEMS_PATHS,
    dto=StrictJSON[ProductIn],
    return_dto=None,
    status_code=200,
    summary="Put a product into the cart",
    responses=_REFUSED,
    response_headers=[SETS_COOKIE],
    operation_class=CartOperation,
    exception_handlers={UnconfirmedError: _unconfirmed},
    tags=["carts"],
)
async def add_product(
    data: JSONBody[ProductIn], request: AnyRequest, intake: Items, limits: Limits
) -> Response[CartRef]:
    """Put a product into a cart: that of the cookie, else that of the body's `cart_id`, else a new one."""
    known = cart_id_of_cookie(request.scope["headers"]) or parse_cart_id(data.cart_id_text)
    limits.check_cart(known)
    cart_id = known or new_cart_id()
    await intake.accept(ItemWrite(cart_id, data.external_id, data.name, data.price, data.quantity))
    return Response(CartRef(cart_id), headers=cookie_of(cart_id, request))


@get(
    ITEMS_PATHS,
    summary="Show the cart",
    responses=_UNAVAILABLE,
    middleware=[NotStored],
    operation_class=CartOperation,
    tags=["carts"],
)
async def list_items(
    request: AnyRequest,
    carts: Carts,
    cart_id: Annotated[str | None, QueryParameter(description="The cart, where no cookie names one")] = None,
) -> CartOut:
    """Show the cart of the cookie, else that of `?cart_id=`, items first added first."""
    found = cart_id_of_cookie(request.scope["headers"]) or parse_cart_id(cart_id)
    if found is None:
        return CartOut(cart_id=None, items=[])
    return CartOut(cart_id=found, items=items_out(await carts.items_of(found)))


def tracking_routes(limits: RateLimits) -> list[HTTPRouteHandler]:
    """Return the routes that take items, each of which counts a request for its address before it looks at it."""

    def check_address(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        limits.check_address(connection.client.host if connection.client else "")

    handlers = [copy(add_item), copy(add_product)]
    for handler in handlers:
        handler.guards = (check_address,)
    return handlers
