"""Placements of the published rules, and images and points moving together."""

from __future__ import annotations

import numpy as np
import pytest

from e2ec_core.inference.preprocess import (
    fit_inside,
    fit_side,
    fit_sides,
    letterbox,
    pad_to_32,
    place_image,
    published_placement,
    rescale,
)


def test_kins_rule_as_stated_for_a_kitti_frame() -> None:
    placement = published_placement("kins", (375, 1242))
    assert placement.input_size == (768, 2496)
    assert placement.to_input[0, 0] == pytest.approx(2496 / 1242)
    assert placement.to_input[1, 2] == pytest.approx(384 - 2496 / 1242 * 187)


def test_cityscapes_rule() -> None:
    placement = published_placement("cityscapes", (1024, 2048))
    assert placement.input_size == (1216, 2432)
    assert placement.to_input[0, 0] == pytest.approx(1.1875)


def test_coco_rule_always_enlarges() -> None:
    placement = published_placement("coco", (480, 640))
    assert placement.input_size == (512, 672)
    assert placement.to_input[0, 0] == pytest.approx(1.05)
    assert pad_to_32((31, 33)).input_size == (32, 64)


def test_letterbox_centres_the_longer_side() -> None:
    placement = letterbox((375, 500))
    np.testing.assert_allclose(placement.to_input, [[1.024, 0, 0], [0, 1.024, 64.512]])


@pytest.mark.parametrize(
    ("side", "expected"), [("long", (160, 512)), ("short", (512, 1696))], ids=["long", "short"]
)
def test_fit_side_pads_to_multiples_of_32(side: str, expected: tuple[int, int]) -> None:
    placement = fit_side((375, 1242), 512, side)
    assert placement.input_size == expected


def test_points_return_to_where_they_came_from() -> None:
    points = np.random.default_rng(0).uniform(-50, 1300, (20, 128, 2))
    for placement in (fit_side((375, 1242), 512), rescale((375, 1242), 0.85), letterbox((20, 7))):
        there = placement.points_to_input(points)
        np.testing.assert_allclose(placement.points_to_image(there), points, atol=1e-9)


@pytest.mark.parametrize("length", [64, 100, 200, 331])
def test_a_bright_spot_lies_where_its_centre_is_mapped(length: int) -> None:
    rows, columns = np.mgrid[:200, :120, :3][:2]
    # Smooth, so that sampling without averaging does not move its centre.
    blob = 255 * np.exp(-((columns - 40) ** 2 + (rows - 100) ** 2) / (2 * 9.0**2))
    image = np.round(blob).astype(np.uint8)
    for placement in (fit_side((200, 120), length), letterbox((200, 120), (length, length))):
        placed = place_image(image, placement)
        assert placed.shape == (*placement.input_size, 3)
        y, x = np.mgrid[: placed.shape[0], : placed.shape[1]]
        weight = placed[..., 0].astype(float)
        centre = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
        expected = placement.points_to_input(np.array([40.0, 100.0]))
        np.testing.assert_allclose(centre, expected, atol=0.06)


def test_an_image_that_needs_no_scaling_is_only_padded() -> None:
    image = np.random.default_rng(1).integers(0, 256, (50, 64, 3), dtype=np.uint8)
    placed = place_image(image, fit_side((50, 64), 64))
    np.testing.assert_array_equal(placed[:50], image)
    assert not placed[50:].any()


def test_impossible_values_are_named() -> None:
    with pytest.raises(ValueError, match="image size is 0x640"):
        fit_side((0, 640), 512)
    with pytest.raises(ValueError, match="factor is 0"):
        rescale((10, 10), 0)
    with pytest.raises(ValueError, match="short side is -3"):
        fit_side((10, 10), -3, "short")


@pytest.mark.parametrize("image_size", [(1, 2000), (20, 1000), (3000, 2)])
def test_a_strip_is_not_scaled_beyond_what_fits_into_memory(image_size: tuple[int, int]) -> None:
    placement = fit_sides(image_size, 384, 512)
    assert max(placement.input_size) == 4096
    assert min(placement.input_size) % 32 == 0


@pytest.mark.parametrize("image", [(375, 1242), (480, 640), (1080, 1920), (100, 100), (900, 50)])
@pytest.mark.parametrize("size", [(384, 1280), (352, 512), (512, 512)])
def test_an_image_fills_an_input_of_given_size_in_one_direction(
    image: tuple[int, int], size: tuple[int, int]
) -> None:
    placement = fit_inside(image, size)
    assert placement.input_size == size
    height, width = placement.content_size or (0, 0)
    assert height <= size[0]
    assert width <= size[1]
    assert height == size[0] or width == size[1]
    assert height / image[0] == pytest.approx(width / image[1], rel=0.05)
    assert place_image(np.zeros((*image, 3), np.uint8), placement).shape == (*size, 3)
