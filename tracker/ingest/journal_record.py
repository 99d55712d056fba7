"""An item as the journal keeps it: a msgpack array of the cart, the external id and the registers."""

import msgspec

from tracker.ingest.items import CartId, Item

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, str, Item]).decode


def encode_record(cart_id: CartId, external_id: str, item: Item) -> bytes:
    """Return the journal's payload for an item."""
    return _encode((cart_id, external_id, item))


def decode_record(payload: bytes) -> tuple[CartId, str, Item]:
    """Return the item in a payload; raise msgspec.DecodeError or UnicodeDecodeError if there is none."""
    cart_id, external_id, item = _decode(payload)
    return CartId(cart_id), external_id, item
