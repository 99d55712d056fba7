"""`python -m tests.benchmarks`: measure, print, and save as JSON and SVG.

The exit code is 0 whatever the figures are, 1 when a contestant or a part has failed, 2 when something must be
installed. Who fails is reported and not tried again; the others go on.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.benchmarks import coalescing, flush_cost, jobs, latency, memory, throughput, visibility, warranties
from tests.benchmarks.console import exit_code_of, say
from tests.benchmarks.contestants import CONTESTANTS, JOURNAL
from tests.benchmarks.failures import Failures
from tests.benchmarks.machine import busy_warning, cores_of_machine, describe, find_wrk, move_to
from tests.benchmarks.plot import draw
from tests.benchmarks.postgres import databases
from tests.benchmarks.processes import Site, running
from tests.benchmarks.report import lines_of
from tests.benchmarks.requests import ITEM_KNOWN, write_requests
from tests.benchmarks.results import Results
from tests.benchmarks.wrk import drive

PARTS: Final = ("latency", "visibility", "coalescing", "flush", "jobs", "warranties", "memory", "soak")
NAMES: Final = (*(contestant.name for contestant in CONTESTANTS), *PARTS)


class Plan(Struct, frozen=True):
    """How much to measure."""

    rounds: int
    seconds: float
    soak_s: float
    quick: bool


FULL: Final = Plan(rounds=4, seconds=4, soak_s=600, quick=False)
QUICK: Final = Plan(rounds=2, seconds=2, soak_s=20, quick=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _options(arguments)
    plan = QUICK if options.quick else FULL
    plan = Plan(options.rounds or plan.rounds, options.seconds or plan.seconds, options.soak or plan.soak_s, plan.quick)
    return exit_code_of("benchmarks", lambda: _run(plan, options.only or NAMES, options.out, options.data))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure Tracker.")
    parser.add_argument("--quick", action="store_true", help="little of everything, in 9 minutes instead of 40")
    parser.add_argument("--only", type=_names, metavar="NAME,...", help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder for the JSON and the SVG")
    parser.add_argument("--data", type=Path, help="folder for journals and PostgreSQL (default: a temporary one)")
    parser.add_argument("--rounds", type=int, help=f"turns of each contestant (default {FULL.rounds})")
    parser.add_argument("--seconds", type=float, help=f"of a turn (default {FULL.seconds:g})")
    parser.add_argument("--soak", type=float, help=f"seconds of the long load (default {FULL.soak_s:g})")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return names


def _run(plan: Plan, names: Sequence[str], out: Path, data: Path | None) -> bool:
    """Measure and report; return whether all went well."""
    find_wrk()
    cores = cores_of_machine()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data) as path:
        folder = Path(path)
        machine = describe(folder)
        say(f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, Linux {machine.kernel}")
        say(f"Python {machine.python}, " + ", ".join(f"{name} {number}" for name, number in machine.libraries.items()))
        say(f"journals and PostgreSQL on {machine.file_system}" + _warning(machine.file_system))
        say(
            f"contestant on core {cores.server} (a second worker on {cores.second_worker}), load on core {cores.load},"
            f" PostgreSQL and Redis on core {cores.database}"
        )
        if warning := busy_warning():
            say(warning)
        results = Results(machine, cores, plan.rounds, plan.seconds)
        move_to({cores.database})
        with databases(folder / "pg") as server:
            move_to({cores.load})
            try:
                _measure(plan, names, Site(cores, folder, server), results)
            finally:
                results.save(out / "benchmarks.json")
    if results.summaries:
        subtitle = (
            f"{machine.cpu}, one core for the server; {plan.rounds} rounds of {plan.seconds:g} s, with their range"
        )
        draw(results.summaries, subtitle, out / "benchmarks.svg")
    say("")
    for line in lines_of(results):
        say(line)
    say(f"\nSaved in {out}")
    return not results.failures


def _warning(file_system: str) -> str:
    return ", where a sync costs nothing: name a folder on a disk by --data" if file_system == "tmpfs" else ""


def _measure(plan: Plan, names: Sequence[str], site: Site, results: Results) -> None:
    failures = Failures(say)
    results.failures = failures.found
    _measure_throughput(plan, names, site, results, failures)
    half_load = cache(lambda: _half_load(site, results))  # for two parts, and for each to fail if it cannot be measured
    for part in (part for part in PARTS if part in names):
        say(f"\n{part}")
        with failures.noting(part):
            _measure_part(part, plan, site, results, failures, half_load)


def _measure_part(
    part: str, plan: Plan, site: Site, results: Results, failures: Failures, half_load: Callable[[], float]
) -> None:
    match part:
        case "latency":
            results.timings = latency.measure(
                site, failures, half_per_s=half_load(), rounds=plan.rounds, seconds=plan.seconds, say=say
            )
        case "visibility":
            results.visible = visibility.measure(site, half_per_s=half_load(), seconds=plan.seconds * 3)
        case "coalescing":
            results.coalescing = coalescing.measure(site, seconds=plan.seconds)
        case "flush":
            results.flush_costs = flush_cost.measure(site, quick=plan.quick)
        case "jobs":
            results.jobs = jobs.measure(site, quick=plan.quick)
        case "warranties":
            results.warranties = warranties.measure(
                site, failures, rounds=plan.rounds, seconds=plan.seconds, quick=plan.quick, say=say
            )
        case "memory":
            results.rest = memory.at_rest(site)
        case _:
            results.soak = memory.soak(site, seconds=plan.soak_s, say=say)


def _measure_throughput(plan: Plan, names: Sequence[str], site: Site, results: Results, failures: Failures) -> None:
    present = []
    for contestant in (contestant for contestant in CONTESTANTS if contestant.name in names):
        if missing := contestant.missing():
            results.left_out.append(f"{contestant.title}: {missing} is not installed")
        else:
            present.append(contestant)
    if present:
        say("\nthroughput")
        results.turns = throughput.measure(present, site, failures, rounds=plan.rounds, seconds=plan.seconds, say=say)
        results.summaries = throughput.summarize(results.turns, present)


def _half_load(site: Site, results: Results) -> float:
    """Return half of what Tracker answers at the default level, measured now unless it was before."""
    for line in results.summaries:
        if line.contestant == JOURNAL.name and line.shape == ITEM_KNOWN.name:
            return round(line.per_second.median / 2)
    with running(JOURNAL, site) as server:
        requests = write_requests(ITEM_KNOWN, site.folder)
        drive(server.url, requests, 1)
        return round(drive(server.url, requests, 2).per_second / 2)


if __name__ == "__main__":
    sys.exit(main())
