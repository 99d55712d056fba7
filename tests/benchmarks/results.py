"""Everything a run has measured; saved as JSON."""

from pathlib import Path

import msgspec
from msgspec import Struct, field

from tests.benchmarks.coalescing import Coalescing
from tests.benchmarks.failures import Failure
from tests.benchmarks.flush_cost import FlushCost
from tests.benchmarks.jobs import Jobs
from tests.benchmarks.latency import Timing
from tests.benchmarks.machine import Cores, Machine
from tests.benchmarks.memory import Rest, Soak
from tests.benchmarks.throughput import Summary, Turn
from tests.benchmarks.visibility import Visible
from tests.benchmarks.warranties import Warranties


class Results(Struct):
    """Filled part by part; what was not asked for stays empty."""

    machine: Machine
    cores: Cores
    rounds: int
    seconds: float
    turns: list[Turn] = field(default_factory=list)
    summaries: list[Summary] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    visible: Visible | None = None
    coalescing: Coalescing | None = None
    flush_costs: list[FlushCost] = field(default_factory=list)
    jobs: Jobs | None = None
    warranties: Warranties | None = None
    rest: Rest | None = None
    soak: Soak | None = None
    left_out: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    """What has no figures here, because it failed."""

    def save(self, path: Path) -> None:
        """Write them to a file."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
