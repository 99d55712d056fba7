"""The cart's cookie at the edge of HTTP: set by an answer, and described in the API's document."""

from dataclasses import dataclass
from typing import Final

from litestar.datastructures import ResponseHeader
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.openapi.spec import Parameter as OpenAPIParameter

from tracker.features.carts.cookie import MAX_AGE_S, set_cookie_header
from tracker.ingest.items import CartId
from tracker.web.problems import AnyRequest
from tracker.web.strict_json import JSONOperation

SETS_COOKIE: Final = ResponseHeader(
    name="Set-Cookie",
    description=f"`cart_id`, for {MAX_AGE_S} seconds",
    documentation_only=True,
)


@dataclass
class CartOperation(JSONOperation):
    """Adds the cart cookie to the OpenAPI description of a route that takes the cart from it."""

    def __post_init__(self) -> None:
        """Add the cookie."""
        super().__post_init__()
        cookie = OpenAPIParameter(
            name="cart_id",
            param_in="cookie",
            # Without a format: another service's cookie of this name must not stop a shopper.
            schema=Schema(type=OpenAPIType.STRING, examples=["0b6f8f5e-2c57-4dd0-9b3b-0f2f6c1f3c55"]),
            description="The cart, a UUID. What is none is passed over.",
        )
        self.parameters = [*(self.parameters or []), cookie]


def cookie_of(cart_id: CartId, request: AnyRequest) -> dict[str, str]:
    """Return the header that has a browser keep a cart."""
    return {"Set-Cookie": set_cookie_header(cart_id, secure=request.scope["scheme"] == "https")}
