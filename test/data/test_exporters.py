"""What exporters write: ids, marks, sizes, names and encodings of every kind are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from e2ec_core.data import problems as defects
from e2ec_core.data.coco import dataset_from_content, read_coco
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.evaluation.ground_truth import ground_truth
from e2ec_core.learning.config import DataConfig
from e2ec_core.learning.source import load_data

SQUARE = [10, 20, 30, 20, 30, 50, 10, 50]
SIZE = {"height": 60, "width": 80}


def _label(segmentation: Any = (SQUARE,), **keys: Any) -> dict[str, Any]:
    segmentation = list(segmentation) if isinstance(segmentation, tuple) else segmentation
    return {"image_id": 1, "category_id": 1, "segmentation": segmentation} | keys


def _content(*labels: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.png"} | SIZE],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}],
        "annotations": list(labels),
    } | parts


def _load(folder: Path, content: dict[str, Any], **options: Any) -> CocoDataset:
    """Reads content together with image files, as a run does."""
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    config = DataConfig(annotations=str(path), images=str(folder / "images"), **options)
    return load_data(config, None, held_out=False)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with an image of 80 x 60 px, `a.png`."""
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((60, 80, 3), np.uint8))
    return folder


@pytest.mark.parametrize(
    ("image_id", "its_id"), [(9, "9"), ("9", 9), (9.0, 9), ("img_a", "img_a"), (" 9 ", "009")]
)
def test_ids_may_be_numbers_or_texts(image_id: Any, its_id: Any) -> None:
    content = _content(_label(image_id=its_id, category_id="1"))
    content["images"][0]["id"] = image_id
    (image,) = dataset_from_content(content, "").images
    assert len(image.instances) == 1
    truth = ground_truth(dataset_from_content(content, ""))
    assert truth["annotations"][0]["image_id"] == truth["images"][0]["id"] == image.image_id
    assert isinstance(image.image_id, int)


@pytest.mark.parametrize(
    ("mark", "crowd"),
    [(None, 0), (False, 0), (True, 1), ("0", 0), ("false", 0), ("True", 1), ("1", 1), (1.0, 1)],
)
def test_iscrowd_may_be_anything(mark: Any, crowd: int) -> None:
    data = dataset_from_content(_content(_label(iscrowd=mark)), "")
    assert ground_truth(data)["annotations"][0]["iscrowd"] == crowd


def test_areas_and_boxes_that_are_missing_or_wrong_come_from_the_outline() -> None:
    own = {"area": 600.0, "bbox": [10, 20, 20, 30]}
    cases: list[dict[str, Any]] = [
        {},
        own,
        {"area": 0, "bbox": [0, 0, 0, 0]},
        {"area": None, "bbox": None},
        {"area": "600", "bbox": ["10", "20", "20", "30"]},
        {"area": float("nan"), "bbox": [1, 2]},
        {"bbox": [10, 20, 30, 50]},  # corners instead of sizes
    ]
    data = dataset_from_content(_content(*(_label(**case) for case in cases)), "")
    for label in ground_truth(data)["annotations"]:
        assert label["area"] == pytest.approx(600)
        assert label["bbox"] == [10, 20, 20, 30]
    assert data.problems[defects.BOX] == 1


def test_a_single_list_of_coordinates_is_a_polygon() -> None:
    (image,) = dataset_from_content(_content(_label(SQUARE)), "").images
    np.testing.assert_array_equal(image.instances[0].parts[0], np.reshape(SQUARE, (-1, 2)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_every_encoding_of_json_is_read(tmp_path: Path, encoding: str) -> None:
    content = _content(_label(), categories=[{"id": 1, "name": "vélo"}])
    (tmp_path / "x.json").write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert read_coco(tmp_path / "x.json", "").class_names == ("vélo",)


def test_deep_json_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"x\.json' is not JSON: "):
        read_coco(tmp_path / "x.json", "")


def test_a_root_category_of_a_classs_own_name_is_dropped() -> None:
    roots = [{"id": 0, "name": "car", "supercategory": "none"}, {"id": 1, "name": "car"}]
    data = dataset_from_content(_content(_label(), categories=roots), "")
    assert (data.class_names, data.category_ids) == (("car",), (1,))
    assert len(data.images[0].instances) == 1


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "./a.png",
        "train\\a.png",
        "/data/upload/1/a.png",
        "/data/local-files/?d=pictures/a.png",
        "http://host:8080/data/upload/1/a.png",
        "C:\\Users\\me\\a.png",
        "../images/a.png",
    ],
)
def test_paths_of_other_machines_lead_to_the_file(images: Path, name: str) -> None:
    content = _content(_label(), images=[{"id": 1, "file_name": name} | SIZE])
    (image,) = _load(images.parent, content).images
    assert image.path.samefile(images / "a.png")


def test_names_with_blanks_and_escapes_lead_to_the_file(images: Path) -> None:
    (images / "a.png").rename(images / "my car.png")
    for name in ("my car.png", "/data/upload/1/my%20car.png"):
        content = _content(_label(), images=[{"id": 1, "file_name": name} | SIZE])
        assert _load(images.parent, content).images[0].path == images / "my car.png"


def test_server_paths_that_end_in_one_name_are_left_out(images: Path) -> None:
    paths = [{"id": n, "file_name": f"/data/upload/{n}/a.png"} | SIZE for n in (1, 2)]
    content = _content(_label(), images=paths)
    with pytest.raises(ValueError, match="2 x image whose file name fits several entries"):
        _load(images.parent, content)


def test_sizes_that_are_missing_come_from_the_file(images: Path) -> None:
    content = _content(_label(), images=[{"id": 1, "file_name": "a.png", "height": None}])
    (image,) = _load(images.parent, content).images
    assert (image.height, image.width) == (60, 80)


def test_everything_marked_crowd_is_an_error_that_says_what_it_looks_like(images: Path) -> None:
    content = _content(_label(iscrowd=1), _label((SQUARE[:6],), iscrowd="1"))
    with pytest.raises(
        ValueError, match=r"nothing to learn.* all 2 regions are marked iscrowd.* run lengths"
    ):
        _load(images.parent, content)


def test_labels_of_which_none_can_be_used_name_the_reason(images: Path) -> None:
    with pytest.raises(
        ValueError, match="2 x annotation of a class that the file does not define"
    ):
        _load(images.parent, _content(_label(category_id=7), _label(category_id=8)))
    with pytest.raises(ValueError, match="1 x annotation of an image that the file does not list"):
        _load(images.parent, _content(_label(image_id=7)))


def test_classes_without_an_object_are_reported(images: Path) -> None:
    data = _load(images.parent, _content(_label()))
    assert data.report() == ["no label has the class bus"]


def test_polygons_in_shares_of_the_size_become_px(images: Path) -> None:
    share = [v / (60 if i % 2 else 80) for i, v in enumerate(SQUARE)]
    box = {"bbox": [0.125, 0.33, 0.25, 0.5], "area": 0.125}
    data = _load(images.parent, _content(_label((share,), **box), _label((share,), category_id=2)))
    for instance in data.images[0].instances:
        np.testing.assert_allclose(instance.parts[0], np.reshape(SQUARE, (-1, 2)))
    assert data.problems == {defects.SHARES: 2}
    for label in ground_truth(data)["annotations"]:
        assert label["area"] == pytest.approx(600)
        np.testing.assert_allclose(label["bbox"], [10, 20, 20, 30])


def test_a_polygon_in_shares_among_others_in_px_is_left_out(images: Path) -> None:
    data = _load(images.parent, _content(_label(), _label(([0.1, 0.1, 0.9, 0.1, 0.9, 0.9],))))
    assert len(data.images[0].instances) == 1
    assert data.problems[defects.TINY] == 1


def test_a_hole_as_a_second_polygon_changes_nothing() -> None:
    """COCO's tools take the union of all polygons: holes are filled, islands lie in them."""
    outer, hole = [0, 0, 60, 0, 60, 50, 0, 50], [10, 10, 10, 40, 40, 40, 40, 10]
    island = [20, 20, 30, 20, 30, 30, 20, 30]
    for rings in ([outer, hole], [hole, outer], [outer, hole, island], [island, outer, outer]):
        data = dataset_from_content(_content(_label(rings)), "")
        (instance,) = data.images[0].instances
        np.testing.assert_array_equal(instance.parts, [np.reshape(outer, (-1, 2))])
        assert data.problems[defects.INSIDE_OTHER] == 1
        assert ground_truth(data)["annotations"][0]["area"] == 3000


def test_nothing_makes_pycocotools_crash() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    from e2ec_core.evaluation.contour_iou import annotation_to_rle

    far = [v for i in range(400) for v in ((-1) ** i * 9e5, 9e5 * (i % 3 - 1) + i)]
    data = dataset_from_content(
        _content(_label((far,)), _label(([1e8, 1e8, 2e8, 1e8, 2e8, 2e8],)), _label()), ""
    )
    truth = ground_truth(data)
    assert data.problems[defects.TOO_FAR] == data.problems[defects.TANGLED] == 1
    for label in truth["annotations"]:
        assert 0 <= coco_mask.area(annotation_to_rle(label, 60, 80)) <= 4800


def test_a_polygon_that_is_none_costs_only_itself() -> None:
    data = dataset_from_content(_content(_label((None, [0, 0, 0, 10, 10, 0]))), "")
    (label,) = ground_truth(data)["annotations"]
    assert label["segmentation"] == [[0, 0, 0, 10, 10, 0]]
    assert data.problems[defects.FEW_POINTS] == 1


def test_pairs_of_numbers_and_numbers_as_texts_are_polygons() -> None:
    texts = [str(v) for v in SQUARE]
    pairs = np.reshape(SQUARE, (-1, 2)).tolist()
    for segmentation in (pairs, [pairs], texts, [texts]):
        data = dataset_from_content(_content(_label(segmentation)), "")
        (instance,) = data.images[0].instances
        np.testing.assert_array_equal(instance.parts[0], np.reshape(SQUARE, (-1, 2)))
        assert not data.problems


@pytest.mark.parametrize(
    "image_id", [2**70, "1180591620717411303424", 1.5e300, 2**63 - 1, -(2**63)]
)
def test_ids_of_any_size_are_numbered(images: Path, image_id: Any) -> None:
    content = _content(_label(image_id=image_id))
    content["images"][0]["id"] = image_id
    (image,) = _load(images.parent, content).images
    assert len(image.instances) == 1
    assert abs(image.image_id) < 2**63


def test_ids_may_be_texts_of_whole_decimals() -> None:
    data = dataset_from_content(_content(_label(image_id="1.0", category_id="1.00")), "")
    assert len(data.images[0].instances) == 1


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("entry", [None, 3, "x", [], {}])
def test_an_entry_that_lacks_something_costs_itself(images: Path, part: str, entry: Any) -> None:
    content = _content(_label())
    content[part].append(entry)
    data = _load(images.parent, content)
    assert len(data.images[0].instances) == 1
    assert data.problems == {defects.MALFORMED: 1}
    assert f"number {len(content[part])} of the {part} (no " in data.report()[0]


def test_names_that_are_null_are_no_names(images: Path) -> None:
    content = _content(_label(), _label((SQUARE[:6],), category_id=2))
    content["categories"][1]["name"] = None
    content["images"].append({"id": 2, "file_name": " "} | SIZE)
    data = _load(images.parent, content)
    assert data.class_names == ("car",)
    assert data.problems == {defects.NO_NAME: 2, defects.UNKNOWN_CLASS: 1}
    assert data.problems.examples[defects.NO_NAME] == ["image 2", "category 2"]


def test_images_of_one_id_are_left_out_with_their_annotations(images: Path) -> None:
    cv2.imwrite(str(images / "b.png"), np.ones((60, 80, 3), np.uint8))
    cv2.imwrite(str(images / "c.png"), np.full((60, 80, 3), 2, np.uint8))
    content = _content(_label(), _label(image_id=2))
    content["images"] += [
        {"id": 1, "file_name": "b.png"} | SIZE,
        {"id": 2, "file_name": "c.png"} | SIZE,
        {"id": "2", "file_name": "c.png"} | SIZE,
    ]
    data = _load(images.parent, content)
    assert [image.name for image in data.images] == ["c.png"]
    counts = {defects.SHARED_ID: 2, defects.UNCLEAR_IMAGE: 1, defects.IMAGE_TWICE: 1}
    assert data.problems == counts
    assert data.problems.examples[defects.SHARED_ID] == ["b.png (id 1)", "a.png"]


def test_two_categories_of_one_id_are_refused_where_they_have_objects(images: Path) -> None:
    content = _content(_label())
    content["categories"].append({"id": "1", "name": "truck"})
    with pytest.raises(ValueError, match="two categories of id 1: 'car' and 'truck'; give each"):
        _load(images.parent, content)
    content["categories"][2]["id"] = 2
    assert _load(images.parent, content).class_names == ("car", "bus")


def test_an_object_labelled_twice_counts_once(images: Path) -> None:
    labels = [_label(), _label(id=7), _label(category_id=2), _label(iscrowd=1)]
    data = _load(images.parent, _content(*labels))
    assert len(data.images[0].instances) == 3
    assert data.report()[0] == "1 x object that is labelled twice (repaired), e.g. annotation 7"


def test_what_signs_a_url_is_no_part_of_the_name(images: Path) -> None:
    name = "https://x.org/b/a.png?X-Amz-Signature=a/b.png"
    content = _content(_label(), images=[{"id": 1, "file_name": name} | SIZE])
    assert _load(images.parent, content).images[0].path == images / "a.png"


def test_other_encodings_are_refused_saying_which_to_take(tmp_path: Path) -> None:
    content = _content(categories=[{"id": 1, "name": "vélo"}])
    (tmp_path / "x.json").write_text(json.dumps(content, ensure_ascii=False), encoding="latin-1")
    with pytest.raises(ValueError, match=r"x\.json' is not in UTF-8: .*; save it as UTF-8"):
        read_coco(tmp_path / "x.json", "")
