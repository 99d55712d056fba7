"""The two sides of a comparison: a commit, and this checkout as it is, each in a folder of its own.

The checkout is copied too, so that both start from the same kind of place, and nobody who works in it meanwhile is
measured with it. A side is only run: nothing of it is imported here, as an old one may have other modules. It migrates
its own database, which has the tables of its time.
"""

import contextlib
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.machine import find_git
from tests.benchmarks.postgres import name_of
from tests.benchmarks.processes import REPO, Site, environ_with

COPIED: Final = ("tracker", "alembic", "alembic.ini", "pyproject.toml", "README.md", "requirements*.txt")
"""What `tracker serve` and `tracker migrate` need of a checkout, and what it is installed by."""

LINES: Final = 15
"""The last ones of a failed command's output, which are shown."""


class Side(Struct, frozen=True):
    """One of two versions of Tracker."""

    name: str
    folder: Path
    python: str
    template: str
    """The name of a database that it has migrated; each turn gets a copy."""

    def command(self, *arguments: str) -> list[str]:
        """Return what runs a command of it."""
        return [self.python, "-m", "tracker", *arguments]


def commit_of(revision: str) -> str:
    """Return the full name of a commit; raise BenchmarkError if there is none of that name."""
    command = [find_git(), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"Git knows no commit {revision!r}")
    return done.stdout.strip()


class Checkout(Struct, frozen=True):
    """The files of a version of Tracker, and the interpreter that has what it requires."""

    name: str
    folder: Path
    python: str

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        """Run Python with the modules of this version, and return what it prints; raise BenchmarkError if it fails."""
        return _run([self.python, *arguments], self.folder, environ or {})


@contextlib.contextmanager
def sides(commit: str, site: Site, say: Callable[[str], None]) -> Iterator[tuple[Side, Side]]:
    """Yield the old side and the new one, ready to be started."""
    old, new = checkouts(commit, site.folder, say)
    with _ready(old, site) as old_side, _ready(new, site) as new_side:
        yield old_side, new_side


def this_checkout() -> Checkout:
    """Return the checkout as it is, where it is."""
    return Checkout("this", REPO, sys.executable)


def checkouts(commit: str, folder: Path, say: Callable[[str], None]) -> tuple[Checkout, Checkout]:
    """Lay out a commit and this checkout as it is now below `folder`; raise BenchmarkError if that fails."""
    old, new = folder / "old", folder / "new"
    _export(commit, old)
    _copy_checkout(new)
    pythons = [sys.executable, sys.executable]
    if (old / "requirements.txt").read_bytes() != (new / "requirements.txt").read_bytes():
        # Both anew: what else is installed here may be loaded as well, and would count for one side alone.
        say(f"{commit[:10]} requires other packages: each side's are installed in a folder of their own")
        pythons = [_installed(side, folder / f"venv-{side.name}") for side in (old, new)]
    found = Checkout("old", old, pythons[0]), Checkout("new", new, pythons[1])
    for one in found:
        loaded = one.run("-c", "import tracker; print(tracker.__file__)").strip()
        if not Path(loaded).is_relative_to(one.folder):
            raise BenchmarkError(f"the {one.name} side would run {loaded}, not what is in {one.folder}")
    return found


def _export(commit: str, folder: Path) -> None:
    archive = folder.with_suffix(".tar")
    _run([find_git(), "archive", "--format=tar", f"--output={archive}", commit], REPO, {})
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()


def _copy_checkout(folder: Path) -> None:
    """Copy what Git knows or would, with what is not committed yet."""
    listed = _run([find_git(), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *COPIED], REPO, {})
    for name in filter(None, listed.split("\0")):
        if (REPO / name).is_file():  # else it is deleted, and that not committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / name, folder / name)


def _installed(folder: Path, venv: Path) -> str:
    """Install what the side in `folder` requires, by its own lists with hashes; return the interpreter.

    It is installed too, as `make run` does it: some versions of Tracker ask the installation which one they are.
    """
    _run([sys.executable, "-m", "venv", str(venv)], folder, {})
    python = str(venv / "bin" / "python")
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    lists = ("-r", "requirements.txt", "-r", "requirements-build.txt")
    _run([*install, "--require-hashes", *lists], folder, {})
    _run([*install, "--no-deps", "--no-build-isolation", "-e", "."], folder, {})
    return python


@contextlib.contextmanager
def _ready(checkout: Checkout, site: Site) -> Iterator[Side]:
    """Yield a side once its modules are compiled, and it has its tables."""
    checkout.run("-m", "compileall", "-q", "tracker", "alembic")
    with site.databases.copy_of("template1") as url:
        data_dir = str(site.folder / f"{checkout.name}-data")
        checkout.run("-m", "tracker", "migrate", environ={"DATABASE_URL": url, "TRACKER_DATA_DIR": data_dir})
        yield Side(checkout.name, checkout.folder, checkout.python, name_of(url))


def _run(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> str:
    """Run a command in `folder`, with the modules there, and return what it prints."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ_with(environ, folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-LINES:]
        raise BenchmarkError("\n  ".join([f"{' '.join(command)} failed in {folder}:", *said]))
    return done.stdout
