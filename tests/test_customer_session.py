"""A customer's session from its beginning to its end, as a browser goes through it."""

from pathlib import Path

import httpx

from tests.conftest import Database, StartTracker, run_tracker
from tests.support.certified_oidc import Browser, certified_provider

CATALOG = """\
sku,title,item_type,price,currency
mug,White mug,kitchen,1250,EUR
pen,Blue pen,office,99,EUR
"""


def test_a_customer_logs_in_looks_around_changes_carts_and_buys(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    with certified_provider() as provider:
        env = {"DATABASE_URL": database.url, "TRACKER_PAYMENT": "sandbox", **provider.env()}
        products = tmp_path / "products.csv"
        products.write_text(CATALOG)
        done = run_tracker("catalog", "import", str(products), env=env)
        assert done.returncode == 0, done.stderr
        url = start_tracker(env=env).url
        provider.change(redirect_uri=f"{url}/login/callback")
        browser = Browser(url)
        try:
            walk(browser)
        finally:
            browser.close()


def walk(browser: Browser) -> None:
    def send(method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        return browser.client.request(method, path, json=body, headers={"Origin": browser.url, **headers})

    def buy(cart_id: str, payment_method: str, key: str) -> httpx.Response:
        headers = {"Idempotency-Key": key}
        return send("POST", f"/carts/{cart_id}/checkout", {"payment_method": payment_method}, **headers)

    # A guest puts something into the cart, and is asked to log in when it comes to carts of a customer.
    assert send("POST", "/item", {"external_id": "mug", "name": "White mug"}).status_code == 204
    guest_cart = browser.cookies()["cart_id"]
    assert send("POST", "/carts/claim").status_code == 401

    back = browser.log_in("/catalog", subject="anna")
    assert (back.status_code, back.headers["location"]) == (303, "/catalog")

    for_sale = browser.get("/catalog").json()["products"]
    assert [(product["sku"], product["price"]) for product in for_sale] == [("mug", 1250), ("pen", 99)]
    assert [product["sku"] for product in browser.get("/catalog?q=white").json()["products"]] == ["mug"]

    # The cart of the guest becomes hers; it is the one that is outstanding.
    assert send("POST", "/carts/claim").json() == {"cart_id": guest_cart}
    (outstanding,) = browser.get("/carts?purchased=false").json()["carts"]
    assert outstanding["cart_id"] == guest_cart

    # She changes it, and puts something into a new one as well.
    assert send("PUT", f"/carts/{guest_cart}/items/mug", {"quantity": 2}).status_code == 204
    assert send("PUT", f"/carts/{guest_cart}/items/pen", {"quantity": 1}).status_code == 204
    new_cart = send("POST", "/carts").json()["cart_id"]
    assert send("PUT", f"/carts/{new_cart}/items/pen", {"quantity": 5}).status_code == 204
    found = {cart["cart_id"] for cart in browser.get("/carts?purchased=false").json()["carts"]}
    assert found == {guest_cart, new_cart}

    # The payment is refused: the cart is as open as before.
    refused = buy(guest_cart, "refused", "first-try")
    assert refused.status_code == 402
    assert refused.json()["detail"]
    assert browser.get(f"/carts/{guest_cart}").json()["purchased"] is False

    paid = buy(guest_cart, "accepted", "second-try")
    assert (paid.status_code, paid.json()["status"], paid.json()["total"]) == (200, "paid", 2599)
    assert browser.get(f"/carts/{guest_cart}").json()["purchased"] is True
    assert browser.get(paid.headers["location"]).json() == paid.json()
    purchased = browser.get("/carts?purchased=true").json()["carts"]
    assert [cart["cart_id"] for cart in purchased] == [guest_cart]

    # In her next session the carts are as she left them.
    assert send("POST", "/logout").status_code == 303
    assert "cart_id" not in browser.cookies()
    assert browser.get("/carts").status_code == 401
    browser.log_in(subject="anna")
    items = browser.get(f"/carts/{new_cart}").json()["items"]
    assert [(item["product_id"], item["quantity"]) for item in items] == [("pen", 5)]
