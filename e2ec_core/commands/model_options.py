"""The options of every command that runs a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from e2ec_core.settings import setting

SCORE = {"score": "score_threshold"}
"""The short name of the option that is used most."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which weights run where; see `e2ec_core.commands.loading`."""

    weights: str | None = setting(None, "weights file (.safetensors); default the one that ships")
    device: str = setting("auto", "auto (CUDA when present), cpu, cuda or cuda:N")
    precision: Literal["fp32", "fp16", "bf16"] = setting(
        "fp32", "arithmetic of the network; fp16 is for GPUs"
    )
