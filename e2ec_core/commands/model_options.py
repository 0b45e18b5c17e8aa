"""The options of every command that runs a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from e2ec_core.settings import setting
from e2ec_core.shipped_weights import Backend

SCORE = {"score": "score_threshold"}
"""The short name of the option that is used most."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which weights run where."""

    weights: str | None = setting(
        None,
        "weights file (.safetensors, or .onnx of `e2ec export`) or folder of a run; default the "
        "file that ships",
    )
    backend: Backend = setting(
        "auto",
        "what runs the network: torch or compiled (for .safetensors), onnxruntime or tensorrt "
        "(for .onnx), or auto: what the file is for, and of the model that ships the fastest that "
        "is installed",
    )
    device: str = setting("auto", "auto (CUDA when present), cpu, cuda or cuda:N")
    precision: Literal["fp32", "fp16", "bf16"] = setting(
        "fp32", "arithmetic of the network; fp16 is for GPUs"
    )


def is_run(path: str | Path) -> bool:
    """Whether a path is the folder of a training run."""
    folder = Path(path)
    return os.path.isfile(folder / "config.yaml") and (
        os.path.isfile(folder / "metrics.jsonl") or any(folder.glob("*.safetensors"))
    )


def take_run(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """A run's folder where it is the first word of a command line, and the other words."""
    if words and is_run(words[0]):
        return Path(words[0]), list(words[1:])
    return None, list(words)
