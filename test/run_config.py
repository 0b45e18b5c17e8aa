"""Runs for tests, from settings as a YAML file would have them; used without any parser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from e2ec_core.config import ModelConfig
from e2ec_core.learning.augment import AugmentConfig
from e2ec_core.learning.config import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    PartRates,
    TrainConfig,
)
from e2ec_core.learning.losses import LossWeights

_KINDS: dict[str, Any] = {
    "model": ModelConfig,
    "augment": AugmentConfig,
    "loss": LossConfig,
    "optimizer": OptimizerConfig,
}


def make_run(values: dict[str, Any]) -> TrainConfig:
    """Builds the run; lists become tuples, mappings the dataclasses of their settings."""
    made = {key: _tuples(value) for key, value in values.items()}
    for key, kind in _KINDS.items():
        if key in made:
            made[key] = kind(**made[key])
    if rates := made.get("optimizer") and values["optimizer"].get("rates"):
        made["optimizer"] = replace(made["optimizer"], rates=PartRates(**rates))
    if weights := made.get("loss") and values["loss"].get("weights"):
        made["loss"] = replace(made["loss"], weights=LossWeights(**weights))
    made["train"] = tuple(DataConfig(**source) for source in made["train"])
    return TrainConfig(**made)


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value
