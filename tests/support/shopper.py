"""A customer of the store, as tests play one: their carts and checkouts at a running Tracker."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.conftest import Database, Tracker, cookie
from tests.support.oidc import Provider


@dataclass
class Shopper:
    """Somebody with a bearer token."""

    tracker: Tracker
    provider: Provider
    subject: str

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        cart_id: str | None = None,
        headers: Mapping[str, str] = {},
    ) -> httpx.Response:
        """Call a route as this customer, with the cookie of a cart if one is given."""
        sent = {**self.provider.bearer(self.subject), **cookie(cart_id), **(headers or {})}
        return self.tracker.client.request(method, path, json=body, headers=sent)

    def create_cart(self) -> str:
        """Return a new cart."""
        answer = self.call("POST", "/carts")
        assert answer.status_code == 201, answer.text
        cart_id: str = answer.json()["cart_id"]
        return cart_id

    def cart_with(self, **quantities: int) -> str:
        """Return a new cart that holds products, under names and prices that the catalog does not know."""
        cart_id = self.create_cart()
        for sku, quantity in quantities.items():
            answer = self.put(cart_id, sku, quantity=quantity, price=1, name="not what the catalog says")
            assert answer.status_code == 204, answer.text
        return cart_id

    def order(self, order_id: str) -> dict[str, Any]:
        """Return an order of this customer."""
        answer = self.call("GET", f"/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        order: dict[str, Any] = answer.json()
        return order

    def put(self, cart_id: str, external_id: str, **fields: object) -> httpx.Response:
        """PUT an item into a cart."""
        return self.call("PUT", f"/carts/{cart_id}/items/{external_id}", fields)

    def claim(self, cart_id: str | None) -> httpx.Response:
        """Claim the cart of the cookie."""
        return self.call("POST", "/carts/claim", cart_id=cart_id)

    def items(self, cart_id: str) -> dict[str, dict[str, Any]]:
        """Return what a cart of this customer holds, by product."""
        answer = self.call("GET", f"/carts/{cart_id}")
        assert answer.status_code == 200, answer.text
        return {item["product_id"]: item for item in answer.json()["items"]}

    def quantities(self, cart_id: str) -> dict[str, int]:
        """Return how many of each product a cart of this customer holds."""
        return {product_id: item["quantity"] for product_id, item in self.items(cart_id).items()}

    def carts(self, query: str = "") -> list[str]:
        """Return the ids of this customer's carts."""
        answer = self.call("GET", f"/carts{query}")
        assert answer.status_code == 200, answer.text
        return [cart["cart_id"] for cart in answer.json()["carts"]]

    def check_out(
        self, cart_id: str, method: str = "accepted", *, key: str | None = None, cookie_cart: str | None = None
    ) -> httpx.Response:
        """Buy a cart."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        body = {"payment_method": method}
        return self.call("POST", f"/carts/{cart_id}/checkout", body, cart_id=cookie_cart, headers=headers)


def new_shopper(tracker: Tracker, provider: Provider) -> Shopper:
    """Return a customer who was never here before."""
    return Shopper(tracker, provider, f"shopper-{uuid.uuid4()}")


def sell(database: Database, *skus: str, price: int = 500, currency: str = "EUR", active: bool = True) -> None:
    """Put products into the catalog."""
    for sku in skus:
        database.fetch(
            "INSERT INTO products (sku, title, item_type, price, currency, active) VALUES ($1, $2, 'gift', $3, $4, $5)"
            " ON CONFLICT (sku) DO UPDATE SET price = $3, currency = $4, active = $5",
            sku,
            f"The {sku}",
            price,
            currency,
            active,
        )


def settle_now(database: Database) -> None:
    """Have the jobs that settle orders done without waiting for their time."""
    database.fetch("UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = 'settle' AND status = 'queued'")
