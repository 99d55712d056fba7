"""A load of writes whose outcomes are remembered, and the comparison of PostgreSQL with them.

A client does not learn in which order the service took two concurrent writes of one item, so every
item is written by one connection only, one write after the other (the carts are shared by all). What
PostgreSQL must hold then follows from the log: of each field the last acknowledged value, or one of a
later write whose outcome is unknown because the connection was lost. What was refused must not be there.
"""

import asyncio
import enum
import random
import statistics
import threading
import time
import uuid
from collections import defaultdict
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp

from tests.conftest import Database, cookie
from tests.support.waiting import TIMEOUT_S, wait_until
from tracker.ingest.items import DEFAULT_QUANTITY

CARTS = 12
ITEMS_PER_CONNECTION = 25
"""Of each cart: few enough that most writes change an item that is there already."""

FIELDS = ("name", "value", "quantity")


class Outcome(enum.Enum):
    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"
    REFUSED = "refused"


class Write(NamedTuple):
    """A write of one item, what became of it, and how long the answer took."""

    cart_id: str | None
    """None: the write began a new cart, and its answer was lost."""
    external_id: str
    fields: dict[str, str | int]
    outcome: Outcome
    began_s: float
    took_s: float


class Times(NamedTuple):
    """Answer times, in seconds."""

    writes: int
    median_s: float
    p99_s: float


class Load:
    """Writes from several keep-alive connections as long as the block runs, across restarts of the service."""

    def __init__(
        self,
        url: str,
        *,
        seed: int,
        connections: int = 8,
        pause_s: float = 0.01,
        padding: int = 0,
        new_items_only: bool = False,
    ) -> None:
        """Write to `url`, each connection with pauses of `pause_s` on average, names `padding` longer."""
        self.writes: list[Write] = []
        self.unexpected: list[str] = []
        self.unreachable = 0
        """Connections that were not even opened; nothing was sent."""
        self._url = url
        self._seed = seed
        self._connections = connections
        self._pause_s = pause_s
        self._padding = padding
        self._new_items_only = new_items_only
        self._carts = [str(uuid.UUID(int=random.Random(f"{seed}-{n}").getrandbits(128))) for n in range(CARTS)]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def count(self, outcome: Outcome) -> int:
        return sum(write.outcome is outcome for write in self.writes)

    @property
    def acknowledged(self) -> int:
        return self.count(Outcome.ACKNOWLEDGED)

    def times(self, since_s: float, until_s: float) -> Times:
        """Return the answer times of the acknowledged writes that began in a span of `time.monotonic()`."""
        took = sorted(
            write.took_s
            for write in self.writes
            if write.outcome is Outcome.ACKNOWLEDGED and since_s <= write.began_s < until_s
        )
        assert took, f"nothing was acknowledged; {self}"
        return Times(len(took), statistics.median(took), took[len(took) * 99 // 100])

    def problems(self, database: Database) -> list[str]:
        """Return in which way PostgreSQL differs from what must be there."""
        rows = {
            (row["cart_id"], row["external_id"]): row
            for row in database.fetch("SELECT cart_id::text, external_id, name, value, quantity FROM items")
        }
        by_key: dict[tuple[str | None, str], list[Write]] = defaultdict(list)
        for write in list(self.writes):
            by_key[write.cart_id, write.external_id].append(write)
        cartless = {external_id: writes for (cart_id, external_id), writes in by_key.items() if cart_id is None}
        found = list(self.unexpected)
        for (cart_id, external_id), writes in by_key.items():
            if cart_id is not None:
                found += _differences(writes, rows.pop((cart_id, external_id), None))
        for (_, external_id), row in rows.items():
            writes = cartless.get(external_id, [])
            found += _differences(writes, row) if writes else [f"nobody wrote {external_id}: {row}"]
        return found

    def wait_until_stored(self, database: Database, timeout_s: float = TIMEOUT_S) -> None:
        """Return once PostgreSQL holds what it must; fail when it does not in time."""
        problems: list[str] = []

        def stored() -> bool:
            problems[:] = self.problems(database)
            return not problems

        wait_until(stored, timeout_s, lambda: f"{len(problems)} problems, {problems[:5]}; {self}")
        assert self.acknowledged, f"nothing was acknowledged; {self}"

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(outcome)} {outcome.value}" for outcome in Outcome)
        return f"load with seed {self._seed}: {counts}, {self.unreachable} unreachable"

    async def _run(self) -> None:
        await asyncio.gather(*(self._connection(number) for number in range(self._connections)))

    async def _connection(self, number: int) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        async with aiohttp.ClientSession(
            self._url,
            connector=aiohttp.TCPConnector(limit=1),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=60),
        ) as session:
            sequence = 0
            while not self._stopping.is_set():
                sequence += 1
                try:
                    outcome = await self._write(session, rng, number, sequence)
                except Exception as error:  # noqa: BLE001  # a load that stopped on the way would prove nothing
                    self.unexpected.append(f"the load failed: {error!r}")
                    return
                failed = outcome is not Outcome.ACKNOWLEDGED
                await asyncio.sleep(rng.uniform(0, 0.1) if failed else rng.uniform(0, 2 * self._pause_s))

    async def _write(
        self, session: aiohttp.ClientSession, rng: random.Random, number: int, sequence: int
    ) -> Outcome | None:
        fields = self._fields(rng, number, sequence)
        cart_id = rng.choice(self._carts) if rng.random() < 0.95 else None
        external_id = f"{number}-{rng.randrange(ITEMS_PER_CONNECTION)}"
        if cart_id is None or self._new_items_only:
            external_id = f"{number}-new-{sequence}"
        path, headers = "/item", cookie(cart_id)
        body: dict[str, str | int] = {"external_id": external_id, **fields}
        if rng.random() < 0.5:
            path, body = "/items", {"product_id": external_id, **_renamed(fields)}
            if cart_id is not None and rng.random() < 0.5:
                headers, body["cart_id"] = {}, cart_id
        began_s = time.monotonic()
        try:
            async with session.post(path, json=body, headers=headers) as answer:
                text = await answer.text()
        except aiohttp.ClientConnectorError:
            self.unreachable += 1
            return None
        except (aiohttp.ClientError, TimeoutError):
            outcome = Outcome.UNKNOWN
        else:
            outcome = self._outcome(answer, text)
            if cart_id is None and "set-cookie" in answer.headers:
                cart_id = answer.headers["set-cookie"].partition(";")[0].removeprefix("cart_id=")
        self.writes.append(Write(cart_id, external_id, fields, outcome, began_s, time.monotonic() - began_s))
        return outcome

    def _fields(self, rng: random.Random, number: int, sequence: int) -> dict[str, str | int]:
        """Return fields, some of them absent; values are not used twice, so that an old one is told apart."""
        word = rng.choice(["Mug", "Größe 🙂", "O'Brien"])
        fields: dict[str, str | int] = {
            "name": f"{number}/{sequence} {word}{'x' * self._padding}",
            "value": rng.choice([-1, 1]) * (sequence * 100 + number),
            "quantity": sequence * rng.randrange(2),  # 0 removes the item
        }
        return {name: value for name, value in fields.items() if rng.random() < 0.7}

    def _outcome(self, answer: aiohttp.ClientResponse, text: str) -> Outcome:
        if answer.status in {200, 204}:
            return Outcome.ACKNOWLEDGED
        if answer.status != 503 or int(answer.headers.get("retry-after", 0)) < 1:
            self.unexpected.append(f"answer {answer.status} {text} {answer.headers}")
        return Outcome.UNKNOWN if "was taken" in text else Outcome.REFUSED


def wait_for_acknowledged(load: Load, count: int) -> None:
    target = load.acknowledged + count
    wait_until(lambda: load.acknowledged >= target, what=f"{count} more acknowledged; {load}")


def _renamed(fields: dict[str, str | int]) -> dict[str, str | int]:
    return {"price" if name == "value" else name: value for name, value in fields.items()}


def _differences(writes: list[Write], row: dict[str, Any] | None) -> list[str]:
    """Compare a row with the writes of its item, which stand in the order in which they were made."""
    may_exist = must_exist = False
    possible: dict[str, set[object]] = {"name": {None}, "value": {None}, "quantity": {DEFAULT_QUANTITY}}
    for write in writes:
        if write.outcome is Outcome.REFUSED:
            continue
        may_exist = True
        must_exist |= write.outcome is Outcome.ACKNOWLEDGED
        for name, value in write.fields.items():
            if write.outcome is Outcome.ACKNOWLEDGED:
                possible[name] = {value}
            else:
                possible[name].add(value)
    last = writes[-1]
    if row is None:
        return [f"{last.cart_id} {last.external_id} is lost"] if must_exist else []
    if not may_exist:
        return [f"{last.cart_id} {last.external_id} was refused and is there"]
    return [
        f"{last.cart_id} {last.external_id}: {name} is {row[name]!r}, not of {possible[name]!r}"
        for name in FIELDS
        if row[name] not in possible[name]
    ]
