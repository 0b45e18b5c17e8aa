"""Runs of e2ec predict in tests, and how they are cut off."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

FAST = ("--device", "cpu", "--short-side", "64", "--long-side", "64", "--score", "0.1")
PATIENCE = 120.0  # s


def command(repo_dir: Path, *words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "e2ec_core.commands", "predict", *map(str, words)],
        cwd=repo_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """All files of the results but the record of the run."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if ".e2ec_predict" not in path.parts
    }


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def begun(
    e2ec: Callable, words: tuple[object, ...], monkeypatch: pytest.MonkeyPatch, parts: int = 1
) -> None:
    """Leaves a run after its first parts, as Ctrl-C does."""
    from e2ec_core.commands.predict_parts import PartWorker

    work = PartWorker.__call__

    def interrupted(self: PartWorker, number: int) -> None:
        if number >= parts:
            raise KeyboardInterrupt
        work(self, number)

    monkeypatch.setattr(PartWorker, "__call__", interrupted)
    assert e2ec("predict", *words).status == 130
    monkeypatch.setattr(PartWorker, "__call__", work)
