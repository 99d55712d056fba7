"""The service for warranties: it creates them, in groups, and shows them.

The job that archives warranties is written in their transaction; nobody waits for the archive.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.errors import DatabaseUnavailableError, InvalidInputError, KeyReusedError, NotFoundError, UnavailableError
from tracker.features.warranties import store
from tracker.features.warranties.domain import (
    Sale,
    Selection,
    Warranty,
    WarrantyId,
    check_sale,
    new_warranty_id,
    parse_warranty_id,
)
from tracker.features.warranties.group_commit import GroupCommit
from tracker.features.warranties.queue import archive_later
from tracker.features.warranties.rates import Rates
from tracker.kit.clock import Stamper, stamp_time, stamp_us
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres.error_classes import loggable
from tracker.postgres.request_database import TRANSACTION_TIMEOUT_S, RequestDatabase
from tracker.telemetry import tracing

STREAM_PAGE: Final = 500
"""Number of warranties that are read at a time for the whole list.

They take 1.6 ms of the event loop, of them at most 0.7 in one go.
"""

MAX_LISTS: Final = 32
"""Maximum number of whole lists on their way at a time; a further one gets a 503.

Each keeps a page in memory for as long as its reader takes.
"""

SUBMISSION_BYTES: Final = 2048
"""Bytes of memory for a warranty that waits to be committed, beside its title."""

KEY_REUSED: Final = "this Idempotency-Key was used for another warranty of this store; take a new one"

NO_SUCH_WARRANTY: Final = "there is no warranty of this id"

_OF_SALE: Final = ("item_type", "item_sku", "item_title", "item_cost")

logger = logging.getLogger(__name__)


class _New(NamedTuple):
    """A warranty that is to be created."""

    warranty: Warranty
    key: tuple[str, str] | None
    """Store and idempotency key of the request; None without a key."""
    stamp: int
    trace: dict[str, str]
    """The headers that name the trace of its request; empty without one."""


Known = dict[tuple[str, str], Warranty]
"""Warranties that were created before, by store and idempotency key."""


class Warranties:
    """Creates, finds and lists warranties for requests.

    Its methods, and what they return, raise DatabaseUnavailableError when PostgreSQL does not answer in time.
    """

    def __init__(
        self,
        *,
        writing: RequestDatabase,
        reading: RequestDatabase,
        timeouts: RequestTimeouts,
        stamper: Stamper,
        keep_stamp: Callable[[], None],
        rates: Rates,
    ) -> None:
        """Create by `writing` and show by `reading`, so that a reader of the whole list does not block writers."""
        self._writing = writing
        self._reading = reading
        self._timeouts = timeouts
        self._stamper = stamper
        self._keep_stamp = keep_stamp
        self._rates = rates
        self._lists = 0
        self.created = 0
        """Number of warranties that were created, repeats left out."""
        self._group_commit: GroupCommit[_New, Warranty] = GroupCommit(self._commit)

    def create(self, sale: Sale) -> asyncio.Future[Warranty]:
        """Create the warranty for a sale, and return a future for it, set once it is committed.

        The same key gives the same warranty. Raises InvalidInputError, BufferFullError; the future may also raise
        KeyReusedError.
        """
        check_sale(sale)
        created = self._group_commit.submit(self._made(sale), SUBMISSION_BYTES + len(sale.item_title))
        self._timeouts.limit(created, TRANSACTION_TIMEOUT_S, _late)
        return created

    async def find(self, warranty_id: str) -> Warranty:
        """Return a warranty; raise NotFoundError if there is none of this id."""
        wanted = parse_warranty_id(warranty_id)
        if wanted is not None:
            async with self._reading.transaction() as connection:
                found = await store.find(connection, [wanted])
            if found:
                return found[0]
        raise NotFoundError(NO_SUCH_WARRANTY)

    async def page(
        self, selection: Selection | None, *, after: WarrantyId | None, limit: int
    ) -> tuple[list[Warranty], WarrantyId | None]:
        """Return up to `limit` warranties behind the id `after`, and that of the last one if others follow."""
        async with self._reading.transaction() as connection:
            found = await store.page(connection, selection, after=after, limit=limit + 1)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def stream(self, selection: Selection | None) -> AsyncIterator[list[Warranty]]:
        """Return an iterator over all warranties that there are now, page by page.

        No connection is held in between, however slowly they are taken. Warranties that get their id meanwhile are
        left out, so that the list has an end. The first page is read before this returns. Raises UnavailableError when
        too many lists are on their way.
        """
        if self._lists >= MAX_LISTS:
            raise UnavailableError("too many lists are being read; read it by pages, with limit")
        async with self._reading.transaction() as connection:
            newest = await store.newest_id(connection)
            first = await store.page(connection, selection, after=None, limit=STREAM_PAGE, until=newest)
        return self._pages(selection, first, newest)

    async def _pages(
        self, selection: Selection | None, found: list[Warranty], newest: WarrantyId | None
    ) -> AsyncIterator[list[Warranty]]:
        self._lists += 1
        try:
            while found:
                yield found
                if len(found) < STREAM_PAGE:
                    return
                async with self._reading.transaction() as connection:
                    found = await store.page(connection, selection, after=found[-1].id, limit=STREAM_PAGE, until=newest)
        finally:
            self._lists -= 1

    async def close(self) -> None:
        """Let the group in hand end."""
        await self._group_commit.close()

    def _made(self, sale: Sale) -> _New:
        stamp = self._stamper.next()
        terms = self._rates.terms_of(sale.item_type, sale.item_cost)
        warranty = Warranty(
            id=new_warranty_id(stamp_us(stamp)),
            store_uuid=sale.store_uuid,
            item_type=sale.item_type,
            item_sku=sale.item_sku,
            item_title=sale.item_title,
            item_cost=sale.item_cost,
            term_months=terms.months,
            price=terms.price,
            terms_version=terms.version,
            created_at=stamp_time(stamp),
        )
        key = None if sale.idempotency_key is None else (sale.store_uuid, sale.idempotency_key)
        return _New(warranty, key, stamp, tracing.headers())

    async def _commit(self, group: Sequence[_New]) -> list[Warranty | Exception]:
        """Create the warranties of a group in one transaction, but for those whose key was used before."""
        self._keep_stamp()
        try:
            async with self._writing.transaction() as connection:
                known = await _of_keys(connection, group)
                new = list(_first_of_keys(group, known))
                created = await _create(connection, new) if new else set()
                if late := [one for one in group if one.warranty.id not in created and one.key not in known]:
                    known |= await _of_keys(connection, late)  # its key came twice at once
        except SQLAlchemyError as error:
            if len(group) > 1:
                raise  # until it is alone
            logger.error("PostgreSQL refuses a warranty", extra={"error": loggable(error)})  # noqa: TRY400  # the trace says nothing
            return [InvalidInputError("", "holds a value that the database refuses")]
        self.created += len(created)
        return [one.warranty if one.warranty.id in created else _repeated(one, known) for one in group]


def _late() -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        "the database has not confirmed the warranty in time; the same Idempotency-Key never makes a second one"
    )


async def _of_keys(connection: AsyncConnection, group: Sequence[_New]) -> Known:
    keys = [one.key for one in group if one.key is not None]
    return await store.of_keys(connection, keys) if keys else {}


def _first_of_keys(group: Sequence[_New], known: Known) -> Iterator[_New]:
    """Yield the warranties that are to be created: for each key the first, if the key was not used before."""
    seen: set[tuple[str, str] | None] = set(known)
    for one in group:
        if one.key not in seen:
            yield one
        if one.key is not None:
            seen.add(one.key)


async def _create(connection: AsyncConnection, new: Sequence[_New]) -> set[WarrantyId]:
    """Create warranties but for those whose key another process used meanwhile: these must not change their items."""
    await store.add_stores(connection, {one.warranty.store_uuid: one.warranty.created_at for one in reversed(new)})
    await store.add_items(connection, _items_of(new))
    created = await store.create(connection, [(one.warranty, one.key and one.key[1]) for one in new])
    if told := _items_of(one for one in new if one.warranty.id in created):
        await store.write_items(connection, told)
    traces = {one.warranty.id: one.trace for one in new if one.trace}
    await archive_later(connection, sorted(created), traces=traces)
    return created


def _items_of(new: Iterable[_New]) -> store.Items:
    """Return the items as the latest of these warranties tell them; they come in the order of their stamps."""
    return {
        (warranty.item_type, warranty.item_sku): (warranty.item_title, warranty.item_cost, stamp)
        for warranty, _, stamp, _ in new
    }


def _repeated(one: _New, known: Known) -> Warranty | Exception:
    """Return the warranty that was created under the same key, if it was for the same sale."""
    assert one.key is not None  # noqa: S101  # only a key can have kept it from being created
    first = known[one.key]
    same = all(getattr(first, field) == getattr(one.warranty, field) for field in _OF_SALE)
    return first if same else KeyReusedError(KEY_REUSED)
