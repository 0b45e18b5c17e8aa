"""Reading others' weights into this project's files: published E2EC checkpoints, and DLA-34.

The published weights come under their authors' terms, which forbid commercial use; who converts
them is bound by those.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from e2ec_core.checkpoint import CheckpointError, load_state, save_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.data.class_names import CLASS_NAMES, DatasetName
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.published.dla import DLA34

TERMS = "published E2EC weights: non-commercial use only, under their authors' terms"

# Regular expressions from our names to the published ones, applied in this order.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^detector\.backbone\.", "dla.base."),
    (r"^detector\.neck\.aggregations\.(\d+)\.", r"dla.dla_up.ida_\1."),
    (r"^detector\.neck\.fusion\.", "dla.ida_up."),
    (r"^detector\.heatmap_head\.", "dla.ct_hm."),
    (r"^initial\.head\.", "dla.wh."),
    (r"^deformation\.transform\.", "train_decoder.refine.trans_feature."),
    (r"^deformation\.reduce\.", "train_decoder.refine.trans_poly."),
    (r"^deformation\.expand\.", "train_decoder.refine.trans_fuse."),
    (r"^((?:dla\.ct_hm|dla\.wh|train_decoder\.refine\.trans_feature)\.)conv\.", r"\g<1>0."),
    (r"^((?:dla\.ct_hm|dla\.wh|train_decoder\.refine\.trans_feature)\.)out\.", r"\g<1>2."),
    (r"(ida_\w+\.\w+\.\d+\.)norm\.", r"\g<1>actf.0."),
    (r"\.conv\.offset_mask\.", ".conv.conv_offset_mask."),
    (r"^(evolutions\.\d+\.net\.)blocks\.(\d+)\.", r"\g<1>res\2."),
    (r"^(evolutions\.\d+\.net\.(?:head|res\d+)\.)conv\.", r"\g<1>conv.fc."),
    (r"^evolutions\.0\.net\.", "gcn.evolve_gcn."),
)
_NECK_NAMES = {"projections": "proj", "upsamplings": "up", "nodes": "node"}

# What PyTorch raises on damaged files, beside `UnpicklingError`.
_BROKEN = (
    *(RuntimeError, OSError, EOFError, ValueError, TypeError, AttributeError),
    *(LookupError, AssertionError, SafetensorError),
)

# Computed or stored by the published model but without any effect on its output.
_DEAD = re.compile(r"^dla\.base\.(fc|level[34]\.project)\.")


def published_name(name: str) -> str:
    """The published checkpoints' name of one of our tensors (preset `e2ec_dla34`)."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    # The first evolution bears no number, the second is number 0.
    name = re.sub(r"^evolutions\.(\d+)\.net\.", lambda m: f"gcn.evolve_gcn{int(m[1]) - 1}.", name)
    return re.sub(
        r"\.(projections|upsamplings|nodes)\.(\d+)\.",
        lambda m: f".{_NECK_NAMES[m[1]]}_{int(m[2]) + 1}.",
        name,
    )


def read_published(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a published checkpoint under their published names.

    Only tensors and plain containers are unpickled. Prefixes `module.` and `net.` are removed,
    `conv_offset` (of newer DCNv2 builds) is read as `conv_offset_mask`, and tensors that the
    published model holds but does not use are left out.

    Raises:
        CheckpointError: if the file is missing, broken, holds code, or holds no tensors.
    """
    renamed = {
        name.replace(".conv_offset.", ".conv_offset_mask."): tensor
        for name, tensor in read_tensors(path).items()
    }
    return {name: tensor for name, tensor in renamed.items() if not _DEAD.match(name)}


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a PyTorch or safetensors file by name, floating ones as float32.

    Prefixes `module.` and `net.` are removed. Only tensors and plain containers are unpickled.

    Raises:
        CheckpointError: if the file is missing, broken, holds code, or holds no tensors.
    """
    content = _read_file(path)
    if isinstance(content, Mapping):
        content = content.get("net", content)
    tensors: dict[str, Tensor] = {}
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(key, str) and isinstance(value, Tensor):
            name = re.sub(r"^(?:module\.|net\.)+", "", key)
            tensors[name] = value.float() if value.is_floating_point() else value
    if not tensors:
        raise CheckpointError(
            f"checkpoint {str(path)!r} holds no tensors by name; a published one is "
            "{'net': {name: tensor}}"
        )
    return tensors


def _read_file(path: str | Path) -> Any:
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {str(path)!r} does not exist; give its path") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {str(path)!r} is not a PyTorch file of tensors and plain values only; "
            "nothing else is read, since it could run code"
        ) from error
    except _BROKEN as error:
        reason = str(error).split(". ")[0] or type(error).__name__
        raise CheckpointError(
            f"checkpoint {str(path)!r} cannot be read ({reason}); copy it again"
        ) from error


def infer_config(
    tensors: Mapping[str, Tensor],
    dataset: DatasetName,
    class_names: tuple[str, ...] | None = None,
) -> ModelConfig:
    """Recognise vertices and evolutions of a published state dict, and check its class count.

    Args:
        tensors: by published name.
        dataset: what it was trained on; sets class names, image sizes, and whether outlines are
            amodal.
        class_names: other names, in channel order.

    Raises:
        CheckpointError: if the class count differs, if the tensors that tell are missing, or if
            they tell of more evolutions or fewer vertices than a model can have.
    """
    missing = [key for key in ("dla.ct_hm.2.bias", "dla.wh.2.bias") if key not in tensors]
    if missing:
        raise CheckpointError(
            f"no {' and no '.join(missing)} in the file; it is not an E2EC checkpoint"
        )
    class_names = class_names or CLASS_NAMES[dataset]
    classes = tensors["dla.ct_hm.2.bias"].numel()
    if classes != len(class_names):
        raise CheckpointError(
            f"the file has {classes} classes, {len(class_names)} were expected; choose the "
            "dataset it was trained on, or name its classes"
        )
    steps = {re.match(r"gcn\.evolve_gcn(\d*)\.", key) for key in tensors}
    numbers = [int(step[1]) + 1 if step[1] else 0 for step in steps if step]
    try:
        return ModelConfig(
            preset="e2ec_dla34",
            class_names=class_names,
            vertices=tensors["dla.wh.2.bias"].numel() // 2,
            evolutions=max(numbers, default=-1) + 1,
            placement=dataset,
            label_origin="centre",
            outlines=("amodal" if dataset == "kins" else "visible",),
        )
    except ValueError as error:
        raise CheckpointError(f"the file's tensors do not make up a model: {error}") from error


def load_published(model: E2EC, tensors: Mapping[str, Tensor]) -> None:
    """Load tensors with published names into a model of preset `e2ec_dla34`.

    Raises:
        CheckpointError: with the list of all differing tensors, by their published names.
    """
    own = model.state_dict()
    names = {published_name(key): key for key in own}
    problems = [f"missing {name}" for name in names.keys() - tensors.keys()]
    problems += [f"unknown {name}" for name in tensors.keys() - names.keys()]
    for name in names.keys() & tensors.keys():
        found, needed = tuple(tensors[name].shape), tuple(own[names[name]].shape)
        if found != needed:
            problems.append(f"{name} is {found}, the model has {needed}")
        elif not bool(torch.isfinite(tensors[name]).all()):
            problems.append(f"{name} holds values that are not finite")
    if problems:
        raise CheckpointError(
            f"{len(problems)} tensors do not fit:\n  " + "\n  ".join(sorted(problems))
        )
    model.load_state_dict({names[name]: tensors[name] for name in names})


def convert_checkpoint(
    source: str | Path,
    destination: str | Path,
    *,
    dataset: DatasetName,
    class_names: tuple[str, ...] | None = None,
) -> ModelConfig:
    """Convert a published checkpoint into a weights file of this project.

    Args:
        source: published `.pth` file.
        destination: `.safetensors` file to write.
        dataset: what it was trained on, see `infer_config`.
        class_names: other names, in channel order, for a model trained on other classes.

    Returns:
        The config written into the file.

    Raises:
        CheckpointError: if the file cannot be read or does not fit.
    """
    tensors = read_published(source)
    config = infer_config(tensors, dataset, class_names)
    model = build_model(config)
    load_published(model, tensors)
    card = {"converted_from": Path(source).name, "dataset": dataset, "licence": TERMS}
    save_checkpoint(destination, model, config, card=card, dtype=torch.float32)
    return config


def convert_backbone(
    source: str | Path, destination: str | Path, *, flip_channels: bool = True
) -> int:
    """Convert DLA-34 as trained on ImageNet into a weights file to start a run from.

    It holds the backbone alone: `start_part: backbone` takes it.

    Args:
        source: `.safetensors` or PyTorch file with the names of timm's `dla34` and of its authors'
            file. Its classifier is left out.
        destination: `.safetensors` file to write.
        flip_channels: turn the first layer round, from the RGB of ImageNet to the BGR that
            `e2ec_dla34` feeds it; the published model started from the layer as it is.

    Returns:
        The number of weights.

    Raises:
        CheckpointError: if the file cannot be read, or with the list of what does not fit.
    """
    backbone = DLA34()
    own = backbone.state_dict()
    # Files from before PyTorch 0.4.1 do not count batches; nothing here needs the count.
    state = {key: own[key] for key in own if key.endswith("num_batches_tracked")}
    state |= {
        name: tensor
        for name, tensor in read_tensors(source).items()
        if not _DEAD.match(f"dla.base.{name}")
    }
    load_state(backbone, state, str(source))
    if flip_channels:
        first = backbone.base_layer[0]
        assert isinstance(first, nn.Conv2d)
        first.weight.data = first.weight.data.flip(1)
    holder = nn.ModuleDict({"detector": nn.ModuleDict({"backbone": backbone})})
    config = ModelConfig(preset="e2ec_dla34", class_names=("none",))
    card = {"converted_from": Path(source).name, "part": "backbone"}
    save_checkpoint(destination, holder, config, card=card, dtype=torch.float32)
    return sum(p.numel() for p in backbone.parameters())
