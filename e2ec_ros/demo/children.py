"""Child processes that end with their parent, also with one that is killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

INTERRUPT_TIMEOUT = 5.0  # s for a child to end by itself
KILL_TIMEOUT = 2.0  # s more after SIGTERM


class ChildProcess:
    """One module run as `python -m module`, its output in a log file. Ends with the `with`.

    It gets SIGTERM when the thread that started it ends, so also when this process is killed
    (where util-linux has `setpriv`, as Debian and Ubuntu do).

    Args:
        module: Python module.
        arguments: its command line.
        log: file for its standard output and error.
        environment: all of its environment variables.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.module = module
        tied = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [*tied, sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(environment),
            )

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def last_words(self) -> str:
        """Its last line of output that says something, for error messages."""
        lines = self.log.read_text(errors="replace").split("\n")
        errors = [line for line in lines if "rror" in line] or [line for line in lines if line]
        return errors[-1].strip() if errors else f"it said nothing in {self.log}"

    def said_after(self, words: str) -> str:
        """What follows the words on the last line that has them.

        Raises:
            ValueError: no line has them.
        """
        _, found, after = self.log.read_text(errors="replace").rpartition(words)
        if not found:
            raise ValueError(f"{self.module} never said {words!r}; see {self.log}")
        return after.partition("\n")[0].strip()

    def end(self) -> int:
        """Interrupts it, then terminates, then kills. Returns its exit status."""
        for number, patience in (
            (signal.SIGINT, INTERRUPT_TIMEOUT),
            (signal.SIGTERM, KILL_TIMEOUT),
            (signal.SIGKILL, None),
        ):
            if not self.running:
                break
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        return self.process.wait()
