"""Reading COCO's JSON: polygons, run lengths, crowds, defects and messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2ec_core.data.coco import read_coco
from e2ec_core.data.dataset import NO_CATEGORY, CocoDataset
from e2ec_core.data.labelled import Instance
from e2ec_core.geometry import signed_area

SQUARE = [10, 20, 30, 20, 30, 50, 10, 50]
TRIANGLE = [50, 20, 70, 20, 60, 40]


def _annotation(segmentation: Any, **keys: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 7, "segmentation": segmentation} | keys


def _content(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [
            {"id": 5, "file_name": "b.png", "height": 60, "width": 80},
            {"id": 1, "file_name": "a.png", "height": 60, "width": 80},
        ],
        "categories": [{"id": 7, "name": "tram"}, {"id": 3, "name": "car"}],
        "annotations": list(annotations),
    }


def _read(folder: Path, *annotations: dict[str, Any], **options: Any) -> CocoDataset:
    path = folder / "instances.json"
    path.write_text(json.dumps(_content(*annotations)))
    return read_coco(path, folder / "images", **options)


def _instances(data: CocoDataset) -> tuple[Instance, ...]:
    """The objects of image 1, which stands second."""
    return data.images[1].instances


def test_images_without_annotations_stay_without_instances(tmp_path: Path) -> None:
    data = _read(tmp_path)
    assert len(data) == 2
    assert [image.instances for image in data.images] == [(), ()]
    assert data.problems == {"image without objects": 2}


def test_images_keep_their_order_ids_sizes_and_paths(tmp_path: Path) -> None:
    first, second = _read(tmp_path, _annotation([SQUARE])).images
    assert (first.image_id, second.image_id) == (5, 1)
    assert second.path == tmp_path / "images" / "a.png"
    assert (second.height, second.width) == (60, 80)
    assert first.instances == ()


def test_a_polygon_keeps_its_points(tmp_path: Path) -> None:
    (instance,) = _instances(_read(tmp_path, _annotation([SQUARE])))
    np.testing.assert_array_equal(instance.parts[0], np.reshape(SQUARE, (4, 2)))
    np.testing.assert_array_equal(instance.box_xyxy, [10, 20, 30, 50])
    assert not instance.crowd


def test_an_object_in_several_parts_is_one_instance(tmp_path: Path) -> None:
    (instance,) = _instances(_read(tmp_path, _annotation([SQUARE, TRIANGLE])))
    assert [len(part) for part in instance.parts] == [4, 3]
    np.testing.assert_array_equal(instance.box_xyxy, [10, 20, 70, 50])


def test_classes_come_in_the_order_of_their_ids_by_default(tmp_path: Path) -> None:
    data = _read(tmp_path, _annotation([SQUARE]))
    assert data.class_names == ("car", "tram")
    assert data.category_ids == (3, 7)
    assert _instances(data)[0].class_id == 1


def test_only_the_classes_asked_for_are_read_in_their_order(tmp_path: Path) -> None:
    labels = (_annotation([SQUARE]), _annotation([TRIANGLE], category_id=3))
    data = _read(tmp_path, *labels, class_names=["tram", "car"])
    assert [i.class_id for i in _instances(data)] == [0, 1]
    assert data.category_ids == (7, 3)
    (only,) = _instances(_read(tmp_path, *labels, class_names=["car"]))
    assert (only.class_id, len(only.parts[0])) == (0, 3)


def test_classes_that_a_file_lacks_keep_their_channel(tmp_path: Path) -> None:
    data = _read(tmp_path, _annotation([SQUARE]), class_names=["bus", "tram"])
    assert data.class_names == ("bus", "tram")
    assert data.category_ids == (NO_CATEGORY, 7)
    assert _instances(data)[0].class_id == 1


def test_only_the_images_asked_for_are_read(tmp_path: Path) -> None:
    labels = (_annotation([SQUARE]), _annotation([TRIANGLE], image_id=5))
    data = _read(tmp_path, *labels, file_names=["a.png"])
    assert [image.image_id for image in data.images] == [1]
    assert len(data.images[0].instances) == 1


def _uncompressed(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run lengths, column by column, starting with zeros."""
    flat = mask.T.reshape(-1)
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return {"counts": runs if flat[0] == 0 else [0, *runs], "size": list(mask.shape)}


def _compressed(mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"counts": rle["counts"].decode(), "size": list(mask.shape)}


@pytest.mark.parametrize("encode", [_uncompressed, _compressed])
def test_run_lengths_become_outlines_around_their_pixels(tmp_path: Path, encode: Any) -> None:
    pytest.importorskip("pycocotools")
    mask = np.zeros((60, 80), np.uint8)
    mask[20:50, 10:30] = 1
    mask[5:15, 60:64] = 1
    (instance,) = _instances(_read(tmp_path, _annotation(encode(mask), iscrowd=1)))
    assert instance.crowd
    assert len(instance.parts) == 2
    wide, small = instance.parts
    # Pixels 10..29 reach from edge 10 to edge 30; the outline may stay a quarter px inside.
    np.testing.assert_allclose([*wide.min(0), *wide.max(0)], [10, 20, 30, 50], atol=0.25)
    np.testing.assert_allclose([*small.min(0), *small.max(0)], [60, 5, 64, 15], atol=0.25)


def test_an_empty_run_length_mask_is_no_instance(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    rle = _uncompressed(np.zeros((60, 80), np.uint8))
    assert _instances(_read(tmp_path, _annotation(rle))) == ()


def test_defects_are_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    data = _read(
        tmp_path,
        _annotation([SQUARE, [1, 2, 3, 4]]),
        _annotation([[1, 2, 3, 4, 5, 6, 7]]),
        _annotation([[1, 2, 3, 4, float("nan"), 6]]),
        _annotation([]),
        _annotation(None),
    )
    (instance,) = _instances(data)
    assert len(instance.parts) == 1
    assert data.problems == {
        "polygon with fewer than three points": 2,
        "polygon with a coordinate that is not finite": 1,
        "annotation without segmentation": 2,
        "object without any usable outline": 4,
        "image without objects": 1,
    }


def test_annotations_of_other_images_and_classes_are_passed_over(tmp_path: Path) -> None:
    labels = (_annotation([SQUARE], image_id=99), _annotation([SQUARE], category_id=99))
    assert all(image.instances == () for image in _read(tmp_path, *labels).images)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.json' does not exist"):
        read_coco(tmp_path / "nowhere.json", tmp_path)
    with pytest.raises(ValueError, match=r"none of the classes asked for.* are car, tram"):
        _read(tmp_path, class_names=["bus", "person"])
    with pytest.raises(ValueError, match=r"has no image 'c\.png', nor one of the 1 others"):
        _read(tmp_path, file_names=["c.png", "d.png"])
    data = _read(tmp_path, file_names=["c.png", "a.png"])
    assert [image.name for image in data.images] == ["a.png"]
    assert "1 x name of the split that the labels lack (left out), e.g. c.png" in data.report()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"images": []}',
        '{"images": [{"id": 1}], "annotations": [], "categories": []}',
        '{"images": [], "annotations": [{"id": 3}], "categories": []}',
        '{"images": [], "annotations": [], "categories": ["car"]}',
    ],
)
def test_other_json_is_refused_naming_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"labels\.json' is not (COCO's instance format|JSON)"):
        read_coco(path, tmp_path)


def test_real_annotations_agree_with_their_own_boxes_and_areas(shared_dir: Path) -> None:
    pytest.importorskip("shapely", reason="shapely is not installed")
    folder = shared_dir / "data" / "coco_subset"
    path = folder / "annotations" / "instances.json"
    data = read_coco(path, folder / "images")
    assert len(data) == 286
    assert len(data.class_names) == 80
    assert sum(len(image.instances) for image in data.images) == 2283
    # Real labels have both; in none of them does an object get lost.
    assert data.problems["polygon with repeated vertices"] == 124
    assert data.problems["polygon that crosses itself"] == 5
    assert data.problems.losses == 0
    labels = [a for a in json.loads(path.read_text())["annotations"] if not a["iscrowd"]]
    read = {id_: [] for id_ in (a["image_id"] for a in labels)}
    for image in data.images:
        assert image.path.is_file()
        read[image.image_id] = [i for i in image.instances if not i.crowd]
    for label in labels:
        instance = read[label["image_id"]].pop(0)
        x, y, width, height = label["bbox"]
        np.testing.assert_allclose(instance.box_xyxy, [x, y, x + width, y + height], atol=0.51)
        area = sum(abs(signed_area(part)) for part in instance.parts)
        if len(instance.parts) == 1:
            assert area == pytest.approx(label["area"], rel=1e-3, abs=1e-3)
