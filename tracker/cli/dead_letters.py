"""`tracker dead-letters`: look at what PostgreSQL refused, and send it again."""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from tracker.cli.database import database_of
from tracker.errors import DatabaseUnavailableError
from tracker.features.carts.wiring import writer_on
from tracker.ingest.dead_letters import DeadLetter, DeadLetters
from tracker.ingest.worker_folders import worker_folders
from tracker.postgres.engine import engine_on
from tracker.postgres.error_classes import Failure, failure_of, first_line
from tracker.runtime.features import load_settings
from tracker.settings import FolderSettings, Settings


@click.group("dead-letters")
def dead_letters() -> None:
    """Show or resend what PostgreSQL refused."""


@dead_letters.command("list")
def list_() -> None:
    """Show every dead letter of this data folder, with its error."""
    count = 0
    for folder in worker_folders(load_settings(os.environ)[FolderSettings].data_dir):
        for letter in DeadLetters(folder).all():
            click.echo(_line(letter))
            count += 1
    click.echo(f"{count} dead letters", err=True)


@dead_letters.command()
def retry() -> None:
    """Send every dead letter again; what is refused once more stays one."""
    settings = load_settings(os.environ)
    stored = refused = 0
    with database_of(settings) as url:
        for folder in worker_folders(settings[FolderSettings].data_dir):
            done = asyncio.run(_retry_folder(url, folder, settings))
            stored += done[0]
            refused += done[1]
    click.echo(f"{stored} stored, {refused} refused again")


async def _retry_folder(url: str, folder: Path, settings: Settings) -> tuple[int, int]:
    letters = DeadLetters(folder)
    stored = refused = 0
    async with engine_on(url) as engine:
        writer = writer_on(engine, settings)
        with letters.taken() as taken:
            for letter in taken:
                error = await _refusal(writer.write({letter.key: letter.item}))
                if error is None:
                    stored += 1
                else:
                    letters.bury(letter.key, letter.item, error)
                    refused += 1
    return stored, refused


async def _refusal(write: Awaitable[None]) -> str | None:
    """Return why PostgreSQL refuses the row for good; raise DatabaseUnavailableError if it takes nothing now."""
    try:
        await write
    except (OSError, SQLAlchemyError, ValueError) as error:
        if failure_of(error) is not Failure.BAD_DATA:
            msg = f"PostgreSQL takes nothing now, the dead letters stay as they are: {error}"
            raise DatabaseUnavailableError(msg) from error
        return first_line(error)
    return None


def _line(letter: DeadLetter) -> str:
    cart_id, external_id = letter.key
    item = letter.item
    fields = f"name={item.name!r} value={item.value} quantity={item.quantity}"
    return f"{letter.at}  cart {cart_id}  item {external_id!r}  {fields}\n    {letter.error}"
