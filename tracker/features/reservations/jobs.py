"""The job that asks the service for a reservation, one reservation for each job."""

import asyncio
import contextlib
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from tracker.features.reservations import store
from tracker.features.reservations.client import RefusedError, ReservationClient, UnansweredError
from tracker.features.reservations.domain import Attempt, ReservationKey, backoff_s
from tracker.features.reservations.metrics import ReservationCounts
from tracker.jobs.breaker import Breaker
from tracker.jobs.handler import TryAgainError
from tracker.postgres.error_classes import loggable
from tracker.telemetry import tracing
from tracker.telemetry.tracing import SpanKind

GIVE_BACK_TIMEOUT_S: Final = 0.4
"""Seconds in which an attempt that was cut off must be counted as not made; a stop does not wait longer."""


class Reserver:
    """Asks the service for reservations, one for each job."""

    def __init__(self, engine: AsyncEngine, client: ReservationClient, *, max_attempts: int) -> None:
        self._engine = engine
        self._client = client
        self._max_attempts = max_attempts
        self._breaker = Breaker()
        self.counts = ReservationCounts()

    @property
    def is_waiting_for_service(self) -> bool:
        """Whether the service looks like it is down, so that it is tried with one call at a time."""
        return self._breaker.is_open

    async def reserve(self, payload: bytes) -> None:
        """Ask for the reservation of a job; raise TryAgainError if it must be tried again."""
        await self._breaker.wait()
        try:
            await self._attempt(ReservationKey(payload.decode()))
        except (OSError, SQLAlchemyError) as error:
            reason = f"PostgreSQL does not take what became of a reservation: {loggable(error)}"
            raise TryAgainError(backoff_s(1, 0), reason) from error
        finally:
            self._breaker.leave()

    async def _attempt(self, key: ReservationKey) -> None:
        async with self._engine.begin() as connection:
            attempt = await store.start_attempt(connection, key)
        if attempt is None:
            return
        if attempt.number > self._max_attempts:
            async with self._engine.begin() as connection:
                await store.give_up(connection, key, "what became of the attempts could never be noted")
            self.counts.given_up += 1
            return
        try:
            await self._ask(attempt)
        except asyncio.CancelledError:
            # The process stops in mid-call: the next one asks again under the same key.
            with contextlib.suppress(OSError, SQLAlchemyError):
                async with asyncio.timeout(GIVE_BACK_TIMEOUT_S), self._engine.begin() as connection:
                    await store.give_back_attempt(connection, key)
            raise

    async def _ask(self, attempt: Attempt) -> None:
        try:
            with tracing.span("reservation", SpanKind.CLIENT, attempt=attempt.number):
                reservation_id = await self._client.reserve(attempt)
        except RefusedError as error:
            self._breaker.succeeded()
            await self._note_failure(attempt, str(error), final=True)
            self.counts.refused += 1
        except UnansweredError as error:
            if error.is_down:
                self._breaker.failed()
            else:
                self._breaker.succeeded()
            if not error.was_asked:
                async with self._engine.begin() as connection:
                    await store.give_back_attempt(connection, attempt.key)
            final = error.was_asked and attempt.number >= self._max_attempts
            await self._note_failure(attempt, str(error), final=final)
            if final:
                self.counts.given_up += 1
            else:
                self.counts.retried += 1
                raise TryAgainError(backoff_s(attempt.number, error.retry_after_s), str(error)) from error
        else:
            self._breaker.succeeded()
            async with self._engine.begin() as connection:
                await store.grant(connection, attempt.key, reservation_id)
            self.counts.granted += 1

    async def _note_failure(self, attempt: Attempt, reason: str, *, final: bool) -> None:
        async with self._engine.begin() as connection:
            await store.note_failure(connection, attempt.key, reason, final=final)
