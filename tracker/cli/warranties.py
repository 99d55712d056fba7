"""`tracker warranties`: look whether the archive has every warranty, and give it those that it lacks."""

import asyncio
import os

import click

from tracker.cli.database import migrated_database
from tracker.features.warranties.jobs import create_all, missing
from tracker.features.warranties.wiring import archive_of
from tracker.postgres.engine import engine_on
from tracker.runtime.features import load_settings
from tracker.settings import Settings


@click.group()
def warranties() -> None:
    """Look after the archive of the warranties."""


@warranties.command("archive")
@click.option("--missing", "repair", is_flag=True, help="Put those into the archive that it lacks.")
def archive_(*, repair: bool) -> None:
    """Say how many warranties have no object in the archive.

    Those of the last moments are usually on their way. It may run at any time, and again.
    """
    settings = load_settings(os.environ)
    with migrated_database(settings) as url:
        looked_at, lacking = asyncio.run(_look(settings, url, repair=repair))
    done = "now they are" if repair else "--missing puts them there"
    click.echo(f"{looked_at} warranties, {lacking} of them not in the archive{f'; {done}' if lacking else ''}")


async def _look(settings: Settings, url: str, *, repair: bool) -> tuple[int, int]:
    archive = archive_of(settings)
    looked_at = lacking = 0
    async with engine_on(url) as engine:
        async for count, found in missing(engine, archive):
            looked_at += count
            lacking += len(found)
            if repair and found and (failed := await create_all(archive, found)):
                raise next(iter(failed.values()))
    return looked_at, lacking
