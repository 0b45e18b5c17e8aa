"""Non-maximum suppression and the zigzag filter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from e2ec_core.contours import Contours
from e2ec_core.inference.postprocess import (
    box_iou,
    distinct,
    fast_nms,
)


def _circle(vertices: int = 32, radius: float = 50.0) -> np.ndarray:
    angle = np.arange(vertices) * (2 * np.pi / vertices)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def test_iou_of_known_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [4, 4, 4, 4]], np.float32)
    iou = box_iou(boxes)
    assert iou[0, 1] == pytest.approx(50 / 150)
    assert iou[0, 2] == 0
    assert iou[3, 3] == 0  # an empty box


def test_nms_keeps_the_best_of_each_class() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]], float)
    scores = np.array([0.4, 0.9, 0.5, 0.2])
    assert fast_nms(boxes, scores, np.array([1, 1, 0, 1])).tolist() == [1, 2, 3]


def test_fast_nms_lets_suppressed_instances_suppress() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 2, 10, 12], [0, 4, 10, 14]], float)
    kept = fast_nms(boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3, int), iou_threshold=0.6)
    assert kept.tolist() == [0]


def test_nms_of_nothing_is_nothing() -> None:
    kept = fast_nms(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
    assert kept.shape == (0,)


def test_repeats_are_dropped_as_whole_objects() -> None:
    """Two parts far apart, the same object again, and one of its parts as an object of its own."""
    parts = [(0, 0, 20, 20), (60, 0, 90, 20)]
    boxes = np.array([*parts, (1, 0, 21, 20), (61, 0, 91, 20), parts[0]], np.float32)
    corners = boxes[:, [0, 1, 0, 3, 2, 3, 2, 1]].reshape(-1, 4, 2)
    contours = Contours(
        vertices=corners,
        scores=np.array([0.9, 0.9, 0.8, 0.8, 0.7], np.float32),
        class_ids=np.zeros(5, np.int64),
        stage="final",
        image_size=(50, 100),
        instance_ids=np.array([0, 0, 1, 1, 2]),
    )
    assert distinct(contours, 0.7).tolist() == [0, 1, 4]
    apart = replace(contours, instance_ids=None)
    assert distinct(apart).tolist() == [0, 1]
    assert len(distinct(contours[:0])) == 0
    assert distinct(contours, 1.0).tolist() == list(range(len(contours)))
