"""Amodal contours beside the visible ones: only on demand, and without changing the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from e2ec_core.checkpoint import CheckpointInfo
from e2ec_core.config import ModelConfig
from e2ec_core.contours import HARDLY_HIDDEN
from e2ec_core.geometry import contours_to_rle
from e2ec_core.inference import Predictor, PredictorSettings
from e2ec_core.inference.torch_predictor import TorchPredictor, load_torch_predictor
from e2ec_core.model.build import build_model
from street_scenes import SyntheticScene, make_scene

SETTINGS = PredictorSettings(short_side=384, long_side=512)


@pytest.fixture(scope="module")
def shipped(repo_dir: Path) -> TorchPredictor:
    return load_torch_predictor(repo_dir / "weights" / "e2ec_lite.safetensors", device="cpu")


@pytest.fixture
def predictor(shipped: TorchPredictor) -> Iterator[TorchPredictor]:
    """The shipped model, asked for both outlines."""
    shipped.settings = dataclasses.replace(SETTINGS, amodal=True)
    yield shipped
    shipped.settings = SETTINGS


@pytest.fixture(scope="module")
def scene() -> SyntheticScene:
    """A street with objects that hide each other."""
    return make_scene(3_000_000, 640, 384)


def test_visible_contours_are_the_same_with_and_without_amodal_ones(
    predictor: TorchPredictor, scene: SyntheticScene
) -> None:
    both = predictor(scene.image_rgb).contours
    predictor.settings = SETTINGS
    plain = predictor(scene.image_rgb).contours
    assert len(plain) > 3
    assert plain.amodal_vertices is None
    assert plain.hidden is None
    np.testing.assert_array_equal(both.vertices, plain.vertices)
    np.testing.assert_array_equal(both.scores, plain.scores)
    assert both.amodal_vertices is not None
    assert both.amodal_vertices.shape == both.vertices.shape
    assert both.hidden is not None
    assert ((both.hidden >= 0) & (both.hidden < 1)).all()
    free = both.hidden < HARDLY_HIDDEN - 1e-3
    assert 0 < free.sum() < len(both)
    np.testing.assert_array_equal(both.amodal_vertices[free], both.vertices[free])


def test_amodal_contours_fit_hidden_objects_better(predictor: TorchPredictor) -> None:
    visible, amodal = [], []
    for seed in range(3_000_000, 3_000_004):
        scene = make_scene(seed, 640, 384)
        hidden = [
            i
            for i in scene.instances
            if 0.25 < i.occlusion < 0.7 and min(np.ptp(i.amodal, axis=0)) > 24 and not i.truncated
        ]
        if hidden:
            size = scene.image_rgb.shape[:2]
            masks = [i.full_mask(*size) for i in hidden]
            stages = predictor.every_stage(scene.image_rgb, np.stack([_box(m) for m in masks]))
            truth = [i.amodal for i in hidden]
            visible += _ious(list(stages.values())[-2].given, truth, size)
            amodal += _ious(stages["amodal"].given, truth, size)
    assert len(amodal) > 8
    assert np.mean(amodal) > np.mean(visible) + 0.05


def _box(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    y, x = np.nonzero(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float64)


def _ious(
    contours: NDArray[np.float32], truth: list[NDArray[np.float32]], size: tuple[int, int]
) -> list[float]:
    coco_mask = pytest.importorskip("pycocotools.mask")
    found = contours_to_rle(contours, *size)
    true = [contours_to_rle(t[None], *size)[0] for t in truth]
    return [float(coco_mask.iou([a], [b], [0])[0, 0]) for a, b in zip(found, true, strict=True)]


def test_weights_of_one_outline_refuse_and_name_the_remedy() -> None:
    config = ModelConfig(class_names=("car",), outlines=("visible",), evolutions=1)
    info = CheckpointInfo(name="fresh", config=config)
    with pytest.raises(ValueError, match=r"amodal is true, but the weights have one outline, vis"):
        TorchPredictor(
            build_model(config),
            info,
            device=torch.device("cpu"),
            settings=PredictorSettings(amodal=True),
        )


def test_amodal_contours_need_the_final_stage(predictor: Predictor) -> None:
    with pytest.raises(
        ValueError, match=r"amodal is true and stage coarse; .* choose stage final"
    ):
        predictor.settings = PredictorSettings(amodal=True, stage="coarse")
