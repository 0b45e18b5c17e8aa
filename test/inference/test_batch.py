"""Images in one batch have the contours of single calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from e2ec_core.checkpoint import CheckpointInfo
from e2ec_core.config import ModelConfig
from e2ec_core.inference import NonFiniteError, Predictor, PredictorSettings
from e2ec_core.inference.agreement import greatest_distance
from e2ec_core.inference.packed_output import pack
from e2ec_core.inference.torch_predictor import SLOTS, TorchPredictor
from e2ec_core.model.build import build_model
from e2ec_core.model.structures import Features, Proposals, Seeds

SETTINGS = PredictorSettings(short_side=224, long_side=320, nms_iou=1.0)
TOLERANCE = 0.01  # px


@pytest.fixture(scope="module", params=["e2ec_lite.safetensors", "e2ec_lite.onnx"])
def predictor(request: pytest.FixtureRequest, repo_dir: Path) -> Predictor:
    if request.param.endswith(".onnx"):
        pytest.importorskip("onnxruntime", reason="no onnxruntime")
    return Predictor.from_checkpoint(repo_dir / "weights" / request.param, device="cpu")


@pytest.fixture(scope="module")
def streets(shared_dir: Path) -> list[np.ndarray]:
    """Two streets, one of them turned over, and nothing."""
    folder = shared_dir / "data" / "kitti_raw_seq8" / "image_02" / "data"
    pictures = [cv2.imread(str(path))[:, 150:650, ::-1] for path in sorted(folder.glob("*.png"))]
    first, last = pictures[0], pictures[-1]
    return [np.ascontiguousarray(i) for i in (first, last[:, ::-1], np.full_like(first, 127))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"score_threshold": 0.05, "max_instances": 100},
        {"amodal": True},
        {"stage": "initial"},
        {"classes": ("car",)},
        {"max_instances": 2},
    ],
    ids=str,
)
def test_contours_are_those_of_single_calls(
    predictor: Predictor, streets: list[np.ndarray], changes: dict[str, Any]
) -> None:
    predictor.settings = replace(SETTINGS, **changes)
    alone = [predictor(image).contours for image in streets]
    assert len(alone[0]) > 0
    assert len(alone[1]) > 0
    found = predictor.batch(streets)
    for expected, prediction in zip(alone, found, strict=True):
        assert not isinstance(prediction, NonFiniteError)
        assert greatest_distance(expected, prediction.contours) < TOLERANCE
        assert (prediction.contours.amodal_vertices is None) == ("amodal" not in changes)


def test_an_image_with_many_objects_has_them_all_beside_one_without(
    predictor: Predictor, streets: list[np.ndarray]
) -> None:
    """The slots that the images before needed are too few."""
    predictor.settings = replace(SETTINGS, score_threshold=0.99)
    predictor.batch(streets)
    predictor.settings = replace(SETTINGS, score_threshold=0.01, max_instances=60)
    (empty, full) = predictor.batch([streets[2], streets[0]])
    assert not isinstance(empty, NonFiniteError)
    assert not isinstance(full, NonFiniteError)
    assert len(full.contours) > SLOTS[0]
    assert greatest_distance(predictor(streets[0]).contours, full.contours) < TOLERANCE
    assert greatest_distance(predictor(streets[2]).contours, empty.contours) < TOLERANCE


def test_a_batch_of_one_is_the_single_call(
    predictor: Predictor, streets: list[np.ndarray]
) -> None:
    predictor.settings = SETTINGS
    (found,) = predictor.batch(streets[:1])
    assert not isinstance(found, NonFiniteError)
    np.testing.assert_array_equal(found.contours.vertices, predictor(streets[0]).contours.vertices)


def test_the_times_of_a_batch_are_shared_and_those_around_it_each_image_s(
    predictor: Predictor, streets: list[np.ndarray]
) -> None:
    predictor.settings = SETTINGS
    times = [
        found.timing for found in predictor.batch(streets) if not isinstance(found, NonFiniteError)
    ]
    assert len({timing.inference for timing in times}) == 1
    assert len({timing.preprocess for timing in times}) == 3
    assert min(min(t.preprocess, t.inference, t.postprocess) for t in times) > 0


def test_images_of_several_sizes_are_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"sizes \[\(64, 64\), \(64, 96\)\]; give images of one"):
        predictor.batch([np.zeros((64, side, 3), np.uint8) for side in (96, 64)])
    with pytest.raises(ValueError, match="give images of one size"):
        predictor.batch([])
    with pytest.raises(ValueError, match="give uint8"):
        predictor.batch([np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)])


@pytest.mark.parametrize("preset", ["e2ec_lite", "e2ec_dla34"])
def test_components_and_the_published_model_in_batches(preset: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        class_names=("disc", "box"), vertices=32, evolutions=1, preset=preset, components=True
    )
    settings = PredictorSettings(short_side=96, long_side=0, score_threshold=0.0, nms_iou=1.0)
    predictor = TorchPredictor(
        build_model(config),
        CheckpointInfo(name="fresh", config=config),
        device=torch.device("cpu"),
        settings=replace(settings, max_instances=6),
    )
    images = list(np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), np.uint8))
    for image, found in zip(images, predictor.batch(images), strict=True):
        expected = predictor(image).contours
        assert not isinstance(found, NonFiniteError)
        np.testing.assert_allclose(found.contours.scores, expected.scores, atol=1e-5)
        assert found.contours.instance_ids is not None
        np.testing.assert_allclose(found.contours.vertices, expected.vertices, atol=TOLERANCE)


def test_only_the_image_whose_output_is_not_finite_has_an_error(
    streets: list[np.ndarray], repo_dir: Path
) -> None:
    """From the packed result on; weights that are not finite spoil all images."""
    weights = repo_dir / "weights" / "e2ec_lite.safetensors"
    predictor = Predictor.from_checkpoint(weights, device="cpu", settings=SETTINGS)
    logits = torch.zeros(3, 2, 4, 4)
    logits[1, 0, 2, 3] = torch.nan
    found = Proposals(
        Seeds(torch.zeros(3, 5, 2)), torch.full((3, 5), 0.5), torch.zeros(3, 5).long()
    )
    features = Features(feature=logits, heatmap=logits)
    outputs, detected = pack(features, found, found.scores, torch.zeros(3, 5, 64, 2)).unpack()
    assert [output.finite for output in outputs] == [True, False, True]
    assert detected.shape == (3, 5)
    _, placement = predictor.prepare(streets[0], SETTINGS)
    predictor.collect(outputs[0], placement, SETTINGS, "final")
    with pytest.raises(NonFiniteError):
        predictor.collect(outputs[1], placement, SETTINGS, "final")
