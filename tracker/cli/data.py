"""`tracker prune`, `erase` and `export`."""

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

import click

from tracker.cli.database import migrated_database
from tracker.errors import InvalidInputError, NotFoundError
from tracker.features.carts.domain import parse_cart_id
from tracker.features.data_lifecycle import service
from tracker.features.data_lifecycle.domain import Amount, DataSubject, amount_text, parse_age
from tracker.features.data_lifecycle.export import Export
from tracker.ingest.dead_letter_data import DeadLetterData
from tracker.ingest.items import CartId
from tracker.ingest.last_stamp import load_stamp
from tracker.ingest.replay import last_stamp
from tracker.ingest.worker_folders import worker_folders
from tracker.kit.clock import stamp_at
from tracker.kit.files import SystemFiles
from tracker.postgres.engine import engine_on
from tracker.runtime.features import all_data, load_settings
from tracker.settings import FolderSettings

LOCK_TIMEOUT_S: Final = 2.0
"""Seconds to wait for a lock that somebody else holds; then the transaction is tried again from its beginning."""

_PROGRESS_STEPS: Final = 0x10000


@contextlib.contextmanager
def _database() -> Iterator[tuple[str, Path]]:
    """Yield the URL of the migrated database, and the data folder."""
    settings = load_settings(os.environ)
    with migrated_database(settings) as url:
        yield url, settings[FolderSettings].data_dir


def _age(_: click.Context, __: click.Parameter, text: str) -> timedelta:
    try:
        return parse_age("it", text)
    except InvalidInputError as error:
        raise click.BadParameter(f"{error}; got {text!r}") from None


@click.command()
@click.option("--older-than", "age", required=True, callback=_age, metavar="AGE", help="12h, 90d, 2w.")
@click.option("--dry-run", is_flag=True, help="Only say how much it would be.")
def prune(age: timedelta, *, dry_run: bool) -> None:
    """Remove the carts to which nothing has happened for a time, with their items and reservations.

    Purchased carts and orders stay. What is older and waits in a journal that is replayed later does not come back. It
    may run while Tracker serves.
    """
    before = datetime.now(UTC) - age
    with _database() as (url, _):
        pruned = asyncio.run(_prune(url, before, dry_run=dry_run))
    verb = "would be removed" if dry_run else "removed"
    click.echo(f"older than {before:%Y-%m-%dT%H:%M:%SZ}: {amount_text(pruned)} {verb}")


async def _prune(url: str, before: datetime, *, dry_run: bool) -> Amount:
    async with engine_on(url, lock_timeout_s=LOCK_TIMEOUT_S) as engine:
        with _progress() as on_progress:
            return await service.prune(engine, all_data(), before, dry_run=dry_run, on_progress=on_progress)


@contextlib.contextmanager
def _progress() -> Iterator[service.OnProgress]:
    """Yield what shows how far the carts are looked through, where a terminal is there to show it."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    with click.progressbar(length=_PROGRESS_STEPS, label="carts", file=sys.stderr) as bar:

        def show(upto: CartId | None) -> None:
            # Their ids are random, so the first digits say how many of all they are.
            bar.update((_PROGRESS_STEPS if upto is None else int(upto[:4], 16)) - bar.pos)

        yield show


def _subject(cart: str | None, customer: str | None) -> DataSubject:
    """Return whose data is meant; raise click.UsageError unless exactly one is named."""
    if (cart is None) == (customer is None):
        raise click.UsageError("name one of --cart and --customer")
    if customer is not None:
        if not customer or not customer.isprintable():
            raise click.BadParameter("must be printable text", param_hint="--customer")
        return DataSubject(customer=customer)
    cart_id = parse_cart_id(cart)
    if cart_id is None:
        raise click.BadParameter(f"must be a UUID; got {cart!r}", param_hint="--cart")
    return DataSubject(cart_id=cart_id)


_cart_option = click.option("--cart", metavar="ID", help="A cart, with those that were merged into it.")
_customer_option = click.option("--customer", metavar="SUBJECT", help="A customer, as the tokens name them (sub).")


@click.command()
@_cart_option
@_customer_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(cart: str | None, customer: str | None, *, yes: bool) -> None:
    """Erase a cart, or everything that leads to a customer.

    What was sent until now does not come back, also not from a journal that is replayed later or from another machine.
    Orders stay for the books, but under a random name instead of the customer's. It may be repeated.
    """
    subject = _subject(cart, customer)
    with _database() as (url, data_dir):
        if not yes:
            found = asyncio.run(_amount(url, subject))
            click.confirm(f"{subject}: {amount_text(found)}. Erase that for good?", abort=True, err=True)
        erased = asyncio.run(_erase(url, subject, data_dir))
    click.echo(f"{subject}: {amount_text(erased)} erased")
    for path in sorted(data_dir.glob("workers/*/*.corrupt")):
        click.echo(f"{path} is a damaged journal that was kept; it may hold items of anybody: remove it", err=True)


async def _amount(url: str, subject: DataSubject) -> Amount:
    async with engine_on(url, lock_timeout_s=LOCK_TIMEOUT_S) as engine:
        return await service.amount_of(engine, all_data(), subject)


async def _erase(url: str, subject: DataSubject, data_dir: Path) -> Amount:
    stamp = max(stamp_at(datetime.now(UTC)), _newest_stamp(data_dir))
    async with engine_on(url, lock_timeout_s=LOCK_TIMEOUT_S) as engine:
        return await service.erase(engine, all_data(), DeadLetterData(data_dir), subject, stamp=stamp)


def _newest_stamp(data_dir: Path) -> int:
    """Return the greatest stamp of this machine's workers: ahead of the clock if that was turned back."""
    files = SystemFiles()
    newest = 0
    for folder in worker_folders(data_dir):
        with contextlib.suppress(FileNotFoundError):  # a segment goes once all of it is stored
            newest = max(newest, last_stamp(files, folder))
        newest = max(newest, load_stamp(files, folder))
    return newest


@click.command()
@_cart_option
@_customer_option
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
def export(cart: str | None, customer: str | None, file: Path) -> None:
    """Write all that is stored of a cart or a customer to FILE, as JSON; without FILE to standard output."""
    subject = _subject(cart, customer)
    with _database() as (url, data_dir):
        amount = asyncio.run(_export(url, subject, data_dir, file))
    if not amount.total():
        raise NotFoundError(f"nothing is stored of {subject}")
    click.echo(f"{subject}: {amount_text(amount)}", err=True)


async def _export(url: str, subject: DataSubject, data_dir: Path, file: Path) -> Amount:
    async with engine_on(url, lock_timeout_s=LOCK_TIMEOUT_S) as engine:
        document = Export(engine, all_data(), DeadLetterData(data_dir), subject)
        with contextlib.ExitStack() as stack:
            output: BinaryIO | None = None
            async for piece in document.pieces():
                output = output or stack.enter_context(_written(file))
                output.write(piece)
    return document.amount


@contextlib.contextmanager
def _written(file: Path) -> Iterator[BinaryIO]:
    """Yield what writes a file that nobody else may read, or standard output."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fchmod(descriptor, 0o600)  # it may have been there before
            yield output
