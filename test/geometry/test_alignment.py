"""Multi-direction alignment."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ec_core.geometry import Polygon, align_contour, edge_lengths, orient, signed_area
from e2ec_core.geometry.alignment import _cyclic_anchors


def spiral(turns: float, corners: int) -> Polygon:
    """Thick spiral: as concave as an outline gets, and simple."""
    angle = np.linspace(0.5, 2 * np.pi * turns + 0.5, corners)
    radius = 10 * angle
    ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([ray * radius[:, None], (ray * (radius + 20)[:, None])[::-1]])


def distance_to_outline(points: Polygon, polygon: Polygon) -> Polygon:
    start, edge = polygon, np.roll(polygon, -1, axis=0) - polygon
    arm = points[:, None] - start
    along = np.clip((arm * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-12), 0, 1)
    return np.sqrt(((arm - along[..., None] * edge) ** 2).sum(-1)).min(axis=1)


@pytest.mark.parametrize("mode", ["monotone", "published"])
def test_anchors_of_a_square_are_bottom_right_top_left(square: Polygon, mode: str) -> None:
    contour = align_contour(square, 128, 4, mode)  # type: ignore[arg-type]
    middles = [[7, 13], [12, 8], [7, 3], [2, 8]]
    np.testing.assert_allclose(contour[::32], middles, atol=0.05)
    assert signed_area(contour) == pytest.approx(-100, rel=0.01)


@pytest.mark.parametrize("directions", [1, 2, 4, 8, 16, 64])
def test_anchors_lie_in_their_directions_on_a_circle(directions: int) -> None:
    angle = np.arange(360) * np.pi / 180
    circle = np.stack([30 + 20 * np.cos(angle), 50 + 20 * np.sin(angle)], axis=1)
    anchors = align_contour(circle, 64, directions)[:: 64 // directions] - [30, 50]
    turn = 2 * np.pi * np.arange(directions) / directions
    np.testing.assert_allclose(anchors[:, 0], 20 * np.sin(turn), atol=0.2)
    np.testing.assert_allclose(anchors[:, 1], 20 * np.cos(turn), atol=0.2)


def test_no_directions_keep_the_first_vertex_and_even_steps(square: Polygon) -> None:
    contour = align_contour(square, 40, 0)
    np.testing.assert_allclose(contour[0], square[0])
    np.testing.assert_allclose(edge_lengths(contour), 1.0)


@pytest.mark.parametrize("mode", ["monotone", "published"])
def test_orientation_of_the_input_does_not_matter(letter_c: Polygon, mode: str) -> None:
    forth = align_contour(letter_c, 128, 4, mode)  # type: ignore[arg-type]
    back = align_contour(letter_c[::-1], 128, 4, mode)  # type: ignore[arg-type]
    assert signed_area(forth) < 0
    assert np.sign(signed_area(back)) == np.sign(signed_area(forth))


def test_the_published_mode_winds_twice_round_a_c_and_monotone_once(letter_c: Polygon) -> None:
    area = signed_area(orient(letter_c))
    published = align_contour(letter_c, mode="published")
    assert signed_area(published) / area == pytest.approx(2, rel=0.05)
    assert signed_area(align_contour(letter_c)) / area == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("directions", [0, 1, 2, 4, 8, 128])
@pytest.mark.parametrize("turns", [0.4, 0.9, 1.8])
def test_monotone_follows_a_spiral_exactly_once(directions: int, turns: float) -> None:
    polygon = spiral(turns, 60)
    contour = align_contour(polygon, 128, directions)
    np.testing.assert_allclose(distance_to_outline(contour, polygon), 0, atol=1e-6)
    # Chords of a walk once round cannot be longer than the outline; twice round is twice that.
    assert edge_lengths(contour).sum() <= edge_lengths(polygon).sum() + 1e-6
    assert edge_lengths(contour).max() < edge_lengths(polygon).sum() / 4


def test_no_side_collapses_where_all_directions_meet_the_outline_at_once() -> None:
    """Seen from its middle, a slanted sliver fills two directions within its width."""
    sliver = np.array([[0, 0], [-1, 1], [140, 142], [141, 141]], dtype=np.float64)
    sides = edge_lengths(align_contour(sliver)).reshape(4, 32).sum(axis=1)
    published = edge_lengths(align_contour(sliver, mode="published")).reshape(4, 32).sum(axis=1)
    assert published.min() < 4
    assert sides.min() >= 0.99 * edge_lengths(sliver).sum() / 16


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(5, 100), min_size=3, max_size=40), st.sampled_from([1, 2, 4, 8]))
def test_monotone_never_winds_twice(radius: list[float], directions: int) -> None:
    angle = np.arange(len(radius)) * 2 * np.pi / len(radius)
    polygon = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    contour = align_contour(polygon, 128, directions)
    assert edge_lengths(contour).sum() <= edge_lengths(polygon).sum() + 1e-6
    assert len(np.unique(contour.round(6), axis=0)) == 128


def test_anchors_are_the_best_that_follow_each_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        score = rng.normal(size=(4, 14))
        anchors = _cyclic_anchors(score, gap=2)
        candidates = [
            (0, *rest)
            for rest in itertools.combinations(range(14), 3)
            if (np.diff([0, *rest, 14]) >= 2).all()
        ]
        best = max(score[range(4), c].sum() for c in candidates)
        assert score[range(4), anchors].sum() == pytest.approx(best)
        assert tuple(anchors) in candidates


@pytest.mark.parametrize(
    ("vertices", "directions", "mode", "named"),
    [
        (2, 1, "monotone", "received 2"),
        (128, 3, "monotone", "received 3"),
        (128, -1, "monotone", "received -1"),
        (128, 4, "other", "'other'"),
    ],
)
def test_bad_arguments_are_named(
    square: Polygon, vertices: int, directions: int, mode: str, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        align_contour(square, vertices, directions, mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", range(7))
def test_published_mode_gives_the_published_contour(
    shape: int, expected: dict[str, np.ndarray]
) -> None:
    contour = align_contour(expected[f"label/{shape}.poly_in"], mode="published")
    np.testing.assert_array_equal(contour, expected[f"label/{shape}.gt128"])


@pytest.mark.parametrize("shape", range(7))
def test_modes_agree_where_the_published_one_is_sound(
    shape: int, expected: dict[str, np.ndarray]
) -> None:
    contour = align_contour(expected[f"label/{shape}.poly_in"])
    np.testing.assert_allclose(contour, expected[f"label/{shape}.gt128"], atol=0.2)
