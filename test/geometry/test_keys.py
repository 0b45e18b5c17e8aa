"""Key vertices."""

from __future__ import annotations

import numpy as np
import pytest

from e2ec_core.geometry import Polygon, align_contour, key_vertices, resample_uniform


def test_keys_of_a_square_are_its_corners(square: Polygon) -> None:
    contour = resample_uniform(square, 40)
    np.testing.assert_array_equal(np.flatnonzero(key_vertices(contour, 1.0)), [0, 10, 20, 30])


def test_a_coarse_tolerance_keeps_only_the_start(square: Polygon) -> None:
    assert key_vertices(square, 100.0).tolist() == [True, False, False, False]


def test_a_finer_tolerance_keeps_at_least_as_many() -> None:
    angle = np.arange(128) * 2 * np.pi / 128
    circle = 50 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    counts = [int(key_vertices(circle, tolerance).sum()) for tolerance in (20, 5, 1, 0.1)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_units_do_not_matter(letter_c: Polygon) -> None:
    contour = align_contour(letter_c)
    keys = key_vertices(contour, 1.0)
    np.testing.assert_array_equal(key_vertices(1000 * contour, 1000.0), keys)
    np.testing.assert_array_equal(key_vertices(contour / 1000, 0.001), keys)


@pytest.mark.parametrize("tolerance", [0.0, -1.0])
def test_the_tolerance_must_be_positive(square: Polygon, tolerance: float) -> None:
    with pytest.raises(ValueError, match=f"received {tolerance}"):
        key_vertices(square, tolerance)


@pytest.mark.parametrize("shape", range(7))
def test_keys_are_the_published_ones(shape: int, expected: dict[str, np.ndarray]) -> None:
    contour = expected[f"label/{shape}.gt128"]
    keys = expected[f"label/{shape}.keymask"].astype(bool)
    np.testing.assert_array_equal(key_vertices(contour, 3.0), keys)
    np.testing.assert_array_equal(key_vertices(4 * contour, 12.0), keys)
