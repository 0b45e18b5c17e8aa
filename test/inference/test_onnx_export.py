"""What is exported is the model itself; this needs no ONNX package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from e2ec_core.checkpoint import CheckpointError, CheckpointInfo
from e2ec_core.config import ModelConfig
from e2ec_core.inference.onnx_export import ImageToContours, export_onnx
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
    """Of two images, of which one is nothing but grey."""
    images = np.random.default_rng(0).integers(0, 256, (2, 128, 192, 3), np.uint8)
    images[1] = 127
    whole = ImageToContours(eager.model)
    mask = torch.ones(len(eager.info.config.class_names), dtype=torch.bool)
    pixels = torch.from_numpy(images)
    with torch.inference_mode():
        expected = eager.model(pixels.permute(0, 3, 1, 2).float(), max_instances=most)
        _, _, contours, scores, class_ids, finite, boxes, amodal = whole(
            pixels, torch.tensor(most), torch.tensor(threshold), mask
        )
    assert 1 <= contours.shape[1] <= most
    assert contours.shape == amodal.shape
    assert boxes.shape == (2, contours.shape[1], 4)
    assert finite.tolist() == [True, True]
    for i in range(2):
        order = scores[i].argsort(descending=True, stable=True)
        order = order[scores[i, order] >= threshold]
        count = int((expected.scores[i] >= threshold).sum())
        torch.testing.assert_close(scores[i, order], expected.scores[i, :count])
        torch.testing.assert_close(class_ids[i, order], expected.class_ids[i, :count])
        torch.testing.assert_close(
            contours[i, order], expected.contours[i, :count], atol=0.01, rtol=0
        )


def test_a_fixed_number_of_contours_is_kept_whatever_is_found(eager: TorchPredictor) -> None:
    whole = ImageToContours(eager.model, slots=5)
    mask = torch.ones(len(eager.info.config.class_names), dtype=torch.bool)
    grey = torch.full((1, 64, 96, 3), 127, dtype=torch.uint8)
    with torch.inference_mode():
        outputs = whole(grey, torch.tensor(32), torch.tensor(0.99), mask)
    assert outputs[2].shape == (1, 5, eager.info.config.contour_vertices, 2)
    assert outputs[3].shape == (1, 5)


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
