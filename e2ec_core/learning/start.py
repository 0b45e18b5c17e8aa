"""Starting a run from a checkpoint: of all of the model, its detector or backbone alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from e2ec_core.checkpoint import load_state, read_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.model.e2ec import E2EC

StartPart = Literal["all", "detector", "backbone"]


def load_start(model: E2EC, config: ModelConfig, start: str, part: StartPart) -> None:
    """Loads a checkpoint, or the detector or backbone it holds, into a fresh model.

    The heatmap's channels are taken by class name; those of classes that the checkpoint does not
    know keep their fresh weights.

    Args:
        model: with random weights.
        config: of the model.
        start: checkpoint file.
        part: what to take.

    Raises:
        CheckpointError: the file is missing or does not fit.
    """
    info, state = read_checkpoint(start)
    state = match_classes(state, model.state_dict(), info.config.class_names, config.class_names)
    if part == "all":
        load_state(model, state, start)
        return
    module = "detector" if part == "detector" else "detector.backbone"
    prefix = f"{module}."
    taken = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    load_state(model.get_submodule(module), taken, start)


def match_classes(
    state: dict[str, Tensor], own: dict[str, Tensor], known: Sequence[str], wanted: Sequence[str]
) -> dict[str, Tensor]:
    """Tensors with a row per class, rearranged for other classes.

    Args:
        state: of the checkpoint.
        own: of the model; gives the rows of classes that are not known.
        known: the checkpoint's class names.
        wanted: the model's class names.
    """
    matched = dict(state)
    for name, tensor in state.items():
        rows_differ = name in own and own[name].shape[1:] == tensor.shape[1:]
        if name.startswith("detector.heatmap") and rows_differ and len(tensor) == len(known):
            rows = own[name].clone()
            if len(rows) == len(wanted):
                for position, class_name in enumerate(wanted):
                    if class_name in known:
                        rows[position] = tensor[list(known).index(class_name)]
                matched[name] = rows
    return matched
