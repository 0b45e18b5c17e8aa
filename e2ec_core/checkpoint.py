"""Reading and writing weights: safetensors with the config and the model card inside."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from e2ec_core.checkpoint_info import CheckpointError, CheckpointInfo, weights_file
from e2ec_core.config import ModelConfig, model_config, to_dict

__all__ = [
    "CheckpointError",
    "CheckpointInfo",
    "check_fit",
    "load_state",
    "read_checkpoint",
    "save_checkpoint",
    "weights_file",
]

FORMAT = "e2ec/1"


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    config: ModelConfig,
    *,
    card: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes a model's weights with its config; a kill at any time leaves the old file or the new.

    Args:
        path: file to write, `.safetensors`; its folder is made.
        model: the model; floating tensors are stored as `dtype`, those with values beyond its
            range as they are.
        config: its architecture.
        card: model card, anything JSON can hold.
        dtype: storage type of floating tensors; vectors, which are short, stay as they are.
    """
    state = {
        key: (_narrowed(value, dtype) if value.is_floating_point() else value).contiguous().cpu()
        for key, value in model.state_dict().items()
    }
    metadata = {
        "format": FORMAT,
        "config": json.dumps(to_dict(config)),
        "card": json.dumps(card or {}),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        # Not by `save_file`, which makes files that only their owner can read.
        partial.write_bytes(save(state, metadata=metadata))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _narrowed(value: Tensor, dtype: torch.dtype) -> Tensor:
    if value.ndim < 2:
        return value
    narrowed = value.to(dtype)
    overflows = bool((narrowed.isfinite() != value.isfinite()).any())
    return value if overflows else narrowed


def read_checkpoint(path: str | Path) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """Reads a checkpoint; nothing is unpickled.

    Args:
        path: the file, or the folder of a run.

    Returns:
        what the file says of itself, and its state dict with floating tensors as float32.

    Raises:
        CheckpointError: the file is missing, is not safetensors, or was not written by this
            project.
    """
    path = weights_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"weights file {str(path)!r} cannot be read as safetensors ({error}); "
            "copy it again, or convert published ones with `e2ec convert`"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"weights file {str(path)!r} has format {metadata.get('format')!r}, not {FORMAT!r}; "
            "convert published weights with `e2ec convert`"
        )
    try:
        config = model_config(json.loads(metadata["config"]))
        card = json.loads(metadata.get("card", "{}"))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"weights file {str(path)!r} has a bad config: {reason}") from None
    if not isinstance(card, dict):
        raise CheckpointError(f"weights file {str(path)!r} has a model card that is no mapping")
    for key, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(
                f"weights file {str(path)!r} holds NaN or inf in {key!r}; "
                "take another checkpoint of the run, or copy the file again"
            )
    info = CheckpointInfo(
        name=path.stem,
        config=config,
        card=card,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    return info, {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def load_state(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Loads a state dict that must fit exactly; raises as `check_fit`."""
    check_fit(model, state, source)
    model.load_state_dict(state)


def check_fit(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Compares names and shapes of a state dict with a model's.

    Raises:
        CheckpointError: with every missing, unknown and differently shaped tensor.
    """
    own = model.state_dict()
    problems = [f"missing {key}" for key in own.keys() - state.keys()]
    problems += [f"unknown {key}" for key in state.keys() - own.keys()]
    problems += [
        f"{key} is {tuple(state[key].shape)}, the model has {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    if problems:
        raise CheckpointError(
            f"{source} does not fit the model: " + "; ".join(sorted(problems)[:8])
        )
