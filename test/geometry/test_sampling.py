"""Points along polygons."""

from __future__ import annotations

import numpy as np
import pytest

from e2ec_core.geometry import (
    Polygon,
    edge_lengths,
    points_at,
    resample_uniform,
    sample_edges,
)


def test_square_resampled_to_eight_has_corners_and_middles(square: Polygon) -> None:
    points = resample_uniform(square, 8)
    np.testing.assert_allclose(points[::2], square)
    np.testing.assert_allclose(points[1::2], (square + np.roll(square, -1, axis=0)) / 2)


def test_resampling_to_as_many_points_as_an_even_polygon_has_changes_nothing() -> None:
    angle = np.arange(12) * 2 * np.pi / 12
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(resample_uniform(circle, 12), circle, atol=1e-12)


def test_positions_wrap_around(square: Polygon) -> None:
    np.testing.assert_allclose(points_at(square, [5, 45, -35]), [[2, 8]] * 3)


def test_edges_with_repeated_vertices_are_no_obstacle(square: Polygon) -> None:
    doubled = np.repeat(square, 2, axis=0)
    np.testing.assert_allclose(resample_uniform(doubled, 20), resample_uniform(square, 20))


def test_a_polygon_without_length_is_refused() -> None:
    for sample in (resample_uniform, sample_edges):
        with pytest.raises(ValueError, match="no length"):
            sample([[1, 1], [1, 1], [1, 1]], 8)


def test_numbers_of_points_are_checked(square: Polygon) -> None:
    with pytest.raises(ValueError, match="received 0"):
        resample_uniform(square, 0)
    with pytest.raises(ValueError, match="received 3"):
        sample_edges(square, 3)


def test_dense_sampling_contains_every_vertex_and_the_right_number() -> None:
    rng = np.random.default_rng(0)
    for corners in (3, 10, 40):
        polygon = rng.uniform(0, 100, (corners, 2))
        for n in (corners, corners + 1, 16 * corners):
            dense = sample_edges(polygon, n)
            assert dense.shape == (n, 2)
            gaps = np.abs(dense[:, None] - polygon).sum(axis=-1).min(axis=0)
            np.testing.assert_allclose(gaps, 0, atol=1e-12)


def test_short_edges_are_paid_for_by_the_longest() -> None:
    lengths = np.array([1000.0, *[0.01] * 30])
    polygon = np.stack([np.concatenate([[0], np.cumsum(lengths[:-1])]), np.zeros(31)], axis=1)
    dense = sample_edges(polygon, 40)
    assert len(dense) == 40
    assert edge_lengths(polygon)[0] == 1000
    # 30 tiny edges and the long way back keep at least one point each.
    assert len(np.unique(dense.round(6), axis=0)) >= 31


@pytest.mark.parametrize("shape", range(7))
def test_dense_sampling_is_the_published_one(shape: int, expected: dict[str, np.ndarray]) -> None:
    polygon, dense = expected[f"label/{shape}.poly_cw"], expected[f"label/{shape}.dense"]
    np.testing.assert_array_equal(sample_edges(polygon, 128 * len(polygon)), dense)
