"""Ground-truth heatmaps."""

from __future__ import annotations

import numpy as np
import pytest

from e2ec_core.learning.heatmaps import draw_gaussian, gaussian_radius


def test_radius_grows_with_the_box_and_is_symmetric() -> None:
    radii = [gaussian_radius(side, side) for side in (1, 5, 20, 100)]
    assert radii == sorted(radii)
    assert gaussian_radius(3, 40) == pytest.approx(gaussian_radius(40, 3))


def test_a_smaller_overlap_allows_a_larger_radius() -> None:
    assert gaussian_radius(20, 20, 0.5) > gaussian_radius(20, 20, 0.7)


def test_gaussian_is_one_at_its_cell_and_falls_off() -> None:
    heatmap = draw_gaussian(np.zeros((20, 30), np.float32), (12, 8), 3)
    assert heatmap[8, 12] == 1
    assert (heatmap == 1).sum() == 1
    assert (heatmap > 0).sum() == 49
    assert heatmap[8, 13] == pytest.approx(np.exp(-1 / (2 * (7 / 6) ** 2)))
    np.testing.assert_array_equal(heatmap[:, 9:16], heatmap[:, 9:16][:, ::-1])


def test_radius_zero_marks_one_cell() -> None:
    heatmap = draw_gaussian(np.zeros((5, 5), np.float32), (2, 2), 0)
    assert heatmap.sum() == 1


def test_overlapping_gaussians_keep_the_larger_value() -> None:
    both = np.zeros((20, 20), np.float32)
    single = [draw_gaussian(np.zeros((20, 20), np.float32), (x, 9), 4) for x in (8, 11)]
    draw_gaussian(draw_gaussian(both, (8, 9), 4), (11, 9), 4)
    np.testing.assert_array_equal(both, np.maximum(*single))


def test_borders_cut_the_gaussian() -> None:
    whole = draw_gaussian(np.zeros((40, 40), np.float32), (20, 20), 6)
    corner = draw_gaussian(np.zeros((10, 12), np.float32), (11, 0), 6)
    np.testing.assert_array_equal(corner, whole[20:30, 9:21])


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(5, 0\)"):
        draw_gaussian(np.zeros((5, 5), np.float32), (5, 0), 1)
    with pytest.raises(ValueError, match="received 0"):
        gaussian_radius(0, 3)


def test_radii_are_the_published_ones(expected: dict[str, np.ndarray]) -> None:
    sizes = expected["label/gaussian_radius.hw"]
    radii = [gaussian_radius(float(height), float(width)) for height, width in sizes]
    np.testing.assert_allclose(radii, expected["label/gaussian_radius.r"], rtol=1e-12)


def test_heatmap_is_the_published_one(expected: dict[str, np.ndarray]) -> None:
    wanted = expected["label/heatmap"]
    heatmap = np.zeros_like(wanted)
    for y, x in np.argwhere(wanted == 1):
        # The largest radius that stays below the wanted map is the one it was drawn with.
        fitting = [
            drawn
            for radius in range(20)
            if ((drawn := draw_gaussian(np.zeros_like(wanted), (x, y), radius)) <= wanted).all()
        ]
        np.maximum(heatmap, fitting[-1], out=heatmap)
    np.testing.assert_array_equal(heatmap, wanted)
