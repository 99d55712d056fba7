"""The job that files a note, one note for each job."""

import logging
from typing import Final

CONCURRENCY: Final = 2
"""Most notes that a process files at a time."""

logger = logging.getLogger(__name__)


class Filer:
    """Files notes, and counts them."""

    def __init__(self) -> None:
        self.filed = 0

    async def file(self, note: bytes) -> None:
        """File a note, whose text does not get into the log."""
        logger.info("a note is filed", extra={"bytes": len(note)})
        self.filed += 1
