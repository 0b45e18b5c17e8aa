"""Area, orientation, cleaning and clipping of polygons."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ec_core.geometry import (
    Polygon,
    as_polygon,
    bounding_box,
    clean_polygon,
    clip_polygon,
    contour_to_mask,
    orient,
    signed_area,
)

radii = st.lists(st.floats(5, 60), min_size=3, max_size=30)


def star(radius: list[float]) -> Polygon:
    """Simple, mostly concave polygon around (50, 40), counter-clockwise on the screen."""
    angle = -np.arange(len(radius)) * 2 * np.pi / len(radius)
    return np.stack([50 + radius * np.cos(angle), 40 + radius * np.sin(angle)], axis=1)


def test_area_of_a_square_is_its_side_squared(square: Polygon) -> None:
    assert signed_area(square) == -100
    assert signed_area(square[::-1]) == 100


@pytest.mark.parametrize("points", [np.zeros((0, 2)), [[1, 2]], [[1, 2], [3, 4]], [[5, 5]] * 4])
def test_degenerate_polygons_have_no_area(points: Polygon) -> None:
    assert signed_area(points) == 0


def test_counter_clockwise_on_the_screen_goes_down_the_left_side(square: Polygon) -> None:
    assert square[1, 1] > square[0, 1]  # the first step of the fixture runs down, at the left
    np.testing.assert_array_equal(orient(square[::-1]), square)
    np.testing.assert_array_equal(orient(square), square)


def test_flat_coco_points_are_read() -> None:
    np.testing.assert_array_equal(as_polygon([1, 2, 3, 4, 5, 6]), [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize("points", [[1, 2, 3], [[1, 2, 3]], [[0, 0], [np.nan, 1]]])
def test_bad_points_are_refused(points: list[float]) -> None:
    with pytest.raises(ValueError, match="polygon must"):
        as_polygon(points)


def test_cleaning_drops_only_repeated_neighbours(square: Polygon) -> None:
    stuttering = np.concatenate([square[:1], square, square[-1:], square[:1]])
    np.testing.assert_array_equal(clean_polygon(stuttering), square)
    bow = np.array([[0, 0], [0, 4], [2, 2], [4, 4], [4, 0], [2, 2.0]])
    np.testing.assert_array_equal(clean_polygon(bow), bow)
    assert len(clean_polygon([[3, 3]] * 5)) == 1


def test_bounding_box_is_left_top_right_bottom(square: Polygon) -> None:
    np.testing.assert_array_equal(bounding_box(square), [2, 3, 12, 13])


def test_clipping_keeps_what_is_inside(square: Polygon) -> None:
    np.testing.assert_array_equal(clip_polygon(square, 100, 100), square)
    assert len(clip_polygon(square + 200, 100, 100)) == 0


def test_clipping_a_square_at_two_borders_leaves_a_rectangle(square: Polygon) -> None:
    clipped = clip_polygon(square, 9, 6)  # last pixel centres x = 8, y = 5
    np.testing.assert_array_equal(bounding_box(clipped), [2, 3, 8, 5])
    assert signed_area(clipped) == pytest.approx(-12)


@settings(max_examples=30, deadline=None)
@given(radii)
def test_clipping_keeps_the_orientation_and_the_area_inside(radius: list[float]) -> None:
    polygon = star(radius)
    clipped = clip_polygon(polygon, 71, 61)
    assert clipped.min() >= 0
    assert (clipped <= [70, 60]).all()
    shapely = pytest.importorskip("shapely")
    inside = shapely.Polygon(polygon).intersection(shapely.box(0, 0, 70, 60)).area
    assert -signed_area(clipped) == pytest.approx(inside, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(radii)
def test_clipping_changes_no_pixel_of_the_image(radius: list[float]) -> None:
    polygon = star(radius)
    before = contour_to_mask(polygon, 61, 71)
    after = contour_to_mask(clip_polygon(polygon, 71, 61), 61, 71)
    # Pixel centres on an outline may go either way, also those on the last row or column.
    smaller, larger = (
        contour_to_mask((polygon - [50, 40]) * scale + [50, 40], 61, 71)
        for scale in (1 - 1e-9, 1 + 1e-9)
    )
    sure = smaller == larger
    sure[-1] = sure[:, -1] = False
    np.testing.assert_array_equal(before[sure], after[sure])
