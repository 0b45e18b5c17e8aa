"""Targets made from polygons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from e2ec_core.geometry import Polygon, align_contour, signed_area
from e2ec_core.learning.heatmaps import draw_gaussian, gaussian_radius
from e2ec_core.learning.samples import Samples, stack_samples
from e2ec_core.learning.targets import TargetSettings, make_targets

SETTINGS = TargetSettings(num_classes=3, max_instances=5)


def rectangle(x: float, y: float, width: float, height: float) -> Polygon:
    """Clockwise on the screen, so that targets have to turn it."""
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


def test_one_rectangle() -> None:
    targets = make_targets([[rectangle(40, 60, 80, 40)]], [2], (128, 192), SETTINGS)
    assert targets.valid.tolist() == [True, False, False, False, False]
    assert targets.cells[0].tolist() == [20, 20]
    assert targets.boxes[0].tolist() == [40, 60, 120, 100]
    assert targets.class_ids[0] == 2
    assert targets.heatmap.shape == (3, 32, 48)
    radius = int(gaussian_radius(10, 20))
    drawn = draw_gaussian(np.zeros((32, 48), np.float32), (20, 20), radius)
    np.testing.assert_array_equal(targets.heatmap[2], drawn)
    assert not targets.heatmap[:2].any()
    assert signed_area(targets.contours[0].numpy()) == pytest.approx(-3200, rel=0.01)
    np.testing.assert_allclose(targets.contours[0, 0], [80, 100], atol=0.5)  # bottom, middle
    assert targets.keys[0].sum() == 5  # the start and the four corners


def test_no_instances() -> None:
    targets = make_targets([], [], (64, 64), SETTINGS)
    assert not targets.valid.any()
    assert not targets.heatmap.any()
    assert (targets.instance_ids == -1).all()


def test_small_and_invisible_parts_are_left_out() -> None:
    outlines = [
        [rectangle(10, 10, 8.9, 8.9)],
        [rectangle(10, 10, 9, 9)],
        [rectangle(200, 0, 9, 99)],
    ]
    targets = make_targets(outlines, [0, 1, 2], (128, 128), SETTINGS)
    assert targets.instance_ids[targets.valid].tolist() == [1]


@pytest.mark.parametrize(("border", "right"), [(1.0, 127.0), (4.0, 124.0)])
def test_instances_are_cut_at_the_border(border: float, right: float) -> None:
    settings = replace(SETTINGS, border=border)
    targets = make_targets([[rectangle(100, -50, 100, 90)]], [0], (128, 128), settings)
    assert targets.boxes[0].tolist() == [100, 0, right, 40]
    assert targets.contours[0].max() <= right
    assert targets.contours[0].min() >= 0


def test_a_sliver_at_the_border_keeps_its_centre_on_the_map() -> None:
    targets = make_targets([[rectangle(126, 0, 50, 127)]], [0], (128, 128), SETTINGS)
    assert targets.valid[0]
    assert targets.cells[0, 0] == 31


def test_centres_are_rounded_as_published_half_to_even() -> None:
    for x, cell in ((40, 15), (42, 16), (44, 16), (46, 16), (50, 18)):
        targets = make_targets([[rectangle(x, 40, 40, 40)]], [0], (128, 128), SETTINGS)
        assert targets.cells[0, 0] == cell, x


def test_parts_of_an_instance() -> None:
    parts = [[rectangle(10, 10, 20, 20), rectangle(60, 10, 40, 20)], [rectangle(10, 70, 30, 30)]]
    each = make_targets(parts, [0, 1], (128, 128), SETTINGS)
    assert each.instance_ids[each.valid].tolist() == [0, 0, 1]
    assert each.class_ids[each.valid].tolist() == [0, 0, 1]
    largest = make_targets(parts, [0, 1], (128, 128), replace(SETTINGS, parts="largest"))
    assert largest.boxes[:2, 0].tolist() == [60, 10]


def test_too_many_instances_leave_out_the_smallest() -> None:
    sides = [20, 50, 11, 40, 30, 12, 60]
    outlines = [[rectangle(5, 5, side, side)] for side in sides]
    targets = make_targets(outlines, [0] * 7, (128, 128), SETTINGS)
    assert targets.instance_ids.tolist() == [0, 1, 3, 4, 6]


def test_small_objects_get_keys_from_a_tolerance_relative_to_their_box() -> None:
    outline = [[rectangle(40, 40, 12, 12)]]
    plain = make_targets(outline, [0], (128, 128), SETTINGS)
    relative = make_targets(outline, [0], (128, 128), replace(SETTINGS, key_tolerance_of_box=0.1))
    assert plain.keys[0].sum() < relative.keys[0].sum() == 5


def test_bad_labels_are_named() -> None:
    outline = [[rectangle(10, 10, 50, 50)]]
    with pytest.raises(ValueError, match="received 3"):
        make_targets(outline, [3], (128, 128), SETTINGS)
    with pytest.raises(ValueError, match="1 instances and 2 classes"):
        make_targets(outline, [0, 1], (128, 128), SETTINGS)
    with pytest.raises(ValueError, match=r"\(126, 128\)"):
        make_targets(outline, [0], (126, 128), SETTINGS)
    with pytest.raises(ValueError, match="'all'"):
        replace(SETTINGS, parts="all")  # type: ignore[arg-type]


def test_stacking_keeps_every_value_of_the_slots_that_are_used() -> None:
    one = make_targets([[rectangle(10, 10, 50, 50)]], [0], (128, 128), SETTINGS)
    none = make_targets([], [], (128, 128), SETTINGS)
    batch = stack_samples([one, none])
    for name, stacked, alone in zip(Samples._fields, batch, one, strict=True):
        cut = alone if name in ("image", "image_id", "heatmap") else alone[:1]
        assert torch.equal(stacked[0], cut), name
    assert batch.contours.shape == (2, 1, 128, 2)
    assert stack_samples([none]).valid.shape == (1, 1)
    with pytest.raises(ValueError, match="none"):
        stack_samples([])


@pytest.mark.parametrize("shape", range(1, 7))  # shape 0 leaves the image
def test_contour_and_keys_are_the_published_ones(
    shape: int, expected: dict[str, np.ndarray]
) -> None:
    settings = replace(SETTINGS, alignment="published", border=4.0)
    polygon = 4 * expected[f"label/{shape}.poly_in"]
    targets = make_targets([[polygon]], [0], (512, 512), settings)
    contour = 4 * expected[f"label/{shape}.gt128"]
    np.testing.assert_allclose(targets.contours[0], contour, rtol=1e-6)
    keys = expected[f"label/{shape}.keymask"].astype(bool)
    np.testing.assert_array_equal(targets.keys[0], keys)


def test_heatmap_of_a_published_batch(expected: dict[str, np.ndarray]) -> None:
    """Made from the aligned contours, whose boxes differ a little from those of the labels."""
    valid = expected["train/batch.ct_01"][0]
    contours = 4 * expected["train/batch.img_gt_polys"][0][valid]
    class_ids = expected["train/batch.ct_cls"][0][valid]
    index = expected["train/batch.ct_ind"][0][valid]
    settings = TargetSettings(num_classes=20, border=4.0)
    targets = make_targets([[c] for c in contours], class_ids, (512, 512), settings)
    cells = np.stack([index % 128, index // 128], axis=1)
    off = np.abs(targets.cells[: len(cells)].numpy() - cells).sum(axis=1)
    assert (off == 0).sum() >= len(cells) - 1
    assert off.max() <= 1
    same = off == 0
    wanted = expected["train/batch.ct_hm"][0]
    for (x, y), class_id in zip(cells[same], class_ids[same], strict=True):
        row = slice(max(x - 2, 0), x + 3)
        np.testing.assert_allclose(targets.heatmap[class_id, y, row], wanted[class_id, y, row])


def test_targets_follow_the_alignment_settings() -> None:
    polygon = rectangle(20, 20, 90, 50)
    settings = replace(SETTINGS, vertices=64, directions=8)
    targets = make_targets([[polygon]], [0], (128, 128), settings)
    np.testing.assert_allclose(targets.contours[0], align_contour(polygon, 64, 8), rtol=1e-6)
