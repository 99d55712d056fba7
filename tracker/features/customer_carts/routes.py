"""The routes of a customer's own carts: HTTP in, `CustomerCarts` calls, HTTP out."""

from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import unquote_to_bytes

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIFormat, OpenAPIType, Schema
from litestar.openapi.spec import Parameter as OpenAPIParameter
from litestar.params import JSONBody, PathParameter, SkipValidation

from tracker.errors import InvalidInputError, NotFoundError
from tracker.features.carts.cookie import cart_id_of_cookie
from tracker.features.carts.cookie_http import SETS_COOKIE, CartOperation, cookie_of
from tracker.features.carts.domain import MAX_EXTERNAL_ID_BYTES, check_external_id, parse_cart_id
from tracker.features.carts.dto import CartRef, items_out
from tracker.features.customer_carts.domain import Cart
from tracker.features.customer_carts.dto import CustomerCart, CustomerCartOut, CustomerCartsOut, ItemChange
from tracker.features.customer_carts.service import AFTER_RULE, NO_SUCH_CART, CustomerCarts
from tracker.features.identity.current_customer import CUSTOMER_PROBLEMS, FOR_CUSTOMERS, CurrentCustomer
from tracker.ingest.items import CartId, ItemWrite
from tracker.web.problems import BODY_PROBLEMS, AnyRequest, problem_spec
from tracker.web.query_parameters import (
    boolean_of,
    boolean_parameter,
    check_parameters,
    limit_of,
    limit_parameter,
    text_parameter,
)
from tracker.web.strict_json import JSONOperation, StrictJSON

MAX_CARTS: Final = 100
"""Most carts in one answer."""

USUAL_CARTS: Final = 20
"""Carts in one answer when the request does not say how many."""

ID_RULE: Final = "must be UTF-8"
"""Rule for the id of an item in a path, before it is percent-encoded."""

Carts = NamedDependency[SkipValidation[CustomerCarts]]
PathCart = Annotated[str, PathParameter(description="A cart of the customer")]

_PARAMETERS: Final = ("purchased", "after", "limit")

_REFUSED: Final = {**CUSTOMER_PROBLEMS, 400: BODY_PROBLEMS[400]}
_NOT_YOURS: Final = {404: problem_spec("The customer has no such cart")}
_NOT_CHANGED: Final = {**_REFUSED, **_NOT_YOURS, 409: problem_spec("The cart is purchased")}


@dataclass
class ItemOperation(JSONOperation):
    """Corrects the OpenAPI description of a route that names an item in its path."""

    def __post_init__(self) -> None:
        """Describe the item's id, which Litestar takes for a URI as it may hold slashes."""
        super().__post_init__()
        for parameter in self.parameters or ():
            if isinstance(parameter, OpenAPIParameter) and parameter.name == "external_id":
                parameter.schema = Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_EXTERNAL_ID_BYTES)
                parameter.description = f"The item: 1 to {MAX_EXTERNAL_ID_BYTES} bytes of UTF-8, percent-encoded"


@post(
    "/carts",
    summary="Create a cart",
    responses=CUSTOMER_PROBLEMS,
    response_headers=[SETS_COOKIE],
    tags=["customers"],
    **FOR_CUSTOMERS,
)
async def create_cart(request: AnyRequest, customer: CurrentCustomer, customer_carts: Carts) -> Response[CartRef]:
    """Create an empty cart of the customer's, and have the browser keep it."""
    cart_id = await customer_carts.create(customer.subject)
    headers = {"Location": f"/carts/{cart_id}", **cookie_of(cart_id, request)}
    return Response(CartRef(cart_id), headers=headers)


@post(
    "/carts/claim",
    status_code=200,
    summary="Make the cart of the cookie the customer's",
    responses={**CUSTOMER_PROBLEMS, 404: problem_spec("The cart of the cookie belongs to somebody else")},
    response_headers=[SETS_COOKIE],
    operation_class=CartOperation,
    tags=["customers"],
    **FOR_CUSTOMERS,
)
async def claim_cart(request: AnyRequest, customer: CurrentCustomer, customer_carts: Carts) -> Response[CartRef]:
    """Make the guest's cart of the cookie the customer's, or merge it into their outstanding one.

    Without a cookie that is the outstanding cart, or a new one. It may be called again.
    """
    guest_cart_id = cart_id_of_cookie(request.scope["headers"])
    cart_id = await customer_carts.claim(customer.subject, guest_cart_id)
    return Response(CartRef(cart_id), headers=cookie_of(cart_id, request))


@get("/carts", summary="Find the customer's carts", responses=_REFUSED, tags=["customers"], **FOR_CUSTOMERS)
async def list_carts(
    request: AnyRequest,
    customer: CurrentCustomer,
    customer_carts: Carts,
    purchased: Annotated[str | None, boolean_parameter("Only those that are, or are not.")] = None,
    after: Annotated[
        str | None,
        text_parameter(
            "Show the page behind this cart: what `next` said.", type=OpenAPIType.STRING, format=OpenAPIFormat.UUID
        ),
    ] = None,
    limit: Annotated[str | None, limit_parameter("Carts of a page.", default=USUAL_CARTS, largest=MAX_CARTS)] = None,
) -> CustomerCartsOut:
    """Find the customer's carts, those first that they got last."""
    check_parameters(request.scope["query_string"], _PARAMETERS)
    behind = None if after is None else parse_cart_id(after)
    if after is not None and behind is None:
        raise InvalidInputError("after", AFTER_RULE)
    most = limit_of(limit, default=USUAL_CARTS, largest=MAX_CARTS)
    wanted = boolean_of("purchased", purchased)
    found, rest = await customer_carts.list(customer.subject, purchased=wanted, after=behind, limit=most)
    return CustomerCartsOut([CustomerCart(**_described(cart)) for cart in found], rest)


@get(
    "/carts/{cart_id:str}",
    summary="Show a cart",
    responses={**CUSTOMER_PROBLEMS, **_NOT_YOURS},
    tags=["customers"],
    **FOR_CUSTOMERS,
)
async def show_cart(cart_id: PathCart, customer: CurrentCustomer, customer_carts: Carts) -> CustomerCartOut:
    """Show a cart of the customer's, items first added first."""
    cart, items = await customer_carts.find(customer.subject, _cart_id(cart_id))
    return CustomerCartOut(**_described(cart), items=items_out(items))


@put(
    "/carts/{cart_id:str}/items/{external_id:path}",
    dto=StrictJSON[ItemChange],
    return_dto=None,
    status_code=204,
    summary="Put an item into a cart",
    responses={**BODY_PROBLEMS, **_NOT_CHANGED},
    operation_class=ItemOperation,
    tags=["customers"],
    **FOR_CUSTOMERS,
)
async def put_item(
    cart_id: PathCart,
    data: JSONBody[ItemChange],
    request: AnyRequest,
    customer: CurrentCustomer,
    customer_carts: Carts,
) -> None:
    """Put an item into a cart of the customer's, or change it there."""
    write = ItemWrite(_cart_id(cart_id), _external_id(request), data.name, data.price, data.quantity)
    await customer_carts.put_item(customer.subject, write)


@delete(
    "/carts/{cart_id:str}/items/{external_id:path}",
    status_code=204,
    summary="Remove an item from a cart",
    responses=_NOT_CHANGED,
    operation_class=ItemOperation,
    tags=["customers"],
    **FOR_CUSTOMERS,
)
async def delete_item(cart_id: PathCart, request: AnyRequest, customer: CurrentCustomer, customer_carts: Carts) -> None:
    """Remove an item from a cart of the customer's; it may be called again."""
    await customer_carts.put_item(customer.subject, ItemWrite(_cart_id(cart_id), _external_id(request), quantity=0))


def _described(cart: Cart) -> dict[str, Any]:
    return {"cart_id": cart.id, "purchased": cart.purchased, "created_at": cart.owned_at}


def _cart_id(text: str) -> CartId:
    cart_id = parse_cart_id(text)
    if cart_id is None:
        raise NotFoundError(NO_SUCH_CART)
    return cart_id


def _external_id(request: AnyRequest) -> str:
    """Return the external id behind `/items/`, from the path as it was sent: an id may hold slashes."""
    sent: bytes = request.scope["raw_path"]
    try:
        external_id = unquote_to_bytes(sent.partition(b"/items/")[2]).decode()
    except UnicodeDecodeError:
        raise InvalidInputError("external_id", ID_RULE) from None
    check_external_id("external_id", external_id)
    return external_id
