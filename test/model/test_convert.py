"""Converting published checkpoints: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from e2ec_core.checkpoint import CheckpointError, load_state, read_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.convert import (
    convert_checkpoint,
    infer_config,
    load_published,
    published_name,
    read_published,
)
from e2ec_core.data.class_names import CLASS_NAMES, KINS
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC


@pytest.fixture(scope="module")
def model() -> E2EC:
    return build_model(ModelConfig(preset="e2ec_dla34", class_names=KINS, evolutions=2))


@pytest.fixture(scope="module")
def tensors(model: E2EC) -> dict[str, Tensor]:
    """A complete published state dict of 7 classes and 2 evolutions, every tensor different."""
    state = {published_name(key): value.clone() for key, value in model.state_dict().items()}
    for number, value in enumerate(state.values()):
        if value.is_floating_point():
            value.fill_(number / 1024)
    return state


def _save(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def test_names_of_the_datasets() -> None:
    assert {name: len(names) for name, names in CLASS_NAMES.items()} == {
        "kins": 7,
        "sbd": 20,
        "cityscapes": 8,
        "coco": 80,
    }


def test_converted_file_holds_config_names_and_the_same_tensors(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    source = _save({"net": tensors}, tmp_path / "model_kitti.pth")
    convert_checkpoint(source, tmp_path / "kins.safetensors", dataset="kins")
    info, state = read_checkpoint(tmp_path / "kins.safetensors")
    assert info.config == ModelConfig(
        preset="e2ec_dla34",
        class_names=KINS,
        vertices=128,
        evolutions=2,
        placement="kins",
        label_origin="centre",
        outlines=("amodal",),
    )
    assert "non-commercial" in info.card["licence"]
    loaded = build_model(info.config)
    load_state(loaded, state, "converted")
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, tensors[published_name(key)]), key


def test_training_file_of_wrapped_model_with_newer_names(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    """Optimizer state, prefixes, `conv_offset` and unused tensors do no harm."""
    renamed = {
        "module.net." + key.replace("conv_offset_mask", "conv_offset"): value
        for key, value in tensors.items()
    }
    renamed["module.net.dla.base.fc.weight"] = torch.zeros(1000, 512, 1, 1)
    renamed["module.net.dla.base.level3.project.0.weight"] = torch.zeros(128, 64, 1, 1)
    content = {"net": renamed, "optim": {"state": {}}, "recorder": {"step": 7}, "epoch": 3}
    read = read_published(_save(content, tmp_path / "3.pth"))
    assert read.keys() == tensors.keys()


def test_a_bare_state_dict_in_half_precision_is_read(tmp_path: Path) -> None:
    read = read_published(_save({"dla.wh.2.bias": torch.ones(4).half()}, tmp_path / "bare.pth"))
    assert read["dla.wh.2.bias"].dtype == torch.float32


def test_all_differing_tensors_are_listed(model: E2EC, tensors: dict[str, Tensor]) -> None:
    broken = dict(tensors)
    del broken["dla.ida_up.proj_1.conv.weight"]
    broken["gcn.extra.weight"] = torch.zeros(1)
    broken["dla.ct_hm.0.weight"] = torch.zeros(256, 32, 3, 3)
    broken["dla.wh.0.bias"] = torch.full((256,), torch.nan)
    before = model.initial.head.out.bias.clone()
    with pytest.raises(CheckpointError) as caught:
        load_published(model, broken)
    message = str(caught.value)
    assert "4 tensors do not fit" in message
    assert "missing dla.ida_up.proj_1.conv.weight" in message
    assert "unknown gcn.extra.weight" in message
    assert "dla.ct_hm.0.weight is (256, 32, 3, 3), the model has (256, 64, 3, 3)" in message
    assert "dla.wh.0.bias holds values that are not finite" in message
    assert torch.equal(model.initial.head.out.bias, before), "loaded in part"


def test_a_missing_evolution_in_between_is_listed(tensors: dict[str, Tensor]) -> None:
    renumbered = {key.replace("evolve_gcn0", "evolve_gcn1"): tensors[key] for key in tensors}
    config = infer_config(renumbered, "kins")
    assert config.evolutions == 3
    with pytest.raises(CheckpointError, match=r"missing gcn\.evolve_gcn0\.head\.conv\.fc\.bias"):
        load_published(build_model(config), renumbered)


def test_other_class_count_is_refused_unless_named(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="7 classes, 80 were expected"):
        infer_config(tensors, "coco")
    names = tuple("abcdefg")
    assert infer_config(tensors, "coco", names).class_names == names


class _Payload:
    """What a hostile file would hold: unpickling it calls a function."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_the_file_does_not_run(writer: str, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    content = {"net": {"a": torch.zeros(1)}, "hook": _Payload(target)}
    source = tmp_path / "hostile.pth"
    if writer == "torch":
        torch.save(content, source)
    else:
        source.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match="could run code"):
        read_published(source)
    assert not target.exists()


def test_counts_that_no_model_has_are_refused(tensors: dict[str, Tensor]) -> None:
    many = {**tensors, "gcn.evolve_gcn30.head.conv.fc.bias": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="evolutions is 32; give 0 to 8"):
        infer_config(many, "kins")
    with pytest.raises(CheckpointError, match="vertices is 4"):
        infer_config({**tensors, "dla.wh.2.bias": torch.zeros(8)}, "kins")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Whatever byte is wrong, the error is ours."""
    damaged, rng = tmp_path / "damaged.pth", np.random.default_rng(0)
    torch.save({"net": {"a": torch.zeros(3)}}, damaged, _use_new_zipfile_serialization=False)
    whole = np.frombuffer(damaged.read_bytes(), np.uint8)
    refused = 0
    for _ in range(200):
        changed = whole.copy()
        changed[rng.integers(len(whole), size=2)] = rng.integers(256, size=2)
        damaged.write_bytes(changed.tobytes())
        try:
            read_published(damaged)
        except CheckpointError:
            refused += 1
    assert refused > 50


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_published(tmp_path / "absent.pth")
    whole = _save({"net": {"a": torch.zeros(5000)}}, tmp_path / "whole.pth").read_bytes()
    (tmp_path / "short.pth").write_bytes(whole[:3000])
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("short.pth", "empty.pth"):
        with pytest.raises(CheckpointError, match=name):
            read_published(tmp_path / name)
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_published(_save({"net": {"epoch": 3}}, tmp_path / "none.pth"))
    source = _save({"net": {"conv.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not an E2EC checkpoint"):
        convert_checkpoint(source, tmp_path / "out.safetensors", dataset="sbd")


def test_command_says_what_is_wrong_in_one_line(repo_dir: Path, tmp_path: Path) -> None:
    script = repo_dir / "training" / "convert_checkpoint.py"
    arguments = [str(tmp_path / "absent.pth"), str(tmp_path / "out.safetensors")]
    done = subprocess.run(
        [sys.executable, str(script), *arguments, "--dataset", "coco"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(repo_dir)},
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "does not exist" in done.stderr
