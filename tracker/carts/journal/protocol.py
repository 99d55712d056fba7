"""What the rest of Tracker asks of a journal, and the one that keeps nothing."""

from typing import Protocol


class Journal(Protocol):
    """Keeps what was accepted until it is committed."""

    @property
    def refusal(self) -> str | None:
        """Why the next append would be refused, or None."""
        ...

    @property
    def running(self) -> bool:
        """Whether its work in the background goes on."""
        ...

    async def start(self) -> None:
        """Begin the work in the background, on the running event loop."""
        ...

    def append(self, payload: bytes, stamp: int) -> None:
        """Write `payload`, whose write has `stamp`; raise JournalUnavailableError if it cannot be kept."""
        ...

    async def synced(self) -> None:
        """Return once all that was appended would survive a loss of power, or raise JournalUnavailableError."""
        ...

    def release(self, before: int) -> None:
        """Say that everything with a stamp below `before` is committed."""
        ...

    async def close(self) -> None:
        """Sync what is left, remove what is committed, and let go of the files."""
        ...


class NoJournal:
    """Keeps nothing: for the acknowledgement levels that promise nothing of a file."""

    refusal = None
    running = True

    async def start(self) -> None:
        """Do nothing."""

    def append(self, payload: bytes, stamp: int) -> None:
        """Do nothing."""

    async def synced(self) -> None:
        """Do nothing."""

    def release(self, before: int) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
