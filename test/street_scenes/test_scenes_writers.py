"""Annotation files of synthetic scenes: read back by pycocotools, true to the scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from street_scenes import (
    SyntheticScene,
    make_scene,
    write_coco_dataset,
    write_kins_dataset,
)
from street_scenes.outline import signed_area
from street_scenes.writers import run_lengths

coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
coco_mask = pytest.importorskip("pycocotools.mask")

WIDTH, HEIGHT = 320, 224


@pytest.fixture(scope="module")
def scenes() -> list[SyntheticScene]:
    return [make_scene(seed, WIDTH, HEIGHT) for seed in range(20, 25)]


def test_coco_file_reads_back(scenes: list[SyntheticScene], tmp_path: Path) -> None:
    path = write_coco_dataset(iter(scenes), tmp_path, "val", max_occlusion=1.0)
    read = coco.COCO(str(path))
    assert len(read.getImgIds()) == len(scenes)
    for number, scene in enumerate(scenes, start=1):
        image = read.loadImgs(number)[0]
        picture = cv2.imread(str(tmp_path / "val" / image["file_name"]))
        assert picture is not None
        assert picture.shape == scene.image_rgb.shape
        assert np.abs(picture[..., ::-1].astype(int) - scene.image_rgb).mean() < 8
        annotations = read.loadAnns(read.getAnnIds(imgIds=number))
        assert len(annotations) == len(scene.instances)
        for annotation, instance in zip(annotations, scene.instances, strict=True):
            assert annotation["category_id"] == instance.category_id
            area = -signed_area(instance.amodal)
            assert annotation["area"] == pytest.approx(area, rel=0.01, abs=1)
            # pycocotools rasters polygons coarsely, which shows on small ones.
            if area > 300:
                assert read.annToMask(annotation).sum() == pytest.approx(area, rel=0.08)


def test_visible_segmentation_is_the_visible_mask(
    scenes: list[SyntheticScene], tmp_path: Path
) -> None:
    path = write_coco_dataset(scenes, tmp_path, "val", segmentation="visible", max_occlusion=0.9)
    read = coco.COCO(str(path))
    compared = 0
    for number, scene in enumerate(scenes, start=1):
        masks = {i.track_id: i.full_mask(HEIGHT, WIDTH) for i in scene.instances}
        for annotation in read.loadAnns(read.getAnnIds(imgIds=number)):
            mask, truth = read.annToMask(annotation), masks[annotation["track_id"]]
            if truth.sum() > 150 and annotation["occlusion"] > 0:
                assert (mask & truth).sum() / (mask | truth).sum() > 0.85
                compared += 1
    assert compared > 3


def test_occlusion_limit_leaves_hidden_objects_out(
    scenes: list[SyntheticScene], tmp_path: Path
) -> None:
    path = write_coco_dataset(scenes, tmp_path, "val", max_occlusion=0.3)
    content = json.loads(path.read_text())
    assert content["annotations"]
    assert max(a["occlusion"] for a in content["annotations"]) <= 0.3
    assert any(i.occlusion > 0.3 for scene in scenes for i in scene.instances)


@pytest.mark.parametrize("write", [write_coco_dataset, write_kins_dataset])
def test_tiny_objects_can_go_unlabelled(
    scenes: list[SyntheticScene], tmp_path: Path, write: Callable[..., Path]
) -> None:
    areas = [
        [float(a["area"]) for a in json.loads(path.read_text())["annotations"]]
        for path in (write(scenes, tmp_path, "all"), write(scenes, tmp_path, "v", min_area=300))
    ]
    assert sorted(areas[1]) == sorted(area for area in areas[0] if area >= 300)
    assert 0 < len(areas[1]) < len(areas[0])


def test_kins_file_holds_whole_and_visible_shapes(
    scenes: list[SyntheticScene], tmp_path: Path
) -> None:
    path = write_kins_dataset(scenes, tmp_path, "val", max_occlusion=1.0)
    read = coco.COCO(str(path))
    assert set(read.getCatIds()) == {1, 2, 4, 5, 6, 7, 8}
    hidden = 0
    for annotation in read.loadAnns(read.getAnnIds()):
        visible = coco_mask.decode(annotation["inmodal_seg"])
        whole = read.annToMask(annotation)
        assert visible.shape == (HEIGHT, WIDTH)
        if annotation["area"] > 300:
            grown = cv2.dilate(whole, np.ones((5, 5), np.uint8))
            assert not (visible & (1 - grown)).any()
        left, top, width, height = annotation["inmodal_bbox"]
        assert visible[top : top + height, left : left + width].sum() == visible.sum() > 0
        hidden += visible.sum() < 0.7 * whole.sum()
    assert hidden > 3


def test_rider_and_bicycle_are_one_kins_cyclist(
    scenes: list[SyntheticScene], tmp_path: Path
) -> None:
    pairs = 0
    for scene in scenes:
        bicycles = {i.track_id for i in scene.instances if i.class_name == "bicycle"}
        pairs += sum(i.vehicle_id in bicycles for i in scene.instances)
    content = json.loads(write_kins_dataset(scenes, tmp_path, "v", max_occlusion=1).read_text())
    cyclists = [a for a in content["annotations"] if a["category_id"] == 1]
    assert len(cyclists) == pairs > 0
    assert all(len(a["segmentation"]) == 2 for a in cyclists)


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_equal_those_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    small = (rng.random((9, 7)) < rng.uniform(0.1, 0.9)).astype(np.uint8)
    mask = np.kron(small, np.ones((11, 13), np.uint8))
    expected = coco_mask.encode(np.asfortranarray(mask))
    found = run_lengths(mask)
    assert found["size"] == expected["size"]
    assert found["counts"] == expected["counts"].decode()
