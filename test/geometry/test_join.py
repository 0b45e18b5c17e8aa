"""Joining the parts of an object into one ring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ec_core.geometry import Polygon, contour_to_mask, join_polygons, signed_area

radii = st.lists(st.floats(4, 14), min_size=3, max_size=12)


def star(radius: list[float], x: float, y: float) -> Polygon:
    """Simple polygon around (x, y), within 14 of it."""
    angle = -np.arange(len(radius)) * 2 * np.pi / len(radius)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def rectangle(x: float, y: float, width: float, height: float) -> Polygon:
    """Counter-clockwise on the screen."""
    right, bottom = x + width, y + height
    return np.array([[x, y], [x, bottom], [right, bottom], [right, y]], np.float64)


@pytest.mark.parametrize("parts", [[], [[[1, 2], [3, 4]]], [[[5, 5]] * 4], [np.zeros((0, 2))]])
def test_parts_without_area_are_refused(parts: list[Polygon]) -> None:
    with pytest.raises(ValueError, match="no part has an area"):
        join_polygons(parts)


def test_a_single_part_stays_as_it_is(letter_c: Polygon) -> None:
    np.testing.assert_array_equal(join_polygons([letter_c]), letter_c)


def test_the_ring_runs_counter_clockwise_on_the_screen(square: Polygon) -> None:
    joined = join_polygons([square[::-1], square + 20])
    assert signed_area(joined) == pytest.approx(-200)


def test_the_bridge_joins_the_nearest_vertices() -> None:
    joined = join_polygons([rectangle(0, 0, 10, 10), rectangle(14, 10, 8, 8)])
    assert len(joined) == 4 + 4 + 2
    edges = {(tuple(a), tuple(b)) for a, b in zip(joined, np.roll(joined, -1, 0), strict=True)}
    assert ((10.0, 10.0), (14.0, 10.0)) in edges
    assert ((14.0, 10.0), (10.0, 10.0)) in edges


def test_a_third_part_is_reached_over_the_second() -> None:
    parts = [rectangle(0, 0, 10, 10), rectangle(40, 0, 9, 9), rectangle(20, 0, 8, 8)]
    joined = join_polygons(parts)
    longest = np.linalg.norm(joined - np.roll(joined, -1, 0), axis=1).max()
    assert longest <= np.hypot(12, 1)  # 28 to 40; from the first part it would be 30


def test_slivers_are_left_out() -> None:
    parts = [rectangle(0, 0, 100, 10), rectangle(200, 0, 5, 5)]
    assert join_polygons(parts)[:, 0].max() == 100
    assert join_polygons(parts, min_share=0.02)[:, 0].max() == 205


@settings(max_examples=40, deadline=None)
@given(st.lists(radii, min_size=1, max_size=5))
def test_area_and_vertices_of_all_parts_are_kept(shapes: list[list[float]]) -> None:
    parts = [star(radius, 20 + 40 * i, 20 + 40 * (i % 2)) for i, radius in enumerate(shapes)]
    joined = join_polygons(parts, min_share=0.0)
    whole = sum(abs(signed_area(part)) for part in parts)
    assert -signed_area(joined) == pytest.approx(whole, rel=1e-9)
    vertices = {tuple(vertex) for vertex in joined}
    assert vertices == {tuple(vertex) for part in parts for vertex in part}
    assert len(joined) == sum(map(len, parts)) + 2 * (len(parts) - 1)


@settings(max_examples=20, deadline=None)
@given(st.lists(radii, min_size=2, max_size=4))
def test_the_ring_s_mask_is_the_union_of_the_parts_masks(shapes: list[list[float]]) -> None:
    parts = [star(radius, 20 + 40 * i, 20 + 30 * (i % 2)) for i, radius in enumerate(shapes)]
    joined = contour_to_mask(join_polygons(parts, min_share=0.0), 80, 200)
    union = np.bitwise_or.reduce([contour_to_mask(part, 80, 200) for part in parts])
    # A pixel centre exactly on a bridge may flip; nothing else may.
    assert (joined != union).sum() <= 4
