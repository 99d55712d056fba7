"""What people write to answer sooner: the Flask view hands the upsert to Celery, by way of Redis."""

from flask import Flask, Response, request

from tests.benchmarks.contestants.celery_worker import store
from tests.benchmarks.contestants.plain import checked

app = Flask(__name__)


@app.post("/item")
def add_item() -> Response:
    """Put an item into the cart of the cookie, or into a new one."""
    known = request.cookies.get("cart_id")
    try:
        item = checked(known, request.get_json())
    except ValueError as error:
        return Response(str(error), status=400)
    store.delay(item)
    answer = Response(status=204)
    if known is None:
        answer.set_cookie("cart_id", item["cart_id"], max_age=72 * 3600, httponly=True)
    return answer
