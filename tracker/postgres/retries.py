"""Runs a command's transaction again while PostgreSQL is busy: nobody waits for it, so it can wait for others."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.errors import DatabaseUnavailableError
from tracker.kit.backoff import full_jitter_s
from tracker.postgres.error_classes import Failure, failure_of, first_line

TRIES: Final = 10
BACKOFF_BASE_S: Final = 0.05
BACKOFF_CAP_S: Final = 5.0
"""Longest wait between two tries, in seconds; all waits together take 11 s on average."""

T = TypeVar("T")


async def run_in_transaction(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Do `work` in a transaction, again and again while PostgreSQL is busy.

    Raises DatabaseUnavailableError when it does not get better.
    """
    tries = 0
    while True:
        try:
            async with engine.begin() as connection:
                return await work(connection)
        except (OSError, SQLAlchemyError) as error:
            tries += 1
            if tries == TRIES or failure_of(error) is not Failure.TRANSIENT:
                msg = f"PostgreSQL does not take it now, so run it again: {first_line(error)}"
                raise DatabaseUnavailableError(msg) from error
        await asyncio.sleep(full_jitter_s(tries, BACKOFF_BASE_S, BACKOFF_CAP_S))
