"""Contestants that failed, and why: it is said at once and kept for the report, and the others go on."""

import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.errors import BenchmarkError, SetupError


class Failure(Struct, frozen=True):
    """Why a contestant has no figures in a part, or the part none at all."""

    part: str
    contestant: str | None
    """None: the part failed as a whole."""
    reason: str

    @property
    def name(self) -> str:
        """What failed."""
        return self.part if self.contestant is None else f"{self.part}, {self.contestant}"


class Failures:
    """Gathers them, in the order in which they come."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.found: list[Failure] = []

    @contextlib.contextmanager
    def noting(self, part: str, contestant: str | None = None) -> Iterator[None]:
        """Note what the block raises, and go on behind it; not if the machine lacks something, which ends all."""
        try:
            yield
        except SetupError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the others are to be measured
            known = isinstance(error, BenchmarkError)
            if not known:
                self._say(traceback.format_exc().rstrip())  # maybe a mistake of ours, to be found
            failure = Failure(part, contestant, str(error) if known else f"{type(error).__name__}: {error}")
            self.found.append(failure)
            self._say(f"  FAILED: {failure.name}: {failure.reason}")

    def has(self, part: str, contestant: str) -> bool:
        """Return whether a contestant has failed in a part."""
        return any((failure.part, failure.contestant) == (part, contestant) for failure in self.found)

    def turns(self, part: str, contestants: Sequence[Contestant], rounds: int) -> Iterator[tuple[int, Contestant]]:
        """Yield each round's number with each contestant that has not failed in the part until then."""
        for number in range(1, rounds + 1):
            for contestant in contestants:
                if not self.has(part, contestant.name):
                    yield number, contestant
