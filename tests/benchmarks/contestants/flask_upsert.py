"""What people write: a Flask view, psycopg, the cart and the item upserted and committed per request."""

import os

from flask import Flask, Response, request
from psycopg_pool import ConnectionPool

from tests.benchmarks.contestants.plain import CART, ITEM, checked

app = Flask(__name__)
pool = ConnectionPool(os.environ["DATABASE_URL"], min_size=8, max_size=8, open=True)


@app.post("/item")
def add_item() -> Response:
    """Put an item into the cart of the cookie, or into a new one."""
    known = request.cookies.get("cart_id")
    try:
        item = checked(known, request.get_json())
    except ValueError as error:
        return Response(str(error), status=400)
    with pool.connection() as connection:  # commits at its end
        connection.execute(CART, item)
        connection.execute(ITEM, item)
    answer = Response(status=204)
    if known is None:
        answer.set_cookie("cart_id", item["cart_id"], max_age=72 * 3600, httponly=True)
    return answer
