"""A small data set that the evaluation tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from e2ec_core.contours import Contours

SIZE = (120, 160)
CATEGORIES = {1: "person", 3: "car", 62: "chair"}
# image: (category, x, y, side) of squares, in COCO's corner-based px
OBJECTS = {7: [(1, 10, 10, 40), (3, 90, 20, 50)], 8: [(1, 30, 30, 60)], 9: [(62, 50, 50, 36)]}


def square(x: float, y: float, side: float) -> np.ndarray:
    """Corners, counter-clockwise on the screen."""
    return np.array([[x, y], [x, y + side], [x + side, y + side], [x + side, y]], np.float32)


@pytest.fixture
def ground_truth() -> dict[str, Any]:
    """COCO content with four squares on three images."""
    annotations = [
        {
            "id": 10 * image_id + number,
            "image_id": image_id,
            "category_id": category,
            "segmentation": [square(x, y, side).ravel().tolist()],
            "bbox": [x, y, side, side],
            "area": side * side,
            "iscrowd": 0,
        }
        for image_id, objects in OBJECTS.items()
        for number, (category, x, y, side) in enumerate(objects)
    ]
    return {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in OBJECTS],
        "categories": [{"id": i, "name": name} for i, name in CATEGORIES.items()],
        "annotations": annotations,
    }


@pytest.fixture
def perfect() -> dict[int, Contours]:
    """The ground truth as predictions; px count from pixel centres, half a pixel less."""
    return {image_id: _as_contours(objects) for image_id, objects in OBJECTS.items()}


def _as_contours(objects: list[tuple[int, int, int, int]]) -> Contours:
    order = list(CATEGORIES)
    return Contours(
        vertices=np.stack([square(x, y, side) for _, x, y, side in objects]) - np.float32(0.5),
        scores=np.linspace(0.9, 0.8, len(objects), dtype=np.float32),
        class_ids=np.array([order.index(category) for category, *_ in objects], np.int64),
        stage="final",
        image_size=SIZE,
    )
