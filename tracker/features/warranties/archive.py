"""The archive of warranties: a folder, or a bucket at S3, Google or Azure, by one library (obstore).

An object is only ever created, never written over: an upload that is repeated changes nothing.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from tracker.errors import ConfigurationError, UnavailableError
from tracker.features.warranties.domain import Warranty, WarrantyId
from tracker.features.warranties.dto import WarrantyIn, warranty_out
from tracker.kit.durable import sync

TIMEOUT_S: Final = 20
"""Seconds for the archive to take an object, or a folder all objects of a job, or to give a page of a list."""

CONNECT_TIMEOUT_S: Final = 5

CONCURRENCY: Final = 32
"""Maximum number of calls in flight per process: a few hundred objects a second where each takes 0.1 s."""

LIST_PAGE: Final = 1000
"""Number of objects in a page of a list: as many as S3 names in an answer."""

MAX_REASON_CHARS: Final = 500
"""Most characters of the archive's error in a line of the log; the library's text would go on for a page."""


class ArchiveUnavailableError(UnavailableError):
    """The archive does not take an object, or does not show what it has; says why in one line."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"the archive of the warranties cannot be used: {_reason(error)}")


class Object(NamedTuple):
    """An object of the archive: the record of one warranty."""

    id: WarrantyId
    created_at: datetime
    body: bytes

    @property
    def path(self) -> str:
        """Path of the object in the archive."""
        return f"{_folder_of(self.created_at.astimezone(UTC).date())}{self.id}.json"


def archived(warranty: Warranty) -> Object:
    """Return the object of a warranty, whose body is what was asked for and what was answered."""
    response = warranty_out(warranty)
    request = {field: getattr(response, field) for field in WarrantyIn.__struct_fields__}
    body = msgspec.json.encode({"request": request, "response": response})
    return Object(warranty.id, warranty.created_at, body)


Failures = dict[WarrantyId, ArchiveUnavailableError]
"""The errors of the objects that are not in the archive, or not as safe as they must be, by the warranty's id."""


class Archive:
    """Writes and lists the objects of warranties: `YYYY/MM/DD/<id>.json` by the day (UTC) of their creation."""

    def __init__(self, url: str) -> None:
        """Open the archive at `url`; a folder is created. Raises OSError, ValueError or BaseError if it cannot be."""
        self._calls = asyncio.Semaphore(CONCURRENCY)
        self._store = _store_at(url)
        self._folder = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None

    async def create(self, objects: Sequence[Object]) -> Failures:
        """Create those objects that are not there; return those that failed. All others are safe then."""
        if self._folder is None:
            failures = await asyncio.gather(*map(self._upload, objects))
            return {one.id: failure for one, failure in zip(objects, failures, strict=True) if failure is not None}
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.to_thread(self._write, self._folder, objects)
        except OSError as error:
            return {one.id: ArchiveUnavailableError(error) for one in objects}

    async def _upload(self, one: Object) -> ArchiveUnavailableError | None:
        try:
            async with self._calls, asyncio.timeout(TIMEOUT_S):
                with contextlib.suppress(AlreadyExistsError):
                    await obstore.put_async(self._store, one.path, one.body, mode="create")
        except (BaseError, OSError) as error:
            return ArchiveUnavailableError(error)
        return None

    def _write(self, folder: Path, objects: Sequence[Object]) -> Failures:
        """Write objects to a folder; raise OSError if they, or others that are there already, cannot be synced.

        All objects are written in one thread: with a call and a sync for each of 64 objects, one costs 560 µs of CPU
        time instead of 200.
        """
        failures: Failures = {}
        for one in objects:
            try:
                with contextlib.suppress(AlreadyExistsError):
                    obstore.put(self._store, one.path, one.body, mode="create")
            except (BaseError, OSError) as error:
                failures[one.id] = ArchiveUnavailableError(error)
        _sync_all(folder, [one.path for one in objects if one.id not in failures])
        return failures

    async def ids_of(self, day: date) -> set[str]:
        """Return the ids of the warranties of a day that have an object; raise ArchiveUnavailableError.

        They are kept in memory: 100 bytes each.
        """
        found: set[str] = set()
        pages = aiter(obstore.list(self._store, _folder_of(day), chunk_size=LIST_PAGE))
        try:
            while True:
                async with asyncio.timeout(TIMEOUT_S):
                    page = await anext(pages, None)
                if page is None:
                    return found
                found.update(entry["path"].rpartition("/")[2].removesuffix(".json") for entry in page)
        except (BaseError, OSError) as error:
            raise ArchiveUnavailableError(error) from error


def open_archive(url: str | None, data_dir: Path) -> Archive:
    """Return the archive at a URL, or without one that in the data folder.

    Raises ConfigurationError unless it can be opened; whether a bucket answers shows only with the first object.
    """
    name = "TRACKER_ARCHIVE_URL"
    if url is None:
        url, name = (data_dir / "archive").resolve().as_uri(), "TRACKER_DATA_DIR"
    try:
        return Archive(url)
    except (BaseError, OSError, ValueError) as error:
        raise ConfigurationError(f"{name}: the warranties cannot be archived there: {_reason(error)}") from None


def _store_at(url: str) -> ObjectStore:
    if url.startswith("file:"):
        return from_url(url, mkdir=True)
    return from_url(
        url,
        client_options={
            "timeout": f"{TIMEOUT_S}s",
            "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
            "allow_http": True,  # an endpoint of one's own (AWS_ENDPOINT_URL) may have no https
            "default_content_type": "application/json",
        },
        retry_config={"max_retries": 0},  # the job tries again
    )


def _sync_all(root: Path, paths: Iterable[str]) -> None:
    """Sync files, and the folders that lead to them; the library does not, and the job ends for good.

    Raises OSError.
    """
    files = [root / path for path in paths]
    days = {file.parent for file in files}
    folders = {folder for day in days for folder in (day, *day.parents) if folder.is_relative_to(root)}
    for one in (*files, *sorted(folders, reverse=True)):
        sync(one)


def _folder_of(day: date) -> str:
    return f"{day:%Y/%m/%d}/"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S} s"
    return " ".join(str(error).partition("\n\nDebug source:")[0].split())[:MAX_REASON_CHARS]
