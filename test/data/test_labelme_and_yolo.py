"""Labels of labelme and of YOLO-seg."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from e2ec_core.data.formats import read_dataset

SQUARE = [[10.0, 10.0], [10.0, 40.0], [50.0, 40.0], [50.0, 10.0]]


def _image(path: Path, height: int = 60, width: int = 80) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def _labelme(path: Path, shapes: list[dict], **more: object) -> None:
    record = {"version": "5.4", "imagePath": f"{path.stem}.png", "imageHeight": 60}
    path.write_text(json.dumps(record | {"imageWidth": 80, "shapes": shapes} | more))


def test_labelme_s_shapes_become_objects(tmp_path: Path) -> None:
    _image(tmp_path / "images" / "a.png")
    labels = tmp_path / "labels"
    labels.mkdir()
    shapes = [
        {"label": "cup", "points": SQUARE, "shape_type": "polygon"},
        {"label": "cup", "points": [[60, 20], [70, 50]], "shape_type": "rectangle"},
        {"label": "bowl", "points": [[30, 25], [30, 35]], "shape_type": "circle"},
        {"label": "bowl", "points": [[1, 1]], "shape_type": "point"},
    ]
    _labelme(labels / "a.json", shapes, imagePath=r"C:\Users\me\a.png")
    (labels / "broken.json").write_text("{")
    data = read_dataset("labelme", labels, tmp_path / "images")
    assert data.class_names == ("bowl", "cup")
    (image,) = data.images
    assert image.path == tmp_path / "images" / "a.png"
    names = [data.class_names[i.class_id] for i in image.instances]
    assert sorted(names) == ["bowl", "cup", "cup"]
    boxes = {tuple(np.round(i.box_xyxy).tolist()) for i in image.instances}
    assert boxes == {(10, 10, 50, 40), (60, 20, 70, 50), (20, 15, 40, 35)}
    report = " ".join(data.report())
    assert "label file that cannot be read (left out), e.g. broken.json" in report
    assert "annotation without segmentation (left out), e.g. shape 4 of a.json" in report


def test_shapes_of_one_group_are_one_object(tmp_path: Path) -> None:
    _image(tmp_path / "a.png")
    other = [[60.0, 10.0], [60.0, 40.0], [75.0, 40.0], [75.0, 10.0]]
    shapes = [{"label": "car", "points": p, "group_id": 3} for p in (SQUARE, other)]
    _labelme(tmp_path / "a.json", shapes)
    (image,) = read_dataset("labelme", tmp_path, tmp_path).images
    (instance,) = image.instances
    assert len(instance.parts) == 2


def test_a_folder_without_labelme_s_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="has no file of labelme"):
        read_dataset("labelme", tmp_path, tmp_path)


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Two images and a background one, in YOLO's folders."""
    for name in ("a", "b", "empty"):
        _image(tmp_path / "images" / "train" / f"{name}.jpg")
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    square = " ".join(f"{x / 80:.6f} {y / 60:.6f}" for x, y in SQUARE)
    (labels / "a.txt").write_text(f"1 {square}\n0 0.5 0.5 0.2 0.2\n")
    (labels / "b.txt").write_text(f"0 {square}\nx y z\n")
    (tmp_path / "data.yaml").write_text("names: {0: gear, 1: crescent}\ntrain: images/train\n")
    return tmp_path


@pytest.mark.parametrize("annotations", ["data.yaml", "labels/train"])
def test_yolo_s_shares_become_px(yolo: Path, annotations: str) -> None:
    data = read_dataset("yolo", yolo / annotations, yolo / "images" / "train")
    assert data.class_names == ("gear", "crescent")
    assert [image.path.stem for image in data.images] == ["a", "b", "empty"]
    (crescent,) = data.images[0].instances
    assert crescent.class_id == 1
    np.testing.assert_allclose(crescent.box_xyxy, [10, 10, 50, 40], atol=1e-3)
    assert not data.images[2].instances
    report = " ".join(data.report())
    assert "annotation without segmentation (left out), e.g. line 2 of a.txt" in report
    assert "no list of numbers (left out), e.g. line 2 of b.txt" in report


def test_yolo_without_names_or_labels_is_refused(yolo: Path) -> None:
    (yolo / "data.yaml").rename(yolo / "elsewhere.yaml")
    with pytest.raises(ValueError, match=r"no data\.yaml or classes\.txt"):
        read_dataset("yolo", yolo / "labels" / "train", yolo / "images" / "train")
    (yolo / "images" / "classes.txt").write_text("gear\ncrescent\n")
    with pytest.raises(ValueError, match=r"no \.txt file named like an image"):
        read_dataset("yolo", yolo / "images" / "train", yolo / "images" / "train")
