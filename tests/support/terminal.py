"""What a command shows to somebody who sits at a terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPO, Database, clean_environ


def shown_on_terminal(database: Database, *arguments: str, data_dir: Path) -> bytes:
    """Run a `tracker` command whose stderr is a terminal; return what that was sent."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker", *arguments],
            env={**clean_environ(), "DATABASE_URL": database.url, "TRACKER_DATA_DIR": str(data_dir)},
            cwd=REPO,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        try:
            while part := terminal.read(4096):
                shown += part
        except OSError:  # how a terminal whose other end is closed ends
            pass
        assert process.wait(30) == 0
    return shown
