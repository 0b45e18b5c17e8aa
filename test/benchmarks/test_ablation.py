"""The ablation script: rows that are real settings, and tables that say what was measured."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from e2ec_core.commands.options import read_config
from e2ec_core.learning.config import TrainConfig


@pytest.fixture(scope="module")
def ablation(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/ablation.py")


def test_every_row_is_a_run_of_its_own(ablation: ModuleType) -> None:
    rows = {row.name: row for table in ablation.TABLES.values() for row in table.values()}
    configs = {
        name: read_config(
            TrainConfig, ablation.CONFIG, [f"--{k}={v}" for k, v in row.settings.items()]
        )
        for name, row in rows.items()
    }
    assert len(set(map(repr, configs.values()))) == len(rows) == 10
    assert configs["baseline"].model.initial == "octagon"
    assert configs["mda"].loss.directions == 4


def _scores(ablation: ModuleType) -> dict:
    """Stages of all rows and seeds; the last stage's number is known: row + seed / 10."""
    scores: dict = {}
    rows = {row.name: row for table in ablation.TABLES.values() for row in table.values()}
    for number, row in enumerate(rows.values()):
        for seed in range(3 if row.repeated else 1):
            values = [
                0.01 * number + 0.001 * seed - 0.1 * (stage == "initial")
                for stage in ("initial", "evolution 3")
            ]
            scores.setdefault(row.name, {})[seed] = [
                {"stage": stage} | dict.fromkeys(ablation.COLUMNS, value)
                for stage, value in zip(("initial", "evolution 3"), values, strict=True)
            ]
    return scores


def test_tables_hold_mean_spread_and_paired_steps(ablation: ModuleType) -> None:
    text = ablation.report(_scores(ablation))
    assert "| +Arch | 1.1 ± 0.1 |" in text
    assert "| 1 | 1.0 | " in text  # beside rows of one seed it is that seed alone
    assert "| baseline to arch | +1.0 ± 0.0 | +3.1 | +1.0 ± 0.0 | +6.2 | +1.0 ± 0.0 |" in text
    stages = text[text.index("Table 1d") :]
    assert "| initial | -6.9 ± 0.1 |" in stages
    assert "59.2 | 19.1 |" in stages
