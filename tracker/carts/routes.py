"""The tracking routes: HTTP in, `CartService` calls, HTTP out."""

from dataclasses import dataclass
from typing import Annotated, Final

from litestar import Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from litestar.openapi.spec import Parameter as OpenAPIParameter
from litestar.params import JSONBody, QueryParameter, SkipValidation

from tracker.carts.cookie import MAX_AGE_S, cart_id_of_cookie, set_cookie_header
from tracker.carts.domain import CartId, Item, new_cart_id, parse_cart_id
from tracker.carts.dto import CartOut, CartRef, ItemIn, ItemOut, ProductIn
from tracker.carts.service import CartService
from tracker.clock import stamp_time
from tracker.errors import UnconfirmedError
from tracker.http import AnyRequest, Problem, problem_spec, unavailable
from tracker.reservations.domain import Reservation
from tracker.strict_json import StrictJSON

ITEMS_PATHS: Final = ["/items", "/api/v1/items"]

_UNAVAILABLE = {503: problem_spec("Try again after Retry-After seconds")}
_REFUSED = {
    400: problem_spec("A field breaks its rule; the answer names both"),
    413: problem_spec("The body is larger than 64 KiB"),
    415: problem_spec("The body is not JSON by its content type"),
    **_UNAVAILABLE,
}

Carts = NamedDependency[SkipValidation[CartService]]


@dataclass
class CartOperation(Operation):
    """How OpenAPI describes a route that takes the cart from its cookie, and JSON as text/plain too."""

    def __post_init__(self) -> None:
        """Add the cookie and the second media type; an empty answer has no media type at all."""
        cookie = OpenAPIParameter(
            name="cart_id",
            param_in="cookie",
            schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID),
            description="The cart. What is not a UUID is passed over.",
        )
        self.parameters = [*(self.parameters or []), cookie]
        if isinstance(self.request_body, RequestBody):
            self.request_body.content["text/plain"] = self.request_body.content["application/json"]
        empty = (self.responses or {}).get("204")
        if isinstance(empty, OpenAPIResponse):
            empty.content = None  # Litestar documents a body of `null`


def _unconfirmed(request: AnyRequest, error: UnconfirmedError) -> Response[Problem]:
    """Answer 503 with the cart's cookie: the item is on its way there, and a retry must find the same cart."""
    answer = unavailable(request, error)
    answer.headers.update(_cookie(CartId(error.cart_id), request))
    return answer


_SETS_COOKIE = ResponseHeader(
    name="Set-Cookie",
    description=f"`cart_id`, for {MAX_AGE_S} seconds",
    documentation_only=True,
)


@post(
    "/item",
    dto=StrictJSON[ItemIn],
    return_dto=None,
    status_code=204,
    summary="Put an item into the cart",
    responses=_REFUSED,
    response_headers=[_SETS_COOKIE],
    operation_class=CartOperation,
    exception_handlers={UnconfirmedError: _unconfirmed},
    tags=["carts"],
)
async def add_item(data: JSONBody[ItemIn], request: AnyRequest, carts: Carts) -> Response[None]:
    """Put an item into the cart of the `cart_id` cookie, or change it there.

    Without a valid cookie the item goes into a new cart, whose cookie is set.
    """
    cart_id = cart_id_of_cookie(request.scope["headers"])
    if cart_id:
        headers = {}
    else:
        cart_id = new_cart_id()
        headers = _cookie(cart_id, request)
    await carts.accept(cart_id, data.external_id, data.name, data.value, data.quantity)
    return Response(None, status_code=204, headers=headers)


@post(
    ITEMS_PATHS,
    dto=StrictJSON[ProductIn],
    return_dto=None,
    status_code=200,
    summary="Put a product into the cart",
    responses=_REFUSED,
    response_headers=[_SETS_COOKIE],
    operation_class=CartOperation,
    exception_handlers={UnconfirmedError: _unconfirmed},
    tags=["carts"],
)
async def add_product(data: JSONBody[ProductIn], request: AnyRequest, carts: Carts) -> Response[CartRef]:
    """Put a product into a cart: that of the cookie, else that of the body's `cart_id`, else a new one."""
    cart_id = cart_id_of_cookie(request.scope["headers"]) or parse_cart_id(data.cart_id_text) or new_cart_id()
    await carts.accept(cart_id, data.external_id, data.name, data.price, data.quantity)
    return Response(CartRef(cart_id), headers=_cookie(cart_id, request))


@get(
    ITEMS_PATHS,
    summary="Show the cart",
    responses=_UNAVAILABLE,
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
    items = await carts.items_of(found)
    return CartOut(cart_id=found, items=[_shown(external_id, *shown) for external_id, shown in items.items()])


def _shown(external_id: str, item: Item, reservation: Reservation) -> ItemOut:
    return ItemOut(
        product_id=external_id,
        name=item.name,
        price=item.value,
        quantity=item.effective_quantity,
        updated_at=stamp_time(item.updated_stamp),
        reservation_id=reservation.reservation_id,
        reservation_status=reservation.status.value,
    )


def _cookie(cart_id: CartId, request: AnyRequest) -> dict[str, str]:
    return {"Set-Cookie": set_cookie_header(cart_id, secure=request.scope["scheme"] == "https")}
