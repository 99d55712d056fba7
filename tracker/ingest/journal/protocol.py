"""The interface of a journal for the rest of Tracker, and a journal that keeps nothing."""

from typing import Protocol

from tracker.kit.confirmation import Confirmation


class Journal(Protocol):
    """Keeps accepted data until it is committed."""

    @property
    def refusal(self) -> str | None:
        """Reason why the next append would be refused; None if it would not."""
        ...

    @property
    def used_bytes(self) -> int:
        """Disk space that the journal takes, in bytes."""
        ...

    @property
    def max_bytes(self) -> int:
        """Disk space that the journal may take, in bytes; 0 if no journal is kept."""
        ...

    @property
    def items(self) -> int:
        """Number of frames of this process that are not removed yet; includes frames of items that are committed."""
        ...

    @property
    def running(self) -> bool:
        """Whether the journal's work in the background goes on."""
        ...

    async def start(self) -> None:
        """Begin the work in the background, on the running event loop."""
        ...

    def append(self, payload: bytes, stamp: int) -> None:
        """Write `payload`, whose write has `stamp`; raise JournalUnavailableError if it cannot be kept."""
        ...

    def synced(self) -> Confirmation:
        """Return a confirmation that is resolved when everything appended so far would survive a loss of power."""
        ...

    def stop_waiting(self) -> None:
        """Tell everybody who waits for a sync that it has not come in time: the process is about to end."""
        ...

    def release(self, before: int) -> None:
        """Tell the journal that everything with a stamp below `before` is committed."""
        ...

    async def close(self) -> None:
        """Sync the data that is left, remove committed segments, and close the files."""
        ...


class NoJournal:
    """Keeps nothing; used for the acknowledgement levels that do not promise that data is in a file."""

    refusal = None
    running = True
    used_bytes = max_bytes = items = 0

    async def start(self) -> None:
        """Do nothing."""

    def append(self, payload: bytes, stamp: int) -> None:
        """Do nothing."""

    def synced(self) -> Confirmation:
        """Return a confirmation that is already resolved as safe."""
        confirmation = Confirmation()
        confirmation.resolve(None)
        return confirmation

    def stop_waiting(self) -> None:
        """Do nothing."""

    def release(self, before: int) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
