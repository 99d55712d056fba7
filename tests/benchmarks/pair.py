"""`python -m tests.benchmarks.pair OLD`: compare this checkout with a commit, in pairs of turns.

On a machine that others use, a figure of today says little beside one of yesterday. Here both sides run within seconds
of each other, on the same core, and what is compared is CPU time, which moves much less than times by the clock. In
each pair the old side has a second turn; what that one differs by is what a difference must be beyond.

The exit code is 0 whatever the figures are, 1 when a side fails, 2 when something must be installed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tests.benchmarks.console import exit_code_of, say
from tests.benchmarks.machine import Cores, Machine, busy_warning, cores_of_machine, describe, find_wrk, move_to
from tests.benchmarks.pair_turns import turns_of
from tests.benchmarks.postgres import databases, run_sql
from tests.benchmarks.processes import Site
from tests.benchmarks.sides import commit_of, sides
from tests.benchmarks.verdicts import FIGURES, PARTS, Comparison, Figure, Label, Turn, compare, verdict_of

PAIRS: Final = 12
SECONDS: Final = 3

ORDERS: Final[tuple[tuple[Label, Label, Label], ...]] = (
    ("old", "new", "again"),
    ("new", "again", "old"),
    ("again", "old", "new"),
    ("again", "new", "old"),
    ("old", "again", "new"),
    ("new", "old", "again"),
)
"""The orders of the turns, pair by pair: in six pairs each is as often first, and before each other, as any."""

QUIET_POSTGRES: Final = ("autovacuum = off", "checkpoint_timeout = '1h'", "max_wal_size = '8GB'")
"""What PostgreSQL does when it is time, and not because an item came, would be in one turn and not in the next."""


class Comparisons(Struct):
    """All that was measured; saved as JSON."""

    machine: Machine
    cores: Cores
    old: str
    """The commit."""
    pairs: int
    seconds: int
    turns: list[Turn]
    figures: list[Comparison]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _options(arguments)
    return exit_code_of("bench-pair", lambda: _run(options))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.pair", description="Compare this checkout with a commit, by CPU time."
    )
    parser.add_argument("old", nargs="?", metavar="OLD", help="the commit, or whatever Git takes for one")
    parser.add_argument("--pairs", type=_at_least_one, default=PAIRS, help=f"turns of each side (default {PAIRS})")
    parser.add_argument("--seconds", type=_at_least_one, default=SECONDS, help=f"of load in a turn (default {SECONDS})")
    parser.add_argument("--only", type=_parts, default=PARTS, metavar="PART,...", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder for the JSON")
    parser.add_argument("--data", type=Path, help="folder for all that is temporary (default: the system's)")
    options = parser.parse_args(arguments)
    if not options.old:
        parser.error("say which commit to compare with: make bench-pair OLD=HEAD~1")
    return options


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return parts


def _run(options: argparse.Namespace) -> bool:
    find_wrk()
    commit = commit_of(options.old)
    cores = cores_of_machine()
    wanted = [figure for figure in FIGURES if figure.part in options.only]
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as path:
        folder = Path(path).resolve()
        machine = describe(folder)
        say(f"old is {commit[:10]}, new is this checkout as it is now; {options.pairs} pairs, and old against old")
        say(f"{machine.cpu}: Tracker on core {cores.server}, load on core {cores.load}, PostgreSQL on {cores.database}")
        if warning := busy_warning():
            say(warning)
        move_to({cores.database})
        with databases(folder / "pg") as server:
            for setting in QUIET_POSTGRES:
                run_sql(server.server_url, f"ALTER SYSTEM SET {setting}")
            run_sql(server.server_url, "SELECT pg_reload_conf()")
            move_to({cores.load})
            began = time.monotonic()
            turns = _measure(commit, Site(cores, folder, server), options, wanted)
    found = [compare(turns, figure) for figure in wanted]
    saved = Comparisons(machine, cores, commit, options.pairs, options.seconds, turns, found)
    (options.out / "pair.json").write_bytes(msgspec.json.format(msgspec.json.encode(saved), indent=2) + b"\n")
    for line in _lines(found):
        say(line)
    if options.pairs < PAIRS:
        say(f"With so few pairs chance alone is often outside; {PAIRS} tell more.")
    say(f"\nTook {time.monotonic() - began:.0f} s. Saved in {options.out / 'pair.json'}")
    return True


def _measure(commit: str, site: Site, options: argparse.Namespace, wanted: Sequence[Figure]) -> list[Turn]:
    parts = {figure.part for figure in wanted}
    seconds = 0 if parts == {"start"} else options.seconds
    turns: list[Turn] = []
    with sides(commit, site, say) as (old, new):
        for pair in range(1, options.pairs + 1):
            order = ORDERS[(pair - 1) % len(ORDERS)]
            taken = turns_of(
                pair, order, {"old": old, "new": new, "again": old}, site, seconds=seconds, flush="flush" in parts
            )
            turns += taken
            say(f"  pair {pair:2}  {_one_line(taken, wanted)}")
    return turns


def _one_line(turns: Sequence[Turn], wanted: Sequence[Figure]) -> str:
    """Return what one pair found."""
    parts = []
    for figure in wanted:
        if figure.judged:
            found = compare(turns, figure)
            parts.append(
                f"{figure.name} {found.new.median:.{figure.digits}f}: {found.new_to_old.median:.3f} of old"
                f" (again {found.again_to_old.median:.3f})"
            )
    return "  ".join(parts)


def _lines(found: Sequence[Comparison]) -> Iterator[str]:
    """Yield the report: the figures, their ratios, and what comes of it."""
    figures = {figure.name: figure for figure in FIGURES}
    yield "\nMedian (least-most) of the turns, then of the ratios of a pair"
    for comparison in found:
        figure = figures[comparison.name]
        old, new = comparison.old.shown(figure.digits), comparison.new.shown(figure.digits)
        yield f"  {figure.title}{f', {figure.unit}' if figure.unit else ''}: old {old}, new {new}"
        yield f"    new/old        {comparison.new_to_old.shown()}"
        yield f"    old again/old  {comparison.again_to_old.shown()}"
    yield ""
    for comparison in found:
        change = f"{comparison.new_to_old.median - 1:+.1%}"
        yield f"{figures[comparison.name].title}: {change}, {verdict_of(comparison)}"


if __name__ == "__main__":
    sys.exit(main())
