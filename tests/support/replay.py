"""Replays a shop's order lines against a running Tracker, and proves that all of it arrived.

The one idea: what PostgreSQL holds afterwards is compared with a fold of the same file that shares
no code with Tracker, so that a rule that is wrong in Tracker cannot be wrong here in the same way.

    python -m tests.support.replay FILE [--rows N] [--url URL] [--connections N]

FILE is a CSV, plain or gzipped, with the columns of the "Online Retail" data set. An invoice is a
cart, a line of it a `POST /item`. A cart's lines go one after the other, its cookie kept as a browser
keeps it; many carts go at the same time. The database is the one that Tracker's own settings name
(`DATABASE_URL`, or else `TRACKER_DATA_DIR`). Nothing else may create carts there meanwhile: a cart
that belongs to no invoice is reported.
"""

import asyncio
import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import asyncpg
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.support.order_lines import Line, read_lines
from tracker.cli.database import database_of
from tracker.errors import TrackerError
from tracker.runtime.features import load_settings
from tracker.settings import DatabaseSettings, FolderSettings, Settings

DEFAULT_CONNECTIONS: Final = 32

REPLY_TIMEOUT_S: Final = 60.0
MAX_TRIES: Final = 30
MAX_RETRY_AFTER_S: Final = 10
"""A 503 that asks for longer, or comes for the thirtieth time, ends the replay."""

FLUSH_TIMEOUT_S: Final = 30.0
"""For the last flush to arrive, from the last answer on."""
POLL_S: Final = 0.2

MAX_EXAMPLES: Final = 10


class ReplayError(click.ClickException):
    """The replay cannot go on; shown as one line, exit code 1."""


class Fields(NamedTuple):
    """What an item holds."""

    name: str | None
    value: int | None
    quantity: int


Cart = dict[str, Fields]
"""Items by external id, first added first."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a replay has sent."""

    rows: int
    retries: int
    seconds: float
    cart_ids: dict[str, str]
    """The id of each invoice's cart, from the cookie that the service set."""


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """Something that PostgreSQL holds otherwise than the file says; without an item: a whole cart."""

    cart_id: str
    external_id: str | None
    what: str

    def __str__(self) -> str:
        item = "" if self.external_id is None else f", item {self.external_id!r}"
        return f"cart {self.cart_id}{item}: {self.what}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of a comparison."""

    items: int
    """Found in both the file and PostgreSQL, and compared field by field."""
    differences: list[Difference]


# Reading the file


def invoices_of(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Group lines by invoice; those of one invoice need not stand together."""
    invoices: dict[str, list[Line]] = {}
    for line in lines:
        invoices.setdefault(line.invoice, []).append(line)
    return invoices


# What is to be expected


def expected_carts(lines: Sequence[Line], cart_ids: Mapping[str, str]) -> dict[str, Cart]:
    """Return what each cart must hold after `lines`, by cart id."""
    return {cart_ids[invoice]: fold(of_invoice) for invoice, of_invoice in invoices_of(lines).items()}


def fold(lines: Sequence[Line]) -> Cart:
    """Return the cart that lines lead to: the last one wins, but a null name leaves the name as it is."""
    cart: Cart = {}
    for line in lines:
        before = cart.get(line.external_id)
        name = before.name if before and line.name is None else line.name
        cart[line.external_id] = Fields(name, line.value, line.quantity)
    return cart


# Sending


async def send(
    lines: Sequence[Line],
    url: str,
    *,
    connections: int = DEFAULT_CONNECTIONS,
    on_sent: Callable[[int], None] = lambda _: None,
) -> Sent:
    """Send every line, and call `on_sent` with the number of lines of every finished invoice."""
    invoices = invoices_of(lines)
    started = time.monotonic()
    async with aiohttp.TCPConnector(limit=connections) as connector:
        sender = _Sender(f"{url.rstrip('/')}/item", connector, on_sent)
        await sender.send(invoices, connections)
    seconds = time.monotonic() - started
    if len(set(sender.cart_ids.values())) != len(invoices):
        raise ReplayError("two invoices were given the same cart")
    return Sent(sender.rows, sender.retries, seconds, sender.cart_ids)


class _Sender:
    def __init__(self, url: str, connector: aiohttp.BaseConnector, on_sent: Callable[[int], None]) -> None:
        self._url = url
        self._connector = connector
        self._on_sent = on_sent
        self.rows = 0
        self.retries = 0
        self.cart_ids: dict[str, str] = {}

    async def send(self, invoices: Mapping[str, list[Line]], connections: int) -> None:
        # One iterator for all of them: who is done takes the next invoice.
        waiting = iter(invoices.items())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(connections):
                    group.create_task(self._send_invoices(waiting))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _send_invoices(self, waiting: Iterator[tuple[str, list[Line]]]) -> None:
        for invoice, lines in waiting:
            self.cart_ids[invoice] = await self._send_invoice(invoice, lines)
            self._on_sent(len(lines))

    async def _send_invoice(self, invoice: str, lines: list[Line]) -> str:
        """Send the lines of an invoice as one browser would, and return its cart's id."""
        seen: set[str] = set()
        async with aiohttp.ClientSession(
            connector=self._connector,
            connector_owner=False,
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # takes cookies of an IP address too
            json_serialize=partial(json.dumps, ensure_ascii=False),
            timeout=aiohttp.ClientTimeout(total=REPLY_TIMEOUT_S),
        ) as browser:
            for line in lines:
                seen.update(await self._send_line(browser, line))
                self.rows += 1
        if len(seen) != 1:
            raise ReplayError(f"invoice {invoice} was given {len(seen)} carts instead of one: {sorted(seen)}")
        return _uuid_of(seen.pop())

    async def _send_line(self, browser: aiohttp.ClientSession, line: Line) -> set[str]:
        """Send a line until it is accepted, and return the ids of the carts in the replies' cookies."""
        seen: set[str] = set()
        for _ in range(MAX_TRIES):
            try:
                # A redirect is not followed: a 204 at its end would not be the answer of `POST /item`.
                async with browser.post(self._url, json=line.body, allow_redirects=False) as reply:
                    seen.update(morsel.value for name, morsel in reply.cookies.items() if name == "cart_id")
                    if reply.status == 204:
                        return seen
                    wait_s = await _retry_after_s(reply, line)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise ReplayError(f"{_sent_as(line)}: no answer: {type(error).__name__}: {error}") from None
            self.retries += 1
            await asyncio.sleep(wait_s)
        raise ReplayError(f"{_sent_as(line)}: still 503 after {MAX_TRIES} tries")


async def _retry_after_s(reply: aiohttp.ClientResponse, line: Line) -> int:
    """Return after how many seconds a reply asks for a retry; raise ReplayError if it does not."""
    retry_after = reply.headers.get("Retry-After", "")
    if reply.status == 503 and retry_after.isdecimal() and int(retry_after) <= MAX_RETRY_AFTER_S:
        return int(retry_after)
    text = " ".join((await reply.text(errors="replace")).split())[:300]
    after = f" (Retry-After: {retry_after})" if retry_after else ""
    raise ReplayError(f"{_sent_as(line)}: the answer was {reply.status}{after} instead of 204: {text}")


def _sent_as(line: Line) -> str:
    return f"invoice {line.invoice}, item {line.external_id!r}"


def _uuid_of(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ReplayError(f"the cookie cart_id holds no UUID: {text!r}") from None


# Comparing

# Carts from before the replay do not concern it; a newer one that belongs to no invoice was created
# by mistake.
_CARTS: Final = "SELECT id FROM carts"

_ITEMS: Final = """
SELECT cart_id, external_id, name, value, quantity FROM items
WHERE cart_id = ANY($1::uuid[])
ORDER BY cart_id, added_stamp
"""


async def compare_when_flushed(
    url: str, expected: Mapping[str, Cart], *, known: Collection[str], deadline: float
) -> Comparison:
    """Compare again and again until nothing differs or it is `deadline` on the monotonic clock."""
    while True:
        comparison = await compare(url, expected, known=known)
        if not comparison.differences or time.monotonic() >= deadline:
            return comparison
        await asyncio.sleep(POLL_S)


async def compare(url: str, expected: Mapping[str, Cart], *, known: Collection[str] = ()) -> Comparison:
    """Compare PostgreSQL at `url` with the expected carts, by cart id, once.

    Other carts that are not `known` from before are differences.
    """
    connection = await _connect(url)
    try:
        # One snapshot: a flush between the two statements would look like a difference.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            stored = await _stored_carts(connection, expected.keys(), known)
    finally:
        await connection.close()
    items = sum(len(cart.keys() & stored.get(cart_id, {}).keys()) for cart_id, cart in expected.items())
    return Comparison(items, sorted(_differences(expected, stored), key=str))


async def known_carts(url: str) -> set[str]:
    """Return the ids of all carts; raise ReplayError where Tracker's tables are missing."""
    connection = await _connect(url)
    try:
        return {str(row["id"]) for row in await connection.fetch(_CARTS)}
    except asyncpg.UndefinedTableError:
        msg = "the database has no table of carts; set DATABASE_URL or TRACKER_DATA_DIR as for the service"
        raise ReplayError(msg) from None
    finally:
        await connection.close()


async def _connect(url: str) -> Any:  # noqa: ANN401  # asyncpg ships no types
    try:
        return await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError) as error:
        raise ReplayError(f"the database cannot be reached: {error}") from None


async def _stored_carts(connection: Any, cart_ids: Collection[str], known: Collection[str]) -> dict[str, Cart]:  # noqa: ANN401  # asyncpg ships no types
    carts: dict[str, Cart] = {str(row["id"]): {} for row in await connection.fetch(_CARTS)}
    carts = {cart_id: cart for cart_id, cart in carts.items() if cart_id in cart_ids or cart_id not in known}
    for cart_id, external_id, *fields in await connection.fetch(_ITEMS, list(cart_ids)):
        carts[str(cart_id)][external_id] = Fields(*fields)
    return carts


def _differences(expected: Mapping[str, Cart], stored: Mapping[str, Cart]) -> Iterator[Difference]:
    for cart_id in stored.keys() - expected.keys():
        yield Difference(cart_id, None, "belongs to no invoice")
    for cart_id, cart in expected.items():
        if cart_id in stored:
            yield from _differences_in_cart(cart_id, cart, stored[cart_id])
        else:
            yield Difference(cart_id, None, f"is missing, with {len(cart)} items")


def _differences_in_cart(cart_id: str, expected: Cart, stored: Cart) -> Iterator[Difference]:
    for external_id in stored.keys() - expected.keys():
        yield Difference(cart_id, external_id, "should not be there")
    for external_id, fields in expected.items():
        if external_id not in stored:
            yield Difference(cart_id, external_id, "is missing")
            continue
        for field, should, found in zip(Fields._fields, fields, stored[external_id], strict=True):
            if should != found:
                yield Difference(cart_id, external_id, f"{field} is {found!r} instead of {should!r}")
    # Only what is in both: a missing item is reported once, not as another order too.
    should_order = [external_id for external_id in expected if external_id in stored]
    found_order = [external_id for external_id in stored if external_id in expected]
    if should_order != found_order:
        yield Difference(cart_id, None, f"the order is {found_order} instead of {should_order}")


# The command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rows", type=click.IntRange(min=1), help="Send only the first lines of the file.")
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Where Tracker listens.")
@click.option(
    "--connections",
    type=click.IntRange(min=1),
    default=DEFAULT_CONNECTIONS,
    show_default=True,
    help="Invoices sent at the same time.",
)
@click.pass_context
def main(context: click.Context, file: Path, rows: int | None, url: str, connections: int) -> None:
    """Replay the order lines in FILE, and compare every cart and item in PostgreSQL with them.

    Exits with 0 if at least one line was sent and nothing differs, else with 1.
    """
    lines = read_lines(file, rows)
    if not lines:
        raise ReplayError(f"{file}: there is no order line in it")
    try:
        settings = load_settings(os.environ)
        _require_database(settings)
        with database_of(settings) as database_url:
            sent, comparison = asyncio.run(_replay(lines, url, connections, database_url))
    except TrackerError as error:
        raise ReplayError(str(error)) from None
    _report(sent, comparison)
    context.exit(1 if comparison.differences else 0)


def _require_database(settings: Settings) -> None:
    """Raise ReplayError where `database` would create an empty embedded PostgreSQL, which no service uses."""
    data_dir = settings[FolderSettings].data_dir
    if settings[DatabaseSettings].database_url is None and not (data_dir / "postgres").exists():
        msg = f"DATABASE_URL is not set, and no embedded PostgreSQL is in the folder {data_dir}"
        raise ReplayError(f"{msg}; set DATABASE_URL or TRACKER_DATA_DIR as for the service")


async def _replay(lines: list[Line], url: str, connections: int, database_url: str) -> tuple[Sent, Comparison]:
    known = await known_carts(database_url)
    with _progress(len(lines)) as on_sent:
        sent = await send(lines, url, connections=connections, on_sent=on_sent)
    deadline = time.monotonic() + FLUSH_TIMEOUT_S
    expected = expected_carts(lines, sent.cart_ids)
    return sent, await compare_when_flushed(database_url, expected, known=known, deadline=deadline)


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield partial(progress.advance, progress.add_task("sending", total=total))


def _report(sent: Sent, comparison: Comparison) -> None:
    retried = f", {sent.retries:,} tries refused with 503" if sent.retries else ""
    click.echo(
        f"rows sent       {sent.rows:,} in {sent.seconds:.1f} s: {sent.rows / sent.seconds:,.0f} rows/s{retried}\n"
        f"carts           {len(sent.cart_ids):,}\n"
        f"items compared  {comparison.items:,}\n"
        f"differences     {len(comparison.differences):,}"
    )
    for difference in comparison.differences[:MAX_EXAMPLES]:
        click.echo(f"  {difference}")
    if len(comparison.differences) > MAX_EXAMPLES:
        click.echo(f"  and {len(comparison.differences) - MAX_EXAMPLES:,} more")


if __name__ == "__main__":
    main()
