"""Random views: pixels and outlines move together, every part is seen, pasted objects occlude."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ec_core.data.labelled import Instance
from e2ec_core.geometry import Polygon, contour_to_mask, signed_area
from e2ec_core.learning.augment import (
    AugmentConfig,
    View,
    apply_affine,
    between_centres,
    change_colors,
    draw_affine,
    make_view,
    move_instance,
    paste,
    raster,
    warp_image,
)

CONFIG = AugmentConfig(size=(128, 160), base_side=None, scale=(1.0, 1.0), rotation=0.0, flip=0.0)
WILD = AugmentConfig(size=(128, 160), base_side=200, scale=(0.6, 1.8), rotation=20.0)


def rectangle(x: float, y: float, width: float, height: float) -> Polygon:
    """Counter-clockwise on the screen."""
    right, bottom = x + width, y + height
    return np.array([[x, y], [x, bottom], [right, bottom], [right, y]], np.float64)


def painted(outline: Polygon, height: int, width: int, factor: int = 8) -> np.ndarray:
    """White polygon on black, uint8 [H, W, 3], from a mask `factor` times finer."""
    fine = contour_to_mask(outline * factor - 0.5, height * factor, width * factor)
    share = fine.reshape(height, factor, width, factor).mean(axis=(1, 3))
    return np.repeat(np.round(255 * share).astype(np.uint8)[..., None], 3, axis=2)


def mask(outline: Polygon, size: tuple[int, ...]) -> np.ndarray:
    """Exact mask of a polygon whose coordinates have edges at the integers."""
    return contour_to_mask(outline - 0.5, size[0], size[1]).astype(bool)


def instance(*parts: Polygon, class_id: int = 0) -> Instance:
    return Instance(class_id=class_id, parts=parts)


def area(item: Instance) -> float:
    return sum(abs(signed_area(part)) for part in item.parts)


def test_identity_changes_no_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8)
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(warp_image(image, identity, (128, 160)), image)


def test_without_randomness_the_view_is_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8)
    view = make_view(
        np.random.default_rng(1), image, [instance(rectangle(30, 20, 60, 40))], CONFIG
    )
    np.testing.assert_array_equal(view.image, image)
    np.testing.assert_allclose(view.instances[0].parts[0], rectangle(30, 20, 60, 40))


def test_flipping_moves_edges_to_edges() -> None:
    """Label coordinates count from the image's edge: x becomes width - x, not width - 1 - x."""
    image = np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8)
    flipped = make_view(
        np.random.default_rng(1),
        image,
        [instance(rectangle(30, 20, 60, 40))],
        replace(CONFIG, flip=1.0),
    )
    np.testing.assert_array_equal(flipped.image, image[:, ::-1])
    np.testing.assert_allclose(flipped.instances[0].box_xyxy, [70, 20, 130, 60])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_pixels_and_outlines_move_alike(seed: int) -> None:
    corners = [(40, 30), (30, 110), (90, 120), (80, 80), (160, 90), (150, 20)]
    outline = np.array(corners, np.float64)
    view = make_view(
        np.random.default_rng(seed),
        painted(outline, 150, 200),
        [instance(outline)],
        replace(WILD, min_visible=0.0, min_area=300.0),
    )
    seen = view.image[..., 0] > 127
    if not view.instances:
        assert seen.sum() < 400
        return
    expected = np.logical_xor.reduce([mask(p, (128, 160)) for p in view.instances[0].parts])
    assert (seen & expected).sum() / (seen | expected).sum() > 0.97


@pytest.mark.parametrize("image_size", [(150, 200), (250, 100), (40, 50)])
def test_every_part_of_an_image_can_be_seen(image_size: tuple[int, int]) -> None:
    height, width = image_size
    y, x = np.mgrid[:height, :width]
    image = np.stack([x, y, np.full_like(x, 255)], axis=2).astype(np.uint8)  # pixels know where
    seen = np.zeros(image_size, bool)
    rng = np.random.default_rng(0)
    config = replace(WILD, base_side=400, size=(64, 96))
    for _ in range(300):
        pixels = make_view(rng, image, [], config).image.reshape(-1, 3)
        columns, rows = pixels[pixels[:, 2] == 255, :2].T
        seen[rows, columns] = True
    assert seen[1:-1, 1:-1].all()


KINS = AugmentConfig(
    size=(384, 896), base_side=None, scale=(2.0, 2.5), rotation=0.0, crops="published"
)


def _windows(config: AugmentConfig, size: tuple[int, int], count: int = 2000) -> np.ndarray:
    """Boxes [count, 4] that views show, xyxy in image px with centres at the integers."""
    rng, focus = np.random.default_rng(0), rectangle(0, 0, size[1], size[0])
    height, width = config.size
    corners = np.array([[0.0, 0.0], [width, height]])
    boxes = []
    for _ in range(count):
        matrix = between_centres(draw_affine(rng, config, size, focus))
        back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
        boxes.append(np.sort(apply_affine(back, corners), axis=0).ravel())
    return np.array(boxes)


def test_published_crops_of_kins_never_reach_the_sides() -> None:
    """Figures of the published pipeline: middles 465..776 of 1242, windows of 358 to 448 px."""
    windows = _windows(KINS, (375, 1242))
    middles, widths = windows[:, [0, 2]].mean(axis=1), windows[:, 2] - windows[:, 0]
    assert windows[:, 0].min() > 240
    assert windows[:, 2].max() < 1002
    assert (middles.min(), middles.max()) == (pytest.approx(465), pytest.approx(776))
    np.testing.assert_allclose([widths.min(), widths.max()], [358.4, 448], atol=0.5)
    # Uniform in the window's width, not in the scale.
    assert widths.mean() == pytest.approx((358.4 + 448) / 2, abs=1.5)
    rows = windows[:, [1, 3]].mean(axis=1)
    assert (rows.min(), rows.max()) == (pytest.approx(187 - 94), pytest.approx(187 + 93))


def test_published_crops_of_sbd_are_cut_from_the_longer_side() -> None:
    config = replace(KINS, size=(512, 512), base_side=512, scale=(1 / 1.4, 1 / 0.6))
    windows = _windows(config, (375, 500))
    widths = windows[:, 2] - windows[:, 0]
    np.testing.assert_allclose([widths.min(), widths.max()], [300, 700], atol=2)
    middles = windows[:, [0, 2]].mean(axis=1)
    assert (middles.min(), middles.max()) == (pytest.approx(250 - 126), pytest.approx(250 + 125))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_pixels_and_outlines_move_alike_in_published_crops(seed: int) -> None:
    outline = np.array([(70, 60), (60, 100), (130, 110), (140, 50)], np.float64)
    config = replace(WILD, rotation=0.0, crops="published", min_visible=0.0, min_area=10.0)
    view = make_view(
        np.random.default_rng(seed), painted(outline, 150, 200), [instance(outline)], config
    )
    seen = view.image[..., 0] > 127
    assert view.instances
    expected = np.logical_xor.reduce([mask(p, (128, 160)) for p in view.instances[0].parts])
    assert (seen & expected).sum() / (seen | expected).sum() > 0.97


def test_a_published_flip_takes_labels_for_pixel_centres() -> None:
    """x becomes width - 1 - x, as pixels do, though labels count from the edge."""
    config = replace(CONFIG, flip=1.0, crops="published")
    thing = instance(rectangle(70, 50, 20, 20))
    image = np.zeros((128, 160, 3), np.uint8)
    boxes = {}
    for origin in ("corner", "centre"):
        view = make_view(np.random.default_rng(5), image, [thing], config, origin)
        boxes[origin] = view.instances[0].box_xyxy
    np.testing.assert_allclose(boxes["centre"] - boxes["corner"], [-1, 0, -1, 0], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_view_shows_the_image_wherever_it_can(seed: int) -> None:
    """Without rotation, a view has no black border on a side where the image goes on."""
    size = (150, 200)
    config = replace(WILD, rotation=0.0)
    focus = rectangle(0, 0, 200, 150)
    matrix = draw_affine(np.random.default_rng(seed), config, size, focus)
    placed = apply_affine(matrix, focus)
    low, high = placed.min(axis=0), placed.max(axis=0)
    for axis, length in enumerate((160, 128)):
        if high[axis] - low[axis] >= length:
            assert low[axis] <= 1e-6
            assert high[axis] >= length - 1e-6
        else:
            assert low[axis] == pytest.approx(length - high[axis])


def test_an_object_outside_the_view_is_left_out() -> None:
    shift = np.array([[1.0, 0, -500], [0, 1, 0]])
    assert move_instance(instance(rectangle(30, 20, 60, 40)), shift, (128, 160), CONFIG) is None


def test_an_object_cut_by_the_border_ends_at_the_border() -> None:
    shift = np.array([[1.0, 0, 100], [0, 1, 0]])
    moved = move_instance(instance(rectangle(30, 20, 60, 40)), shift, (128, 160), CONFIG)
    assert moved is not None
    np.testing.assert_allclose(moved.box_xyxy, [130, 20, 160, 60])
    assert area(moved) == pytest.approx(30 * 40)


def test_objects_of_which_too_little_is_left_are_not_learnt() -> None:
    shift = np.array([[1.0, 0, 100], [0, 1, 0]])  # half of the object stays
    thing = instance(rectangle(30, 20, 60, 40), class_id=3)
    for visible, kept in ((0.49, True), (0.51, False)):
        moved = move_instance(thing, shift, (128, 160), replace(CONFIG, min_visible=visible))
        assert (moved is not None) == kept
    for least, kept in ((1199.0, True), (1201.0, False)):
        moved = move_instance(thing, shift, (128, 160), replace(CONFIG, min_area=least))
        assert (moved is not None) == kept


def test_class_and_crowd_stay_with_the_object() -> None:
    crowd = Instance(class_id=5, parts=(rectangle(30, 20, 60, 40),), crowd=True)
    moved = move_instance(crowd, np.eye(2, 3), (128, 160), CONFIG)
    assert moved is not None
    assert (moved.class_id, moved.crowd) == (5, True)


def test_raster_is_exact() -> None:
    """`cv2.fillPoly` would paint every pixel that the outline touches."""
    outline = np.array([(40.3, 30), (-30, 110.7), (90, 140), (150.5, 20)], np.float64)
    part, gone = rectangle(140, 100, 10, 20), rectangle(200, 200, 30, 30)
    expected = mask(outline, (128, 160)) | mask(part, (128, 160))
    drawn = raster([outline, part, gone], (128, 160))
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn.astype(bool), expected)
    assert raster([rectangle(30, 20, 60, 40)], (128, 160)).sum() == 60 * 40


def _grey_view(*instances: Instance) -> View:
    return View(image=np.full((128, 160, 3), 100, np.uint8), instances=instances)


WHITE = np.full((128, 160, 3), 255, np.uint8)


def test_a_pasted_object_covers_the_pixels_below() -> None:
    pasted = paste(_grey_view(), WHITE, instance(rectangle(30, 20, 60, 40), class_id=2), CONFIG)
    (only,) = pasted.instances
    assert only.class_id == 2
    assert (pasted.image[25:55, 35:85] == 255).all()
    untouched = np.ones((128, 160), bool)
    untouched[17:64, 27:94] = False
    assert (pasted.image[untouched] == 100).all()


def test_pasting_shrinks_what_is_visible_below() -> None:
    below = instance(rectangle(20, 20, 80, 60))
    view = paste(_grey_view(below), WHITE, instance(rectangle(60, 10, 80, 90)), CONFIG)
    visible, over = view.instances
    assert area(over) == 80 * 90
    assert area(visible) == pytest.approx(40 * 60, rel=0.03)
    assert visible.box_xyxy[2] == pytest.approx(60, abs=0.3)
    covered = mask(visible.parts[0], (128, 160)) & mask(over.parts[0], (128, 160))
    assert covered.sum() == 0


def test_an_object_behind_a_pasted_pole_falls_into_parts() -> None:
    below = instance(rectangle(20, 20, 100, 60), class_id=4)
    view = paste(_grey_view(below), WHITE, instance(rectangle(60, 0, 10, 128)), CONFIG)
    assert len(view.instances[0].parts) == 2
    assert view.instances[0].class_id == 4
    assert area(view.instances[0]) == pytest.approx(90 * 60, rel=0.05)


def test_a_covered_object_is_gone_and_others_stay_as_they_are() -> None:
    covered, other = instance(rectangle(40, 40, 20, 20)), instance(rectangle(120, 90, 20, 20))
    view = paste(_grey_view(covered, other), WHITE, instance(rectangle(30, 30, 60, 60)), CONFIG)
    assert len(view.instances) == 2
    assert view.instances[0] is other


def test_colours_stay_without_change_and_differ_with_it() -> None:
    image = np.random.default_rng(0).integers(40, 200, (32, 32, 3), np.uint8)
    plain = replace(CONFIG, color=0.0, blur=0.0)
    np.testing.assert_array_equal(change_colors(np.random.default_rng(0), image, plain), image)
    changed = change_colors(np.random.default_rng(0), image, replace(plain, color=0.4))
    assert changed.dtype == np.uint8
    assert np.abs(changed.astype(int) - image).mean() > 3


PUBLISHED_COLORS = replace(CONFIG, color=0.4, blur=0.0, colors="published")


def test_published_colours_without_change_add_light_alone() -> None:
    """Light is N(0, 0.1) along each principal component, its length the component's spread."""
    grey = np.full((2, 2, 3), 128, np.uint8)
    config = replace(PUBLISHED_COLORS, color=0.0)
    shifts = np.array(
        [
            change_colors(np.random.default_rng(seed), grey, config)[0, 0].astype(float) - 128
            for seed in range(3000)
        ]
    )
    # Variances of R, G, B: squares of 25.5 px levels times spread, turned by the components.
    values = np.array([0.2141788, 0.01817699, 0.00341571])
    axes = np.array(
        [
            [-0.58752847, -0.69563484, 0.41340352],
            [-0.5832747, 0.00994535, -0.81221408],
            [-0.56089297, 0.71832671, 0.41158938],
        ]
    )[::-1]
    covariance = axes @ np.diag((25.5 * values) ** 2) @ axes.T
    np.testing.assert_allclose(np.cov(shifts.T), covariance, rtol=0.08, atol=0.15)
    assert np.abs(shifts.mean(axis=0)).max() < 0.3


def test_published_colours_change_brightness_contrast_and_saturation() -> None:
    """Grey pixels 40 levels apart: every change is a factor of 0.6 to 1.4 on their difference.

    Saturation goes back to the first grey: 0.36 and 1.96 become 0.1 and 2.34 at most.
    """
    levels = np.repeat(np.array([[40, 80]], np.uint8)[..., None], 3, axis=2)
    gains = []
    for seed in range(600):
        low, high = change_colors(np.random.default_rng(seed), levels, PUBLISHED_COLORS)[0]
        gains.append((float(high[1]) - float(low[1])) / 40)
    assert 0.05 < min(gains) < 0.5
    assert 1.6 < max(gains) < 2.4
    assert np.mean(gains) == pytest.approx(1.0, abs=0.04)
    colored = np.tile(np.array([200, 100, 60], np.uint8), (1, 1, 1))
    differences = [
        np.ptp(change_colors(np.random.default_rng(s), colored, PUBLISHED_COLORS)[0, 0])
        for s in range(200)
    ]
    assert min(differences) < 90
    assert max(differences) > 190


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"size": (100, 128)}, r"size is \(100, 128\); .*multiples of 32"),
        ({"size": (0, 128)}, "size is"),
        ({"size": (128,)}, "size is"),
        ({"scale": (1.5, 0.5)}, r"scale is \(1.5, 0.5\)"),
        ({"scale": (0.0, 0.5)}, "scale is"),
        ({"scale": (1.0,)}, "scale is"),
    ],
)
def test_impossible_settings_are_named(settings_: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**settings_)  # type: ignore[arg-type]
