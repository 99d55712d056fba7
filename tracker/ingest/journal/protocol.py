"""What the rest of Tracker asks of a journal, and the one that keeps nothing."""

from typing import Protocol

from tracker.kit.confirmation import Confirmation


class Journal(Protocol):
    """Keeps what was accepted until it is committed."""

    @property
    def refusal(self) -> str | None:
        """Why the next append would be refused, or None."""
        ...

    @property
    def used_bytes(self) -> int:
        """How much disk it takes."""
        ...

    @property
    def max_bytes(self) -> int:
        """How much disk it may take; 0 if none is kept."""
        ...

    @property
    def items(self) -> int:
        """How many frames this process has written that are not removed yet, those of committed items included."""
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

    def synced(self) -> Confirmation:
        """Return what says when all that was appended so far would survive a loss of power."""
        ...

    def stop_waiting(self) -> None:
        """Let everybody who waits for a sync know that it has not come in time: the process is about to end."""
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
    used_bytes = max_bytes = items = 0

    async def start(self) -> None:
        """Do nothing."""

    def append(self, payload: bytes, stamp: int) -> None:
        """Do nothing."""

    def synced(self) -> Confirmation:
        """Return one that says so at once."""
        confirmation = Confirmation()
        confirmation.settle(None)
        return confirmation

    def stop_waiting(self) -> None:
        """Do nothing."""

    def release(self, before: int) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
