"""`python -m tests.support.surface [OLD]`: what Tracker shows to the outside, as text; or its difference from a commit.

It is what others rely on: routes, settings, metrics, the API's document, commands. A change that is to leave all of it
alone shows so by an empty difference.

An old commit may have other modules, so each version is looked at from outside: a server is started, and the help of
each command is read. Only the settings, and the labels of metrics, are asked from within, by a script that finds them
in every version (`surface_declared.py`).
"""

import argparse
import difflib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.benchmarks.console import exit_code_of, say
from tests.benchmarks.processes import spawned, wait_for_answer
from tests.benchmarks.sides import Checkout, checkouts, commit_of, this_checkout
from tests.support.ports import free_port

DECLARED: Final = Path(__file__).with_name("surface_declared.py")

UNDOCUMENTED: Final = ("/", "/docs", "/docs/openapi.json", "/docs/swagger-ui/swagger-ui.css", "/metrics")
"""Paths that the API's document leaves out, or that could be there without it."""

TIMEOUT_S: Final = 30.0

CONTEXT_LINES: Final = 2

Surface = dict[str, list[str]]
"""Lines of text, by what they describe."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.surface", description="Print what Tracker shows to the outside."
    )
    parser.add_argument("old", nargs="?", metavar="OLD", help="print the difference from this commit instead")
    options = parser.parse_args(arguments)
    return exit_code_of("surface", lambda: _run(options.old))


def _run(old: str | None) -> bool:
    with tempfile.TemporaryDirectory(prefix="surface-") as path:
        folder = Path(path).resolve()
        if old is None:
            for line in _lines(surface_of(this_checkout(), folder)):
                say(line)
        else:
            commit = commit_of(old)
            surfaces = [surface_of(checkout, folder) for checkout in checkouts(commit, folder, say)]
            for line in difference(*surfaces, name=commit[:10]):
                say(line)
    return True


def surface_of(checkout: Checkout, folder: Path) -> Surface:
    """Return what a version shows; `folder` is for its server's data. Raise BenchmarkError if it fails."""
    declared = json.loads(checkout.run("-P", str(DECLARED)))  # -P: nothing beside the script is found
    document, scraped, allowed = _served(checkout, folder)
    return {
        "Routes": sorted(_routes(document)),
        "Methods": [f"{path} {methods}" for path, methods in sorted(allowed.items())],
        "Settings": sorted(declared["settings"]),
        "Metric families": sorted(_families(scraped, declared["families"])),
        "API document": json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).splitlines(),
        **_helps(checkout),
    }


def _served(checkout: Checkout, folder: Path) -> tuple[dict[str, Any], str, dict[str, str]]:
    """Return the API's document, a scrape, and the methods that each path takes, from a server of this version."""
    data, port = folder / f"{checkout.name}-data", free_port()
    data.mkdir()
    command = [checkout.python, "-m", "tracker", "serve", "--port", str(port)]
    cores = os.sched_getaffinity(0)
    with spawned(command, {"TRACKER_DATA_DIR": str(data)}, data, cores, checkout.folder) as server:
        wait_for_answer(port, server, data, "/health/live", 200)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as client:
            document = client.get("/docs/openapi.json").raise_for_status().json()
            scraped = client.get("/metrics").raise_for_status().text
            allowed = {path: _allowed(client, path) for path in (*document["paths"], *UNDOCUMENTED)}
    return document, scraped, allowed


def _allowed(client: httpx.Client, path: str) -> str:
    answer = client.options(re.sub(r"\{.*?\}", "1", path))
    allowed: str = answer.headers.get("Allow", f"answers {answer.status_code} to OPTIONS")
    return allowed


def _routes(document: Mapping[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path} {operation['operationId']}"


def _families(scraped: str, declared: Mapping[str, str]) -> Iterator[str]:
    """Yield what a server shows of each family, with the labels and bounds that it is declared with."""
    for family in text_string_to_metric_families(scraped):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"{name} ({family.type}{declared.get(name, ', not declared')}): {family.documentation}"


def _helps(checkout: Checkout) -> Surface:
    """Return the help of `tracker`, of its commands and of theirs."""
    found: dict[tuple[str, ...], list[str]] = {}
    asked: list[tuple[str, ...]] = [()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        while asked:
            helps = dict(zip(asked, pool.map(partial(_help, checkout), asked), strict=True))
            found |= helps
            asked = [(*names, command) for names, lines in helps.items() for command in _commands(lines)]
    return {" ".join(("tracker", *names, "--help")): lines for names, lines in sorted(found.items())}


def _help(checkout: Checkout, names: Sequence[str]) -> list[str]:
    return checkout.run("-m", "tracker", *names, "--help", environ={"COLUMNS": "100"}).splitlines()


def _commands(lines: Sequence[str]) -> list[str]:
    """Return the names of the commands that a help lists."""
    if "Commands:" not in lines:
        return []
    listed = lines[lines.index("Commands:") + 1 :]
    return [match[1] for line in listed if (match := re.match(r"  ([a-z][a-z-]*)(?:  |$)", line))]


def _lines(surface: Surface) -> Iterator[str]:
    for name, lines in surface.items():
        yield f"\n## {name}"
        yield from lines


def difference(old: Surface, new: Surface, *, name: str) -> Iterator[str]:
    """Yield how each part differs, as `diff -u` shows it; or that none does."""
    is_same = True
    for part in old | new:
        lines = list(
            difflib.unified_diff(
                old.get(part, []),
                new.get(part, []),
                f"{part} of {name}",
                f"{part} now",
                n=CONTEXT_LINES,
                lineterm="",
            )
        )
        is_same = is_same and not lines
        yield from lines
    if is_same:
        yield f"Tracker shows the same as {name} does"


if __name__ == "__main__":
    raise SystemExit(main())
