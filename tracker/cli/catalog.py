"""`tracker catalog`: take products in from a CSV, and give them out as one."""

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import click

from tracker.cli.database import migrated_database
from tracker.errors import TrackerError
from tracker.features.catalog.csv_file import FileError, ProductFile
from tracker.features.catalog.service import Imported, export_products, import_products
from tracker.postgres.engine import engine_on
from tracker.runtime.features import load_settings


class BadLinesError(TrackerError):
    """A file has lines that are no products, and nothing of it was imported."""


@dataclass
class _BadLines:
    """Shows each bad line, and counts them."""

    count: int = 0

    def report(self, number: int, what: str) -> None:
        self.count += 1
        over_the_bar = "\r\x1b[K" if sys.stderr.isatty() else ""
        click.echo(f"{over_the_bar}line {number}: {what}", err=True)


@click.group()
def catalog() -> None:
    """Import or export the products."""


@catalog.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--skip-bad", is_flag=True, help="Import the good lines; else one bad line keeps all of them out.")
def import_(file: BinaryIO, *, skip_bad: bool) -> None:
    """Put the products of FILE into the catalog, over those with the same SKU; - reads standard input.

    FILE is a CSV in UTF-8. Its first line names the columns: sku, title, item_type, price (in cents),
    currency and, if wanted, description and active (true or false).
    """
    bad = _BadLines()

    def confirm() -> None:
        if bad.count and not skip_bad:
            msg = f"nothing was imported: {bad.count} bad lines; mend them, or leave them out with --skip-bad"
            raise BadLinesError(msg)

    with _progress(file) as on_read:
        products = ProductFile(file, bad.report, on_read)
        with _database() as url:
            done = asyncio.run(_import(url, products, bad.report, confirm))
    click.echo(
        f"{done.total} products: {done.new} new, {done.changed} changed, {done.unchanged} unchanged, "
        f"{bad.count} bad lines"
    )


@catalog.command()
@click.argument("file", type=click.File("wb", lazy=True), default="-")
def export(file: BinaryIO) -> None:
    """Write all products to FILE, as a CSV that import takes; without FILE to standard output."""

    async def write(data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise FileError(f"the file cannot be written: {error.strerror}") from error

    with _database() as url:
        count = asyncio.run(_export(url, write))
    file.flush()
    click.echo(f"{count} products", err=True)


async def _import(
    url: str, products: ProductFile, report: Callable[[int, str], None], confirm: Callable[[], None]
) -> Imported:
    # A statement may take its time: a large catalog takes minutes.
    async with engine_on(url, command_timeout_s=None) as engine:
        return await import_products(engine, products, report=report, confirm=confirm)


async def _export(url: str, write: Callable[[bytes], Awaitable[None]]) -> int:
    async with engine_on(url, command_timeout_s=None) as engine:
        return await export_products(engine, write)


def _database() -> contextlib.AbstractContextManager[str]:
    # As for `tracker serve`: products may come before the first start.
    return migrated_database(load_settings(os.environ), upgrades_embedded=True)


@contextlib.contextmanager
def _progress(file: BinaryIO) -> Iterator[Callable[[int], None]]:
    """Yield what shows how far `file` is read, where a terminal is there to show it and its end is known."""
    status = os.fstat(file.fileno())
    if not (sys.stderr.isatty() and stat.S_ISREG(status.st_mode)):
        yield lambda _: None
        return
    with click.progressbar(length=status.st_size, label="reading", file=sys.stderr) as bar:
        yield bar.update
