"""Starting from a checkpoint, also for other classes than it knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from e2ec_core.checkpoint import CheckpointError, save_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.learning.start_weights import load_start
from e2ec_core.model.build import build_model

KNOWN = ModelConfig(class_names=("car", "dog", "person"), vertices=16, evolutions=1)
WANTED = replace(KNOWN, class_names=("person", "tram", "car"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("start") / "known.safetensors"
    save_checkpoint(path, build_model(KNOWN), KNOWN, dtype=torch.float32)
    return str(path)


@pytest.mark.parametrize("part", ["all", "detector"])
def test_classes_are_matched_by_name(start: str, part: str) -> None:
    torch.manual_seed(1)
    known = build_model(KNOWN)
    torch.manual_seed(2)
    model = build_model(WANTED)
    fresh = [head.classes.weight.detach().clone() for head in model.detector.heads]
    load_start(model, WANTED, start, part)
    for head, old, before in zip(model.detector.heads, known.detector.heads, fresh, strict=True):
        rows = head.classes.weight
        assert torch.equal(rows[0], old.classes.weight[2])
        assert torch.equal(rows[1], before[1])
        assert torch.equal(rows[2], old.classes.weight[0])
    stem = "detector.backbone.stem.0.weight"
    same = torch.equal(model.state_dict()[stem], known.state_dict()[stem])
    assert same
    contour = "initial.hidden.1.weight"
    taken = torch.equal(model.state_dict()[contour], known.state_dict()[contour])
    assert taken == (part == "all")


def test_as_many_other_classes_are_not_taken_for_the_same(start: str) -> None:
    config = replace(KNOWN, class_names=("a", "b", "c"))
    model = build_model(config)
    fresh = model.detector.heads[0].classes.weight.detach().clone()
    load_start(model, config, start, "detector")
    assert torch.equal(model.detector.heads[0].classes.weight, fresh)


def test_other_architectures_are_refused(start: str) -> None:
    config = replace(WANTED, deformation="none")
    with pytest.raises(CheckpointError, match="unknown deformation"):
        load_start(build_model(config), config, start, "all")
    load_start(build_model(config), config, start, "detector")


def test_heads_that_the_checkpoint_lacks_start_fresh(start: str) -> None:
    config = replace(KNOWN, components=True)
    model = build_model(config)
    assert model.component_head is not None
    fresh = model.component_head.convs[0].weight.detach().clone()
    load_start(model, config, start, "all")
    assert torch.equal(model.component_head.convs[0].weight, fresh)
    torch.manual_seed(1)
    known = build_model(KNOWN).state_dict()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in known.items())


def test_a_second_outline_can_be_added_and_left_out(
    start: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    both = replace(KNOWN, outlines=("visible", "amodal"))
    model = build_model(both)
    load_start(model, both, start, "all")
    torch.manual_seed(1)
    known = build_model(KNOWN).state_dict()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in known.items())
    encoder = "region.down1.0.0.weight"
    assert torch.equal(model.state_dict()[f"amodal.{encoder}"], known[encoder])
    path = tmp_path_factory.mktemp("both") / "both.safetensors"
    save_checkpoint(path, model, both, dtype=torch.float32)
    plain = build_model(KNOWN)
    load_start(plain, KNOWN, str(path), "all")
    assert all(torch.equal(plain.state_dict()[name], value) for name, value in known.items())
