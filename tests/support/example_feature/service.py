"""The service for notes: it checks a note, and has it filed by a job."""

from typing import Final

from tracker.jobs.queue import enqueue
from tracker.kit.text_rules import check_text
from tracker.postgres.request_database import RequestDatabase

JOB: Final = "note"
"""Name of the handler that files notes."""


class Notes:
    """Takes notes."""

    def __init__(self, database: RequestDatabase, *, max_bytes: int) -> None:
        self._database = database
        self._max_bytes = max_bytes

    async def leave(self, text: str) -> int:
        """Have a note filed, and return its size in bytes.

        Raises InvalidInputError, or DatabaseUnavailableError when PostgreSQL does not answer in time.
        """
        check_text("text", text, self._max_bytes, required=True)
        note = text.encode()
        async with self._database.transaction() as connection:
            await enqueue(connection, JOB, [note])
        return len(note)
