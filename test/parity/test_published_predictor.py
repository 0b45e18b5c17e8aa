"""The whole way, from the source image to contours in its pixels, equals the published model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2ec_core.convert import convert_checkpoint
from e2ec_core.inference import Predictor, PredictorSettings


def test_a_converted_checkpoint_predicts_the_published_contours(
    published_tensors: dict[str, Tensor], expected: Mapping[str, NDArray], tmp_path: Path
) -> None:
    if cv2.__version__.startswith("4."):
        pytest.skip("OpenCV 4 rounds positions to 1/32 px: the network sees another image")
    torch.save({"net": published_tensors}, tmp_path / "model_sbd.pth")
    convert_checkpoint(tmp_path / "model_sbd.pth", tmp_path / "sbd.safetensors", dataset="sbd")
    predictor = Predictor.from_checkpoint(
        tmp_path / "sbd.safetensors",
        device="cpu",
        settings=PredictorSettings(score_threshold=0.05, max_instances=32, nms_iou=1.0),
    )
    image_rgb = np.ascontiguousarray(expected["image_bgr"][:, :, ::-1])
    contours = predictor(image_rgb).contours
    detection = expected["test/stage[final-dml].detection"]
    assert len(contours) == len(detection)
    # Published contours lie in label coordinates, whose origin is the corner of the first pixel.
    theirs = expected["test/py_image_coords"] - 0.5
    for vertices, class_id, score in zip(
        contours.vertices, contours.class_ids, contours.scores, strict=True
    ):
        # One cell may hold several classes, which share a contour.
        near = np.abs(theirs - vertices).max(axis=(1, 2)) < 0.05
        (match,) = np.flatnonzero(near & (detection[:, 3] == class_id))
        assert abs(score - detection[match, 2]) < 1e-3
