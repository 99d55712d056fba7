"""`tracker reservations`: look at what could not be reserved, and have it asked for again."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import click

from tracker.cli.database import database_of_environment
from tracker.features.reservations import store
from tracker.features.reservations.domain import Status
from tracker.postgres.engine import engine_on

_STORED: Final = [status.value for status in Status if status is not Status.NONE]


@click.group()
def reservations() -> None:
    """Show reservations, or ask for failed ones again."""


@reservations.command("list")
@click.option("--status", type=click.Choice(_STORED), default=Status.FAILED.value, show_default=True)
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True)
def list_(status: str, limit: int) -> None:
    """Show reservations, those that changed last first."""
    with database_of_environment() as url:
        rows = asyncio.run(_rows(url, Status(status), limit))
    for row in rows:
        click.echo(_line(row))
    click.echo(f"{len(rows)} reservations", err=True)


@reservations.command()
def retry() -> None:
    """Ask for every failed reservation again."""
    with database_of_environment() as url:
        count = asyncio.run(_retry(url))
    click.echo(f"{count} reservations are asked for again")


async def _rows(url: str, status: Status, limit: int) -> Sequence[Any]:
    async with engine_on(url) as engine, engine.connect() as connection:
        return await store.with_status(connection, status, limit)


async def _retry(url: str) -> int:
    from tracker.features.reservations.service import retry_failed  # noqa: PLC0415  # spares `list` the jobs and httpx: 0.2 s

    async with engine_on(url) as engine:
        return await retry_failed(engine)


def _line(row: Any) -> str:  # noqa: ANN401  # SQLAlchemy's rows have no type of their own
    given = "" if row.reservation_id is None else f"  id {row.reservation_id!r}"
    error = "" if row.error is None else f"\n    {row.error}"
    return (
        f"{row.updated_at:%Y-%m-%dT%H:%M:%SZ}  cart {row.cart_id}  item {row.external_id!r}  quantity {row.quantity}"
        f"  {row.status} after {row.attempts} attempts{given}{error}"
    )
