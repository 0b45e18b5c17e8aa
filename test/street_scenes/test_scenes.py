"""Synthetic scenes: reproducible, and their outlines true to what is painted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from street_scenes import (
    STREET_CLASSES,
    Drive,
    SyntheticInstance,
    SyntheticScene,
    make_scene,
)
from street_scenes.outline import signed_area

WIDTH, HEIGHT = 384, 256


@pytest.fixture(scope="module")
def scenes() -> list[SyntheticScene]:
    return [make_scene(seed, WIDTH, HEIGHT) for seed in range(8)]


@pytest.fixture(scope="module")
def instances(scenes: list[SyntheticScene]) -> list[SyntheticInstance]:
    return [instance for scene in scenes for instance in scene.instances]


def _fill(polygon: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pixels whose centre lies inside, from a raster eight times as fine."""
    fine = np.zeros((HEIGHT * 8, WIDTH * 8), np.uint8)
    cv2.fillPoly(fine, [np.round((polygon + 0.5) * 8 - 0.5).astype(np.int32)], 255)
    return (cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) > 127).astype(np.uint8)


def _iou(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float((first & second).sum() / max((first | second).sum(), 1))


def test_same_seed_gives_same_pixels_and_outlines() -> None:
    first, second = make_scene(3, WIDTH, HEIGHT), make_scene(3, WIDTH, HEIGHT)
    assert np.array_equal(first.image_rgb, second.image_rgb)
    assert len(first.instances) == len(second.instances) > 0
    for a, b in zip(first.instances, second.instances, strict=True):
        assert np.array_equal(a.amodal, b.amodal)


def test_other_seed_gives_other_scene() -> None:
    first, second = make_scene(3, WIDTH, HEIGHT), make_scene(4, WIDTH, HEIGHT)
    assert np.abs(first.image_rgb.astype(int) - second.image_rgb).mean() > 5


def test_outline_of_unoccluded_object_is_its_visible_mask(
    instances: list[SyntheticInstance],
) -> None:
    free = [i for i in instances if i.occlusion == 0 and -signed_area(i.amodal) > 300]
    assert len(free) > 10
    overlaps = [_iou(_fill(i.amodal), i.full_mask(HEIGHT, WIDTH)) for i in free]
    assert min(overlaps) > 0.96
    assert np.mean(overlaps) > 0.98


def test_outline_contains_visible_mask(instances: list[SyntheticInstance]) -> None:
    hidden = [i for i in instances if 0.1 < i.occlusion < 0.8 and -signed_area(i.amodal) > 300]
    assert len(hidden) > 5
    for instance in hidden:
        visible, whole = instance.full_mask(HEIGHT, WIDTH), _fill(instance.amodal)
        grown = cv2.dilate(whole, np.ones((3, 3), np.uint8))
        assert not (visible & (1 - grown)).any()


def test_occlusion_is_the_hidden_share(instances: list[SyntheticInstance]) -> None:
    for instance in instances:
        if -signed_area(instance.amodal) < 300:
            continue
        share = 1 - instance.visible_mask.sum() / _fill(instance.amodal).sum()
        assert abs(share - instance.occlusion) < 0.05


def test_visible_masks_do_not_overlap(scenes: list[SyntheticScene]) -> None:
    for scene in scenes:
        total = sum(i.full_mask(HEIGHT, WIDTH).astype(int) for i in scene.instances)
        assert np.max(total) <= 1


def test_outlines_are_sane(instances: list[SyntheticInstance]) -> None:
    for instance in instances:
        polygon = instance.amodal
        assert polygon.dtype == np.float32
        assert len(polygon) >= 3
        assert signed_area(polygon) < 0, "must run counter-clockwise on the screen"
        assert (polygon >= -0.5).all()
        assert (polygon <= (WIDTH - 0.5, HEIGHT - 0.5)).all()
        assert STREET_CLASSES[instance.class_name] == instance.category_id
        assert instance.visible_mask.any()


def test_size_of_a_person_follows_from_distance(scenes: list[SyntheticScene]) -> None:
    seen = 0
    for scene in scenes:
        for instance in scene.instances:
            if instance.class_name != "person" or instance.truncated:
                continue
            tall = np.ptp(instance.amodal[:, 1]) * instance.depth / scene.camera.focal_px
            assert 0.9 < tall < 2.3
            seen += 1
    assert seen > 5


def test_drive_keeps_ids_and_moves_smoothly() -> None:
    drive = Drive(5, WIDTH, HEIGHT, fps=20)
    first, second = drive.frame(30), drive.frame(31)
    before = {i.track_id: i for i in first.instances}
    after = {i.track_id: i for i in second.instances}
    assert len(before) == len(first.instances), "ids must be unique"
    shared = before.keys() & after.keys()
    assert len(shared) >= 0.8 * len(before) > 0
    for track in shared:
        assert before[track].class_name == after[track].class_name
        moved = before[track].depth - after[track].depth
        assert abs(moved) < 1.5


def test_drive_is_random_access() -> None:
    straight = [Drive(5, WIDTH, HEIGHT).frame(i).image_rgb for i in (0, 7)][1]
    assert np.array_equal(straight, Drive(5, WIDTH, HEIGHT).frame(7).image_rgb)


@pytest.mark.parametrize(("seed", "width"), [(-1, 640), (0, 10)])
def test_impossible_scene_is_refused(seed: int, width: int) -> None:
    with pytest.raises(ValueError, match="got"):
        make_scene(seed, width, 384)
