"""Where the environment is, and how its stages run commands."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
VENV = REPO / ".venv"
LOG = VENV / "setup.log"
# The Python that made the virtual environment, also when this script runs inside it. Before 3.11
# sys._base_executable is that of the environment.
BASE_PYTHON = sys.executable
if sys.prefix != sys.base_prefix:
    BASE_PYTHON = f"{sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}"


class SetupError(Exception):
    """A cause that the user can remove; its text is one line that names the remedy."""


def venv_python() -> str:
    """Returns the path of the virtual environment's interpreter."""
    return str(VENV / "bin/python")


def run_quietly(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a short command and returns what it said."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def step(title: str, *commands: list[str], environment: dict[str, str] | None = None) -> None:
    """Runs commands with their output in the log; raises SetupError with its end on failure."""
    started = time.monotonic()
    say(f"{title} ...", end="")
    for command in commands:
        with LOG.open("a") as log:
            done = subprocess.run(
                command, cwd=VENV, env=environment, stdout=log, stderr=log, check=False
            )
        if done.returncode:
            say("")
            tail = LOG.read_text(errors="replace").splitlines()[-25:]
            print("\n".join(tail), file=sys.stderr)
            raise SetupError(f"{title} failed (above, and in {LOG})")
    say(f" {time.monotonic() - started:.0f} s")


def say(text: str, end: str = "\n") -> None:
    """Prints progress at once."""
    print(text, end=end, flush=True)
