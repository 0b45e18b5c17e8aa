"""Contours to masks and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ec_core.geometry import (
    Polygon,
    contour_to_mask,
    contours_to_masks,
    contours_to_rle,
    mask_to_polygons,
    paint_contours,
    signed_area,
)


def test_a_pixel_is_set_if_its_centre_is_inside() -> None:
    around = [[1.6, 2.6], [4.4, 2.6], [4.4, 3.4], [1.6, 3.4]]
    mask = contour_to_mask(around, 6, 8)
    assert mask.dtype == np.uint8
    assert mask.sum() == 3
    assert mask[3, 2:5].all()


def test_sub_pixel_sides_give_the_area() -> None:
    square = [[0.5, 0.5], [0.5, 20.5], [10.5, 20.5], [10.5, 0.5]]
    assert contour_to_mask(square, 30, 30).sum() == 200


def test_a_contour_may_leave_the_image() -> None:
    everything = [[-50, -50], [-50, 50], [50, 50], [50, -50]]
    assert contour_to_mask(everything, 7, 9).all()
    assert not contour_to_mask(np.array(everything) + 200, 7, 9).any()


@pytest.mark.parametrize("points", [np.zeros((0, 2)), [[3, 3]], [[1, 1], [5, 5]]])
def test_degenerate_contours_are_empty(points: Polygon) -> None:
    assert not contour_to_mask(points, 8, 8).any()


def test_orientation_does_not_matter(letter_c: Polygon) -> None:
    forth, back = contour_to_mask(letter_c, 30, 30), contour_to_mask(letter_c[::-1], 30, 30)
    np.testing.assert_array_equal(forth, back)
    assert forth.sum() == pytest.approx(abs(signed_area(letter_c)), rel=0.02)


def test_every_pixel_belongs_to_exactly_one_of_two_neighbours() -> None:
    rng = np.random.default_rng(1)
    seam = np.stack([rng.uniform(5, 25, 12), np.linspace(-1, 30, 12)], axis=1).round()
    left = np.concatenate([[[-1, -1]], seam, [[-1, 30]]])
    right = np.concatenate([seam, [[31, 30], [31, -1]]])
    both = contour_to_mask(left, 30, 31) + contour_to_mask(right, 30, 31)
    assert (both == 1).all()


def _inside(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Even-odd rule for every pixel by itself: edges crossed on the way to the left."""
    y, x = np.mgrid[:height, :width].reshape(2, -1, 1)
    (x1, y1), (x2, y2) = points.T, np.roll(points, -1, axis=0).T
    crossed = (y1 <= y) != (y2 <= y)
    at = x1 + (y - y1) * (x2 - x1) / np.where(y1 == y2, 1, y2 - y1)
    return ((crossed & (at <= x)).sum(axis=1) % 2 == 1).reshape(height, width)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-20, 60, width=32)] * 2), min_size=0, max_size=12))
def test_masks_equal_a_test_of_every_pixel(points: list[tuple[float, float]]) -> None:
    contour = np.array(points).reshape(-1, 2)
    expected = _inside(contour, 30, 40) if points else np.zeros((30, 40), bool)
    different = contour_to_mask(contour, 30, 40) != expected
    assert different.sum() <= 1  # a centre on the outline, but for rounding


def test_the_first_painted_contour_is_in_front() -> None:
    square = np.array([[0.5, 0.5], [0.5, 4.5], [4.5, 4.5], [4.5, 0.5]])
    contours = [square, square + 2, square + 100]
    image = np.full((9, 9), 255, np.uint8)
    paint_contours(image, contours, [3, 0, 7])
    masks = contours_to_masks(contours, 9, 9)
    assert (image[masks[0]] == 3).all()
    assert (image[masks[1] & ~masks[0]] == 0).all()
    assert (image == 255).sum() == 81 - 16 - 12
    assert masks.sum(axis=(1, 2)).tolist() == [16, 16, 0]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(4, 45), min_size=5, max_size=40))
def test_masks_equal_the_coco_tool_up_to_its_own_rounding(radius: list[float]) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    angle = np.arange(len(radius)) * 2 * np.pi / len(radius)
    contour = np.stack([50 + radius * np.cos(angle), 45 + radius * np.sin(angle)], axis=1)
    mask = contour_to_mask(contour, 90, 100)
    rle = contours_to_rle([contour], 90, 100)[0]
    assert rle["size"] == [90, 100]
    # It rounds to a fifth of a pixel, so only pixels along the outline may differ.
    length = np.sqrt((np.diff(contour, axis=0, append=contour[:1]) ** 2).sum(axis=1)).sum()
    assert (mask != coco_mask.decode(rle)).sum() <= 0.35 * length + 2


def test_no_contours_give_no_rle() -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    assert contours_to_rle(np.zeros((0, 128, 2)), 10, 10) == []


def test_outlines_give_back_their_mask() -> None:
    rng = np.random.default_rng(0)
    cv2 = pytest.importorskip("cv2")
    mask = (cv2.GaussianBlur(rng.random((60, 80)), (0, 0), 3) > 0.5).astype(np.uint8)
    polygons = mask_to_polygons(mask)
    areas = [signed_area(polygon) for polygon in polygons]
    assert areas == sorted(areas)
    assert max(areas) < 0
    filled = np.bitwise_or.reduce([contour_to_mask(p, 60, 80) for p in polygons])
    outside_holes = _fill_holes(mask)
    np.testing.assert_array_equal(filled, outside_holes)


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """Set everything that the background cannot be reached from, over sides and not corners."""
    import cv2

    padded = np.pad(1 - mask, 1, constant_values=1)
    labels = cv2.connectedComponents(padded, connectivity=4)[1]
    return (labels != labels[0, 0])[1:-1, 1:-1].astype(np.uint8)


def test_one_pixel_and_small_parts() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[4, 5] = 1
    mask[0:3, 0:3] = 1
    large, small = mask_to_polygons(mask)
    np.testing.assert_allclose(small.mean(axis=0), [5, 4])
    np.testing.assert_allclose(large.mean(axis=0), [1, 1])
    assert len(mask_to_polygons(mask, min_area=1.0)) == 1
    assert mask_to_polygons(np.zeros((5, 5))) == []


def test_masks_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        mask_to_polygons(np.zeros((2, 3, 4)))
