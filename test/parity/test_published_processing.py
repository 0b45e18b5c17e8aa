"""Pre- and post-processing equal the published model's."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.inference.postprocess import fast_nms
from e2ec_core.inference.preprocess import letterbox, place_image

Expected = Mapping[str, NDArray]


def test_letterbox_image_and_transform(expected: Expected) -> None:
    image = expected["image_bgr"]
    placement = letterbox(image.shape[:2])
    np.testing.assert_allclose(placement.to_input, expected["pre/trans_input"], atol=1e-12)
    difference = place_image(image, placement).astype(int) - expected["pre/warped"]
    # OpenCV 4 rounds positions to 1/32 px.
    most, mean = (5, 0.05) if cv2.__version__.startswith("4.") else (1, 0.01)
    assert np.abs(difference).max() <= most
    assert np.abs(difference).mean() < mean


def test_contours_in_source_pixels(expected: Expected) -> None:
    placement = letterbox(tuple(expected["image_size"].tolist()))
    contours = placement.points_to_image(expected["test/stage[final-dml].py2"])
    np.testing.assert_allclose(contours, expected["test/py_image_coords"], atol=1e-9)


def test_class_wise_fast_nms(expected: Expected) -> None:
    detection = expected["test/stage[final-dml].detection"]
    contours = expected["test/stage[final-dml].py2"]
    boxes = np.concatenate([contours.min(axis=1), contours.max(axis=1)], axis=1)
    kept = fast_nms(boxes, detection[:, 2], detection[:, 3].astype(int))
    np.testing.assert_array_equal(detection[kept], expected["test/nms.detection"])
    np.testing.assert_array_equal(contours[kept], expected["test/nms.py"])
