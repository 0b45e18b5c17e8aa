"""DLA-34 from ImageNet: its names, its first layer, and a run that starts from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from e2ec_core.checkpoint import CheckpointError, read_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.convert import convert_backbone
from e2ec_core.learning.start_weights import load_start
from e2ec_core.model.build import build_model

CONFIG = ModelConfig(preset="e2ec_dla34", class_names=("car",), evolutions=1)


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    values = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (channels,))
    return {f"{name}.{k}": v for k, v in values.items()} | {f"{name}.num_batches_tracked": ()}


def _block(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return (
        {f"{name}.conv1.weight": (outputs, inputs, 3, 3)}
        | {f"{name}.conv2.weight": (outputs, outputs, 3, 3)}
        | _norm(f"{name}.bn1", outputs)
        | _norm(f"{name}.bn2", outputs)
    )


def _tree(name: str, inputs: int, outputs: int, root: int) -> dict[str, tuple[int, ...]]:
    """Two blocks and their root, and a projection where the channels change."""
    project = {f"{name}.project.0.weight": (outputs, inputs, 1, 1)}
    project |= _norm(f"{name}.project.1", outputs)
    return (
        _block(f"{name}.tree1", inputs, outputs)
        | _block(f"{name}.tree2", outputs, outputs)
        | {f"{name}.root.conv.weight": (outputs, root, 1, 1)}
        | _norm(f"{name}.root.bn", outputs)
        | (project if inputs != outputs else {})
    )


def _imagenet() -> dict[str, Tensor]:
    """Random weights with the names and shapes of timm's dla34, its classifier included."""
    shapes = {"base_layer.0.weight": (16, 3, 7, 7)} | _norm("base_layer.1", 16)
    shapes |= {"level0.0.weight": (16, 16, 3, 3)} | _norm("level0.1", 16)
    shapes |= {"level1.0.weight": (32, 16, 3, 3)} | _norm("level1.1", 32)
    shapes |= _tree("level2", 32, 64, 128)
    for level, inputs, outputs in ((3, 64, 128), (4, 128, 256)):
        shapes |= _tree(f"level{level}.tree1", inputs, outputs, 2 * outputs)
        shapes |= _tree(f"level{level}.tree2", outputs, outputs, 3 * outputs + inputs)
    shapes |= _tree("level5", 256, 512, 2 * 512 + 256)
    shapes |= {"fc.weight": (1000, 512, 1, 1), "fc.bias": (1000,)}
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.zeros((), dtype=torch.int64)
        if name.endswith("tracked")
        else torch.rand(shape, generator=generator)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def imagenet() -> dict[str, Tensor]:
    return _imagenet()


def test_a_run_starts_from_the_backbone_alone(imagenet: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(imagenet, tmp_path / "model.safetensors")
    count = convert_backbone(tmp_path / "model.safetensors", tmp_path / "dla34.safetensors")
    assert 15.2e6 < count < 15.4e6  # timm: 15.7 million with the classifier of half a million
    torch.manual_seed(1)
    model = build_model(CONFIG)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    load_start(model, CONFIG, str(tmp_path / "dla34.safetensors"), "backbone")
    for name, value in model.state_dict().items():
        theirs = imagenet.get(name.removeprefix("detector.backbone."))
        if not name.startswith("detector.backbone."):
            assert torch.equal(value, before[name]), name
        elif name.endswith("base_layer.0.weight"):
            assert theirs is not None
            assert torch.equal(value, theirs.flip(1))
        else:
            assert theirs is not None
            assert torch.equal(value, theirs), name


def test_colours_reach_the_filters_that_were_trained_on_them(
    imagenet: dict[str, Tensor], tmp_path: Path
) -> None:
    """The first layer's answer to a red image is its red filters', though its input is BGR."""
    save_file(imagenet, tmp_path / "model.safetensors")
    convert_backbone(tmp_path / "model.safetensors", tmp_path / "dla34.safetensors")
    model = build_model(CONFIG)
    load_start(model, CONFIG, str(tmp_path / "dla34.safetensors"), "backbone")
    detector, image = model.detector, torch.zeros(2, 3, 32, 32)
    image[1, 0] = 255
    with torch.no_grad():
        first = detector.get_submodule("backbone.base_layer.0")
        grey, red = first(detector.get_submodule("normalize")(image))[:, :, 16, 16]
    expected = imagenet["base_layer.0.weight"][:, 0].sum(dim=(1, 2)) / 0.27809835
    torch.testing.assert_close(red - grey, expected, rtol=1e-4, atol=1e-4)


def test_older_files_and_the_layer_as_it_is_are_read(
    imagenet: dict[str, Tensor], tmp_path: Path
) -> None:
    """The authors' file counts no batches and has projections that nothing reads."""
    older = {f"module.{k}": v for k, v in imagenet.items() if "num_batches" not in k}
    older |= {"module.level3.project.0.weight": torch.zeros(128, 64, 1, 1)}
    torch.save(older, tmp_path / "dla34.pth")
    convert_backbone(tmp_path / "dla34.pth", tmp_path / "out.safetensors", flip_channels=False)
    info, state = read_checkpoint(tmp_path / "out.safetensors")
    assert info.card == {"converted_from": "dla34.pth", "part": "backbone"}
    first = state["detector.backbone.base_layer.0.weight"]
    assert torch.equal(first, imagenet["base_layer.0.weight"])
    assert not any("fc." in name or "level3.project" in name for name in state)


def test_other_files_are_refused_with_what_differs(
    imagenet: dict[str, Tensor], tmp_path: Path, e2ec: Callable
) -> None:
    other = dict(imagenet)
    del other["level5.root.conv.weight"]
    other["level2.tree1.conv1.weight"] = torch.zeros(64, 32, 1, 1)
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"level2\.tree1.*; missing level5\.root\.conv"):
        convert_backbone(tmp_path / "other.safetensors", tmp_path / "out.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    reply = e2ec("import-backbone", tmp_path / "broken.safetensors", tmp_path / "out.safetensors")
    assert reply.status == 2
    assert "broken.safetensors' cannot be read" in reply.error
    assert not (tmp_path / "out.safetensors").exists()
    (tmp_path / "out.safetensors").write_text("mine")
    reply = e2ec("import-backbone", tmp_path / "other.safetensors", tmp_path / "out.safetensors")
    assert "exists; give --overwrite" in reply.error


def test_the_whole_model_cannot_start_from_a_backbone(
    imagenet: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(imagenet, tmp_path / "model.safetensors")
    convert_backbone(tmp_path / "model.safetensors", tmp_path / "dla34.safetensors")
    with pytest.raises(CheckpointError, match=r"missing detector\.heatmap_head"):
        load_start(build_model(CONFIG), CONFIG, str(tmp_path / "dla34.safetensors"), "all")
