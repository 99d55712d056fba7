"""Writes everything that is stored of a cart or a customer as one JSON document.

It comes in pieces, a cart or a thing of a feature's list a line, so that it may be larger than the memory. Prices are
cents, times UTC (RFC 3339). The names of the fields are those of the routes.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.features.data_lifecycle.domain import DataSubject
from tracker.features.data_lifecycle.service import Features, carts_of, nothing
from tracker.features.feature_data import ExportList, Fields
from tracker.ingest import dead_letter_data
from tracker.ingest.dead_letter_data import DeadLetterData
from tracker.ingest.items import CartId
from tracker.postgres.retries import run_in_transaction

AT_ONCE: Final = 100
"""Number of carts, or things of a list, that are read in one transaction and held in memory."""

Id = TypeVar("Id", bound=str)

Read = Callable[[AsyncConnection, Collection[Id]], Awaitable[Sequence[Any]]]
"""Reads what has some ids, in one transaction."""


class Export:
    """The document, and how much it holds."""

    def __init__(self, engine: AsyncEngine, features: Features, letters: DeadLetterData, subject: DataSubject) -> None:
        self._engine = engine.execution_options(isolation_level="REPEATABLE READ")
        self._features = features
        self._letters = letters
        self._subject = subject
        self._lists: dict[str, ExportList] = {}
        for feature in features:
            self._lists |= feature.export_lists
        self.amount = nothing(features)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give out the document; nothing at all if nothing is stored.

        Raises DatabaseUnavailableError when PostgreSQL does not give it.
        """
        cart_ids, listed = await run_in_transaction(self._engine, self._ids)
        named = set() if self._subject.cart_id is None else {self._subject.cart_id}
        letters = self._letters.export(cart_ids | named)
        self.amount.update({"carts": len(cart_ids)} | {kind: len(ids) for kind, ids in listed.items()})
        self.amount[dead_letter_data.KIND] = len(letters)
        if not self.amount.total():
            return
        yield b'{"exported_at":%s,"carts":[' % msgspec.json.encode(datetime.now(UTC))
        async for cart, line in self._lines(sorted(cart_ids), self._carts):
            self.amount.update({kind: len(cart[kind]) for kind in self.amount if kind in cart})
            yield line
        for kind, ids in listed.items():
            yield _next_list(kind)
            async for _, line in self._lines(ids, self._lists[kind].read):
                yield line
        yield _next_list(dead_letter_data.KIND) + b",".join(b"\n" + letter for letter in letters) + b"\n]}\n"

    async def _ids(self, connection: AsyncConnection) -> tuple[set[CartId], dict[str, Sequence[str]]]:
        """Return the ids of the carts, and of the things of each list."""
        cart_ids = await carts_of(connection, self._subject)
        customer = self._subject.customer
        return cart_ids, {kind: await one.ids(connection, cart_ids, customer) for kind, one in self._lists.items()}

    async def _lines(self, ids: Sequence[Id], read: Read[Id]) -> AsyncIterator[tuple[Any, bytes]]:
        """Give out what `read` returns for the ids, each with its line of the document."""
        separator = b"\n"
        for start in range(0, len(ids), AT_ONCE):
            for found in await run_in_transaction(self._engine, partial(_reading, read, ids[start : start + AT_ONCE])):
                yield found, separator + msgspec.json.encode(found)
                separator = b",\n"

    async def _carts(self, connection: AsyncConnection, cart_ids: Collection[CartId]) -> list[Fields]:
        """Return the fields of those of some carts that are still there, from all features."""
        parts = [
            await feature.export_carts(connection, cart_ids)
            for feature in self._features
            if feature.export_carts is not None
        ]
        return [
            {name: field for part in parts for name, field in part[cart_id].items()}
            for cart_id in cart_ids
            if all(cart_id in part for part in parts)
        ]


async def _reading(read: Read[Id], ids: Collection[Id], connection: AsyncConnection) -> Sequence[Any]:
    return await read(connection, ids)


def _next_list(name: str) -> bytes:
    return b'\n],"%s":[' % name.encode()
