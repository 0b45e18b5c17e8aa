"""Starting a run from a checkpoint: of all of the model, its detector or backbone alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from e2ec_core.checkpoint import load_state, read_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.model.e2ec import E2EC

CLASS_LAYERS = ("detector.heatmap", "detector.heads.")
"""Beginnings of the names of layers with a channel per class."""
StartPart = Literal["all", "detector", "backbone"]


def load_start(model: E2EC, config: ModelConfig, start: str, part: StartPart) -> None:
    """Loads a checkpoint, or the detector or backbone it holds, into a fresh model.

    The heatmap's channels are taken by class name; those of classes that the checkpoint does not
    know keep their fresh weights, and so do a box head and a component head that it lacks.

    Args:
        model: with random weights.
        config: of the model.
        start: checkpoint file.
        part: what to take.

    Raises:
        CheckpointError: the file is missing or does not fit.
    """
    info, state = read_checkpoint(start)
    own = model.state_dict()
    state = match_classes(state, own, info.config.class_names, config.class_names)
    for head in ("detector.box_head.", "component_head."):
        if not any(name.startswith(head) for name in state):
            state |= {name: value for name, value in own.items() if name.startswith(head)}
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
        if name.startswith(CLASS_LAYERS) and rows_differ and len(tensor) == len(known):
            rows = own[name].clone()
            if len(rows) == len(wanted):
                for position, class_name in enumerate(wanted):
                    if class_name in known:
                        rows[position] = tensor[list(known).index(class_name)]
                matched[name] = rows
    return matched
