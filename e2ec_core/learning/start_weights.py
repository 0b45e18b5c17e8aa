"""Starting a run from a checkpoint: of all of the model, its detector or backbone alone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from e2ec_core.checkpoint import CheckpointError, load_state, read_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.model.e2ec import E2EC

CLASS_LAYERS = re.compile(r"detector\.(heatmap|heads\.\d+\.classes\.)")
"""Beginnings of the names of layers with a channel per class."""
StartPart = Literal["all", "detector", "backbone"]


def load_start(
    model: E2EC,
    config: ModelConfig,
    start: str,
    part: StartPart,
    likeness: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Loads a checkpoint, or the detector or backbone it holds, into a fresh model.

    The heatmap's channels are taken by class name; those of classes that the checkpoint does not
    know keep their fresh weights, and so do a box head and a component head that it lacks. Amodal
    stages that it lacks take its visible ones' region encoder, as far as the sizes are equal;
    those that the model lacks are left out.

    Args:
        model: with random weights.
        config: of the model.
        start: checkpoint file.
        part: what to take.
        likeness: classes of the checkpoint that new classes start from, by new class.

    Returns:
        the classes that start afresh.

    Raises:
        CheckpointError: the file is missing or does not fit, or has no such class.
    """
    info, state = read_checkpoint(start)
    own = model.state_dict()
    known = info.config.class_names
    for name, like in likeness.items():
        if name not in config.class_names:
            raise CheckpointError(f"start_classes names {name!r}, which is no class of the run")
        if like not in known:
            close = difflib.get_close_matches(like, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise CheckpointError(f"{start!r} has no class {like!r}{hint}")
    wanted = [likeness.get(name, name) for name in config.class_names]
    state = match_classes(state, own, known, wanted)
    fresh = tuple(n for n, w in zip(config.class_names, wanted, strict=True) if w not in known)
    fresh = fresh if part != "backbone" else config.class_names
    for head in ("detector.box_head.", "component_head.", "amodal."):
        if not any(name.startswith(head) for name in state):
            state |= {
                name: _like_visible(name, value, state)
                for name, value in own.items()
                if name.startswith(head)
            }
    if model.amodal is None:  # a second outline that the run does not learn
        state = {name: value for name, value in state.items() if not name.startswith("amodal.")}
    if part == "all":
        load_state(model, state, start)
        return fresh
    module = "detector" if part == "detector" else "detector.backbone"
    prefix = f"{module}."
    taken = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    load_state(model.get_submodule(module), taken, start)
    return fresh


def _like_visible(name: str, value: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """The weights of the visible outline's region encoder where the amodal one's fit them."""
    known = state.get(name.removeprefix("amodal.")) if name.startswith("amodal.region.") else None
    return known if known is not None and known.shape == value.shape else value


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
        if CLASS_LAYERS.match(name) and rows_differ and len(tensor) == len(known):
            rows = own[name].clone()
            if len(rows) == len(wanted):
                for position, class_name in enumerate(wanted):
                    if class_name in known:
                        rows[position] = tensor[list(known).index(class_name)]
                matched[name] = rows
    return matched
