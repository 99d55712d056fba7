"""The requests, as bytes, for wrk and for the open-loop generator alike.

They are made before the run and sent in a circle: making them while sending would cost the load's core more
than sending them. Carts and skus are drawn at random (and the same in every run) from the shape's numbers,
so that a cart has several items and comes back after a while, as a shopper does.
"""

import json
import random
import uuid
from pathlib import Path
from typing import Final

from msgspec import Struct

COUNT: Final = 8192
"""Different requests in a circle; enough that no flush sees the same key twice unless the shape wants it."""

SEPARATOR: Final = b"\0"
"""Between requests in a file; JSON as we write it holds none."""


PAGE_ORIGIN: Final = "https://shop.example"


class Shape(Struct, frozen=True):
    """What the requests of a run are like."""

    name: str
    path: str = "/item"
    known: bool = True
    """Whether a cookie names the cart; else every request starts a new one."""
    page: bool = False
    """Whether a browser sends it for a page of another origin."""
    carts: int = 2000
    skus: int = 20


ITEM_KNOWN: Final = Shape("item-known")
ITEM_PAGE: Final = Shape("item-page", page=True)
ITEM_NEW: Final = Shape("item-new", known=False)
ITEMS_KNOWN: Final = Shape("items-known", path="/items")
ITEMS_NEW: Final = Shape("items-new", path="/items", known=False)
ITEM_HOT: Final = Shape("item-hot", carts=20, skus=5)
"""The same 100 items over and over: what the aggregator must fold into one row each per flush."""


def requests_of(shape: Shape) -> list[bytes]:
    """Return the requests of a shape."""
    draw = random.Random(shape.name)
    carts = [str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in range(shape.carts)]
    return [
        request(shape, draw.choice(carts), f"sku-{draw.randrange(shape.skus)}", draw.randrange(100, 100_000))
        for _ in range(COUNT)
    ]


def request(shape: Shape, cart_id: str, sku: str, cents: int) -> bytes:
    """Return one request."""
    if shape.path == "/items":
        fields: dict[str, object] = {"product_id": sku, "price": cents, "name": f"Blue mug {sku}", "quantity": 2}
    else:
        fields = {"external_id": sku, "name": f"Blue mug {sku}", "value": cents, "quantity": 2}
    cookie = f"Cookie: cart_id={cart_id}\r\n" if shape.known else ""
    origin = f"Origin: {PAGE_ORIGIN}\r\n" if shape.page else ""
    return _with_body(shape.path, json.dumps(fields, separators=(",", ":")).encode(), origin + cookie)


def _with_body(path: str, body: bytes, headers: str = "") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def write_requests(shape: Shape, folder: Path) -> Path:
    """Write the requests of a shape to a file, once, and return its path."""
    path = folder / f"{shape.name}.requests"
    if not path.exists():
        path.write_bytes(SEPARATOR.join(requests_of(shape)))
    return path


def write_warranty_requests(folder: Path, *, stores: int, skus: int) -> Path:
    """Write as many requests for warranties, of any of the stores for any of the items; return the file's path."""
    draw = random.Random("warranties")
    requests = []
    for _ in range(COUNT):
        sku = draw.randrange(skus)
        fields = {
            "store_uuid": f"b21ad0676f26{draw.randrange(stores):04}",
            "item_type": ("furniture", "electronics", "toys")[sku % 3],
            "item_sku": f"sku-{sku}",
            "item_cost": draw.randrange(100, 1_000_000) / 100,
            "item_title": f"Amy's Sectional Sofa {sku}",
        }
        requests.append(_with_body("/warranties", json.dumps(fields, separators=(",", ":")).encode()))
    path = folder / "warranties.requests"
    path.write_bytes(SEPARATOR.join(requests))
    return path


def read_requests(path: Path) -> list[bytes]:
    """Return what `write_requests` wrote."""
    return path.read_bytes().split(SEPARATOR)
