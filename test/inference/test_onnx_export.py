"""What is exported is the model itself, its norms folded; this needs no ONNX package."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from e2ec_core.checkpoint import CheckpointError, CheckpointInfo
from e2ec_core.config import ModelConfig
from e2ec_core.inference.onnx_export import ImageToContours, export_onnx, fold_norms
from e2ec_core.inference.onnx_file import from_metadata, to_metadata
from e2ec_core.inference.torch_predictor import TorchPredictor, load_torch_predictor
from e2ec_core.model.build import build_model


@pytest.fixture(scope="module")
def eager(repo_dir: Path) -> TorchPredictor:
    return load_torch_predictor(repo_dir / "weights" / "e2ec_lite.safetensors", device="cpu")


@pytest.mark.parametrize(("threshold", "most"), [(0.0, 3), (0.05, 32), (0.99, 32)])
def test_the_exported_module_gives_the_model_s_contours(
    eager: TorchPredictor, threshold: float, most: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 192, 3), np.uint8)
    whole = ImageToContours(fold_norms(copy.deepcopy(eager.model)))
    mask = torch.ones(len(eager.info.config.class_names), dtype=torch.bool)
    pixels = torch.from_numpy(image)
    with torch.inference_mode():
        expected = eager.model(pixels.permute(2, 0, 1)[None].float(), max_instances=most)
        *_, contours, scores, class_ids, finite, boxes = whole(
            pixels, torch.tensor(most), torch.tensor(threshold), mask
        )
    count = max(1, int((expected.scores[0] >= threshold).sum()))
    assert contours.shape == (count, eager.info.config.contour_vertices, 2)
    assert boxes.shape == (count, 4)
    assert bool(finite)
    torch.testing.assert_close(scores, expected.scores[0, :count])
    torch.testing.assert_close(class_ids, expected.class_ids[0, :count])
    torch.testing.assert_close(contours, expected.contours[0, :count], atol=0.01, rtol=0)


def test_folding_leaves_one_norm_for_each_map_that_is_read_at_points(
    eager: TorchPredictor,
) -> None:
    folded = fold_norms(copy.deepcopy(eager.model))
    norms = [n for n, m in folded.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms == ["adapter.feature", "adapter.fine"]


def test_components_are_refused() -> None:
    config = ModelConfig(class_names=("car",), components=True)
    info = CheckpointInfo(name="fresh", config=config)
    with pytest.raises(ValueError, match="with components cannot be exported"):
        export_onnx(build_model(config), info)


def test_metadata_keep_what_the_weights_say_of_themselves() -> None:
    config = ModelConfig(class_names=("car", "tree"), vertices=32)
    info = CheckpointInfo(name="lite", config=config, card={"data": "mine"}, sha256="ab" * 32)
    assert from_metadata("lite", to_metadata(info)) == info
    without_card = {k: v for k, v in to_metadata(info).items() if k != "card"}
    with pytest.raises(CheckpointError, match="bad config: 'card'"):
        from_metadata("lite", without_card)
    with pytest.raises(CheckpointError, match="bad config: unknown key 'wheels'"):
        from_metadata("lite", to_metadata(info) | {"config": '{"wheels": 4}'})
