"""Everything a process shares, built once and in one place."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from tracker.features.carts.batch_writer import BatchWriter
from tracker.features.carts.service import CartReader, CartService, keeps_journal
from tracker.features.catalog.service import Catalog
from tracker.features.checkout.jobs import settle_later
from tracker.features.checkout.payments import processor_of
from tracker.features.checkout.service import Checkout
from tracker.features.customer_carts.service import CustomerCarts
from tracker.features.identity.service import Identity, NoIdentity
from tracker.features.warranties.rates import load_rates
from tracker.features.warranties.service import Warranties
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.delivery import Delivery
from tracker.ingest.flusher import Flusher
from tracker.ingest.journal.journal import FileJournal, Limits
from tracker.ingest.journal.protocol import Journal, NoJournal
from tracker.ingest.journal.recovery import Recovery
from tracker.ingest.journal_record import encode_record
from tracker.ingest.pipeline import Pipeline
from tracker.ingest.replay import last_stamp, replay
from tracker.kit.clock import Clock, Stamper
from tracker.kit.deadlines import Waits, let_go
from tracker.kit.files import Files
from tracker.kit.last_stamp import save_stamp
from tracker.kit.worker_folders import WorkerFolder
from tracker.postgres.engine import create_engine, dispose
from tracker.postgres.request_database import RequestDatabase
from tracker.runtime.job_runners import follow_up_of, reservations_of
from tracker.settings import Ack, Settings

LAST_FLUSH_TIMEOUT_S: Final = 4.0
"""Seconds to store what is left when the process stops; with the requests in hand (3 s) and the jobs (2.5 s) a stop
stays within 12 s, unless the disk hangs as well."""

WRITE_CONNECTIONS: Final = 3
"""Connections to PostgreSQL for the flusher, the recovery and the warranties alone: a hundred readers must not keep
them from writing. One for each is enough, as none writes two batches at once."""

REQUEST_LOCK_TIMEOUT_S: Final = 1.0
"""Seconds that a request waits for a cart that another one has locked; while it waits, no other request can use its
connection."""

MIB: Final = 1024 * 1024

SEGMENT_BYTES: Final = 16 * MIB
"""Size of a journal's segment, in bytes, at which the next one begins; less where the journal may not be large."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Context:
    """The parts of a running process."""

    clock: Clock
    database: RequestDatabase
    storing: Pipeline
    carts: CartService
    customer_carts: CustomerCarts
    catalog: Catalog
    identity: Identity
    waits: Waits
    warranties: Warranties
    checkout: Checkout | None
    """Service that turns carts into orders; None if no payment processor is set, so that nobody can pay."""
    lost_items: int = 0
    """Number of items that were accepted and are stored nowhere, once the process has ended."""

    def stop_waiting(self) -> None:
        """Tell every waiting request that its confirmation did not come in time: the process is about to end."""
        self.carts.stop_waiting()
        self.waits.end()


@contextlib.asynccontextmanager
async def open_context(
    settings: Settings, *, url: str, folder: WorkerFolder, clock: Clock, files: Files
) -> AsyncIterator[Context]:
    """Build the parts for the database at `url` and a worker's `folder`, and stop them at the end."""
    write_engine = create_engine(url, pool_size=WRITE_CONNECTIONS)
    request_engine = create_engine(url, pool_size=settings.request_connections, lock_timeout_s=REQUEST_LOCK_TIMEOUT_S)
    waits = Waits()
    database = RequestDatabase(request_engine, waits)
    aggregator = Aggregator(settings.buffer_max_mb * MIB)
    stamper = Stamper(clock, folder.number, last=await asyncio.to_thread(last_stamp, files, folder.path))
    follow_up = follow_up_of(settings)
    writer = BatchWriter(write_engine, follow_up)
    dead_letters = DeadLetters(folder.path)
    delivery = Delivery(writer.write, dead_letters)
    recovery = Recovery(
        settings.data_dir,
        folder,
        files,
        replay=partial(replay, delivery, max_items=settings.flush_max_items),
        last_stamp=lambda: stamper.last,
    )
    journal = _journal(settings, folder, files, aggregator, stamper, recovery)

    def keep_stamp() -> None:
        try:
            save_stamp(files, folder.path, stamper.last, durably=False)
        except OSError as error:
            logger.warning("the last stamp cannot be kept", extra={"error": str(error)})

    def release_journal() -> None:
        oldest = aggregator.oldest_stamp()
        journal.release(stamper.last + 1 if oldest is None else oldest)

    flusher = Flusher(
        aggregator,
        delivery,
        interval_ms=settings.flush_interval_ms,
        max_items=settings.flush_max_items,
        on_flush=keep_stamp,
        on_committed=release_journal,
    )
    carts = CartService(
        stamper=stamper,
        journal=journal,
        aggregator=aggregator,
        flusher=flusher,
        reader=CartReader(database, reservations_of(settings)),
        ack=settings.ack,
        commit_timeout_s=settings.commit_timeout_s,
    )
    warranties = Warranties(
        writing=RequestDatabase(write_engine, waits),
        reading=database,
        waits=waits,
        stamper=stamper,
        keep_stamp=keep_stamp,
        rates=load_rates(settings.warranty_rates),
    )
    identity = _identity(settings, clock, waits)
    processor = processor_of(settings)
    checkout = None
    if processor is not None:
        checkout = Checkout(database, waits, carts, processor, settle_later=settle_later, follow_up=follow_up)
    context = Context(
        clock=clock,
        database=database,
        storing=Pipeline(aggregator, journal, flusher, delivery, dead_letters, recovery),
        carts=carts,
        customer_carts=CustomerCarts(database, carts, follow_up),
        catalog=Catalog(database),
        checkout=checkout,
        identity=identity,
        warranties=warranties,
        waits=waits,
    )
    recovery.start()
    await journal.start()
    flusher.start()
    logger.info("started", extra={"worker": folder.number, "ack": settings.ack.value, "journal": str(folder.path)})
    try:
        yield context
    finally:
        logger.info("stopping", extra={"worker": folder.number, "items_in_hand": len(aggregator)})
        await warranties.close()
        await recovery.close()
        await flusher.close(LAST_FLUSH_TIMEOUT_S)
        await journal.close()
        if settings.ack is Ack.MEMORY:
            context.lost_items = len(aggregator)
        await asyncio.gather(
            let_go(identity.close()),
            *([] if processor is None else [let_go(processor.close())]),
            dispose(write_engine),
            dispose(request_engine),
        )
        logger.info("stopped", extra={"worker": folder.number, "items_left": len(aggregator)})


def _identity(settings: Settings, clock: Clock, waits: Waits) -> Identity:
    if settings.oidc_issuer is None:
        return NoIdentity()
    # joserfc, cryptography and httpx take 16 MB and 0.15 s: only where they are used.
    from tracker.features.identity.openid import OpenID  # noqa: PLC0415

    return OpenID(settings, clock, waits)


def _journal(
    settings: Settings, folder: WorkerFolder, files: Files, aggregator: Aggregator, stamper: Stamper, recovery: Recovery
) -> Journal:
    if not keeps_journal(settings.ack):
        return NoJournal()
    max_bytes = settings.journal_max_mb * MIB
    limits = Limits(
        max_bytes=max_bytes,
        # Only whole segments can be removed, so each may take only a part of the budget.
        segment_bytes=min(SEGMENT_BYTES, max_bytes // 8),
        min_free_bytes=settings.journal_min_free_mb * MIB,
        sync_interval_s=0 if settings.ack is Ack.FSYNC else settings.journal_sync_ms / 1000,
    )

    def waiting() -> Iterator[tuple[bytes, int]]:
        for (cart_id, external_id), item in aggregator.waiting():
            yield encode_record(cart_id, external_id, item), item.updated_stamp

    return FileJournal(
        folder.path,
        files,
        limits,
        waiting=waiting,
        last_stamp=lambda: stamper.last,
        leftover_bytes=lambda: recovery.leftover_bytes,
    )
