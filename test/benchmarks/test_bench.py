"""The new table stands beside the committed one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

COMMITTED = "# Title\n\n| case | ms |\n|---|---|\n| a | 3 |\n| b | 5 |\n"


@pytest.fixture(scope="module")
def bench(repo_dir: Path) -> Any:
    spec = importlib.util.spec_from_file_location("bench", repo_dir / "benchmarks" / "bench.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_stand_over_those_that_were_committed(bench: Any) -> None:
    shown = bench.beside(COMMITTED.replace("| 5 |", "| 4 |"), COMMITTED).splitlines()
    assert shown == [
        "| case | ms |",
        "|---|---|",
        "| a | 3 |",
        "| b | 4 |",
        "| b | 5 |  (committed)",
    ]


def test_other_tables_follow_as_a_whole(bench: Any) -> None:
    shown = bench.beside(COMMITTED.replace("| b | 5 |\n", ""), COMMITTED).splitlines()
    assert shown.count("| a | 3 |") == 2
    assert "committed:" in shown


def test_the_scripts_of_the_set_are_there_with_their_tables(bench: Any, repo_dir: Path) -> None:
    for script in bench.BENCHMARKS:
        path = repo_dir / "benchmarks" / script
        assert path.is_file()
        assert path.with_suffix(".md").is_file()
