"""The dead letters of all workers of a data folder, as data of carts that can be erased and exported.

They are no rows: no transaction brings back what was removed here, so this is done last before the commit.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Final

from tracker.ingest.dead_letters import DeadLetter, DeadLetters
from tracker.ingest.items import CartId
from tracker.ingest.worker_folders import worker_folders

KIND: Final = "dead_letters"
"""Name of these things in counts and in the exported document."""


class DeadLetterData:
    """The dead letters of some carts, in the folders of all workers."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def erase(self, cart_ids: Collection[CartId]) -> int:
        """Remove the dead letters of some carts; return how many there were.

        Raises ConfigurationError while somebody sends dead letters again, OSError if they cannot be removed.
        """
        return sum(DeadLetters(folder).forget(cart_ids) for folder in worker_folders(self._data_dir))

    def export(self, cart_ids: Collection[CartId]) -> list[bytes]:
        """Return the dead letters of some carts, each as JSON; oldest first in each folder."""
        found = (letter for folder in worker_folders(self._data_dir) for letter in DeadLetters(folder).all())
        return [_exported(letter) for letter in found if letter.key[0] in cart_ids]


def _exported(letter: DeadLetter) -> bytes:
    """Return a dead letter as JSON: in ASCII, as its texts may be no UTF-8."""
    cart_id, product_id = letter.key
    item = letter.item
    fields = {
        "cart_id": cart_id,
        "product_id": product_id,
        "name": item.name,
        "price": item.value,
        "quantity": item.quantity,
        "refused_at": letter.at,
        "error": letter.error,
    }
    return json.dumps(fields).encode("ascii")
