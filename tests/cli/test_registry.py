"""The `tracker` command: each of its commands is found, and what is wrong is told in one line."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from tracker.cli.registry import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_it_is_looked_for(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: main {name} ")


def test_all_commands_are_listed_but_the_one_for_the_supervisor() -> None:
    _, _, listed = CliRunner().invoke(main, ["--help"]).stdout.partition("Commands:\n")
    assert [line.split()[0] for line in listed.splitlines()] == sorted(COMMANDS.keys() - {"serve-worker"})


def test_a_misspelled_command_is_an_error_that_suggests_another() -> None:
    done = CliRunner().invoke(main, ["migrat"])
    assert done.exit_code == 2
    assert "No such command 'migrat'. Did you mean 'migrate'?" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_setting_of_the_log_is_told_in_one_line_by_every_command(name: str) -> None:
    done = CliRunner().invoke(main, [name], env={"TRACKER_LOG_LEVEL": "loud"})
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("tracker: TRACKER_LOG_LEVEL='loud' is not valid")


@pytest.mark.parametrize(("command", "ends_at_once"), [("health", False), ("serve", True)])
def test_ctrl_c_ends_a_service_at_once_and_lets_a_command_tidy_up(command: str, *, ends_at_once: bool) -> None:
    code = (
        "import signal, sys, click, tracker.cli.registry as registry, tracker.__main__ as way_in\n"
        "shown = click.Command('x', callback=lambda: print(signal.getsignal(signal.SIGINT) is way_in._stop))\n"
        "registry._Commands.get_command = lambda *_: shown\n"
        f"sys.argv = ['tracker', {command!r}]\n"
        "way_in.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{ends_at_once}\n"
