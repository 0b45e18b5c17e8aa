"""KINS, SBD and Cityscapes read through the one function, from all of their forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from e2ec_core.data import problems as defects
from e2ec_core.data.cityscapes import instance_id_files
from e2ec_core.data.class_names import CITYSCAPES, KINS, SBD
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.formats import read_dataset
from e2ec_core.geometry import contour_to_mask
from street_scenes import SyntheticScene

coco_mask = pytest.importorskip("pycocotools.mask")


def _kins(folder: Path, year: str, outline: Any = "amodal") -> CocoDataset:
    return read_dataset("kins", folder / f"{year}.json", folder / "val", outline=outline)


def test_kins_has_its_seven_classes_and_whole_outlines(kins_dir: Path) -> None:
    data = _kins(kins_dir, "2019")
    assert data.class_names == KINS
    assert data.category_ids == (1, 2, 4, 5, 6, 7, 8)
    labels = json.loads((kins_dir / "2019.json").read_text())["annotations"]
    read = [i for image in data.images for i in image.instances]
    assert len(read) == len(labels) > 10
    for instance, label in zip(read, labels, strict=True):
        assert data.category_ids[instance.class_id] == label["category_id"]
        x, y, width, height = label["bbox"]
        np.testing.assert_allclose(instance.box_xyxy, [x, y, x + width, y + height], atol=0.02)


@pytest.mark.parametrize("outline", ["amodal", "visible"])
def test_both_forms_of_kins_say_the_same(kins_dir: Path, outline: str) -> None:
    first, recent = _kins(kins_dir, "2019", outline), _kins(kins_dir, "2020", outline)
    assert len(first) == len(recent) == 2
    for a, b in zip(first.images, recent.images, strict=True):
        assert len(a.instances) == len(b.instances)
        for one, other in zip(a.instances, b.instances, strict=True):
            assert one.class_id == other.class_id
            np.testing.assert_allclose(one.box_xyxy, other.box_xyxy, atol=1e-6)


def test_visible_kins_outlines_fill_the_masks_of_the_scenes(
    kins_dir: Path, kins_scenes: list[SyntheticScene]
) -> None:
    data = _kins(kins_dir, "2019", "visible")
    labels = json.loads((kins_dir / "2019.json").read_text())["annotations"]
    read = [(i, image) for image in data.images for i in image.instances]
    several = 0
    for (instance, image), label in zip(read, labels, strict=True):
        size = (image.height, image.width)
        drawn = np.zeros(size, np.uint8)
        for part in instance.parts:
            drawn |= contour_to_mask(part - 0.5, *size)
        truth = coco_mask.decode(label["inmodal_seg"])
        assert not (truth & ~drawn).any()  # holes are filled, nothing is lost
        several += len(instance.parts) > 1
    assert several > 0
    assert len(kins_scenes) == len(data)


def test_kins_categories_are_known_by_their_ids_too(kins_dir: Path, tmp_path: Path) -> None:
    content = json.loads((kins_dir / "2019.json").read_text())
    for category in content["categories"]:
        category["name"] = category["name"].upper() if category["id"] < 5 else "?"
    (tmp_path / "renamed.json").write_text(json.dumps(content))
    data = read_dataset("kins", tmp_path / "renamed.json", kins_dir / "val")
    assert data.category_ids == (1, 2, 4, 5, 6, 7, 8)


def test_coco_labels_are_no_kins_with_visible_outlines(shapes_dir: Path, kins_dir: Path) -> None:
    with pytest.raises(ValueError, match="no visible outlines: no annotation has i_segm or inm"):
        read_dataset("kins", shapes_dir / "instances.json", shapes_dir, outline="visible")
    with pytest.raises(ValueError, match="outline is 'half'"):
        read_dataset("kins", kins_dir / "2019.json", "", outline="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="format is 'voc'; choose one of kins, sbd"):
        read_dataset("voc", kins_dir / "2019.json", "")  # type: ignore[arg-type]


def _write_mat(path: Path, segments: np.ndarray, classes: list[int]) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    record = {"Segmentation": segments, "Categories": np.array(classes, np.uint8)[:, None]}
    scipy_io.savemat(path, {"GTinst": record})


def test_sbds_mat_files_hold_objects_and_classes(tmp_path: Path) -> None:
    segments = np.zeros((50, 70), np.uint8)
    segments[5:25, 10:30] = 1
    segments[30:45, 40:60] = 2
    segments[30:45, 10:20] = 2
    _write_mat(tmp_path / "2008_000002.mat", segments, [20, 15, 3])
    _write_mat(tmp_path / "2008_000007.mat", np.minimum(segments, 1), [1])
    data = read_dataset("sbd", tmp_path, "img")
    assert data.class_names == SBD
    first, second = data.images
    assert first.path == Path("img") / "2008_000002.jpg"
    assert [SBD[i.class_id] for i in first.instances] == ["tvmonitor", "person"]
    assert [len(i.parts) for i in first.instances] == [1, 2]
    np.testing.assert_allclose(first.instances[0].box_xyxy, [10, 5, 30, 25], atol=0.25)
    assert (second.height, second.width) == (50, 70)
    assert data.problems == {defects.EMPTY_MASK: 1}
    (only,) = read_dataset("sbd", tmp_path, "img", file_names=["2008_000007.jpg"]).images
    assert SBD[only.instances[0].class_id] == "aeroplane"


def test_sbds_json_is_read_with_masks_or_polygons(tmp_path: Path) -> None:
    mask = np.zeros((50, 70), np.uint8, order="F")
    mask[5:25, 10:30] = 1
    rle = coco_mask.encode(mask)
    rle["counts"] = rle["counts"].decode()
    labels = [
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": rle, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 20, "segmentation": [[1, 1, 9, 1, 9, 9]]},
    ]
    content = {
        "images": [{"id": 1, "file_name": "2008_000002.jpg", "height": 50, "width": 70}],
        "annotations": labels,
        "categories": [{"id": n, "name": str(n)} for n in range(1, 21)],
    }
    (tmp_path / "sbd.json").write_text(json.dumps(content))
    (image,) = read_dataset("sbd", tmp_path / "sbd.json", "img").images
    assert [SBD[i.class_id] for i in image.instances] == ["car", "tvmonitor"]
    np.testing.assert_allclose(image.instances[0].box_xyxy, [10, 5, 30, 25], atol=0.25)


def test_broken_sbd_is_named(tmp_path: Path) -> None:
    pytest.importorskip("scipy.io")
    with pytest.raises(ValueError, match=r"no \.mat file"):
        read_dataset("sbd", tmp_path, "")
    (tmp_path / "a.mat").write_text("no mat file at all")
    with pytest.raises(ValueError, match=r"a\.mat' is no instance file of SBD"):
        read_dataset("sbd", tmp_path, "")
    _write_mat(tmp_path / "b.mat", np.ones((5, 7), np.uint8), [1])
    data = read_dataset("sbd", tmp_path, "", file_names=["a.jpg", "b.jpg", "c.jpg"])
    assert [image.name for image in data.images] == ["b.jpg"]
    assert data.problems[defects.UNREADABLE_LABELS] == 1


def _city(folder: Path) -> CocoDataset:
    return read_dataset("cityscapes", folder / "gtFine/train", folder / "leftImg8bit/train")


def _check_city(data: CocoDataset) -> None:
    assert data.class_names == CITYSCAPES
    (image,) = data.images
    assert image.path.is_file()
    assert (image.height, image.width) == (64, 128)
    found = {(CITYSCAPES[i.class_id], i.crowd): i for i in image.instances}
    assert set(found) == {("car", False), ("person", False), ("car", True)}
    car = found["car", False]
    assert len(car.parts) == 2  # the pole stands before it
    np.testing.assert_allclose(car.box_xyxy, [10, 20, 50, 40], atol=0.25)
    np.testing.assert_allclose(found["person", False].box_xyxy, [60, 10, 70, 50], atol=0.25)
    np.testing.assert_allclose(found["car", True].box_xyxy, [80, 10, 120, 30], atol=0.25)


def test_cityscapes_polygons_are_drawn_over_one_another(city_dir: Path) -> None:
    _check_city(_city(city_dir))


def test_cityscapes_instance_ids_say_the_same(city_dir: Path) -> None:
    ids = np.full((64, 128), 7, np.uint16)
    ids[20:40, 10:50] = 26000
    ids[5:61, 28:32] = 17
    ids[10:50, 60:70] = 24000
    ids[10:30, 80:120] = 26
    ids[40:60, 80:100] = 29000
    folder = city_dir / "gtFine/train/ulm"
    path = folder / "ulm_000003_000019_gtFine_instanceIds.png"
    cv2.imwrite(str(path), ids)
    _check_city(_city(city_dir))
    name = "ulm/ulm_000003_000019_leftImg8bit.png"
    assert instance_id_files(city_dir / "gtFine", [name]) == {name: path}
    with pytest.raises(ValueError, match="Cityscapes' evaluation needs those of gtFine"):
        instance_id_files(city_dir / "gtFine", ["ulm/other_leftImg8bit.png"])


def test_our_drawing_is_the_official_one(city_dir: Path) -> None:
    pytest.importorskip("cityscapesscripts")
    from cityscapesscripts.helpers.annotation import Annotation
    from cityscapesscripts.preparation.json2instanceImg import createInstanceImage

    path = next((city_dir / "gtFine").rglob("*_polygons.json"))
    annotation = Annotation()
    annotation.fromJsonFile(str(path))
    ids = np.array(createInstanceImage(annotation, "ids")).astype(np.uint16)
    before = _city(city_dir)
    cv2.imwrite(str(path).replace("polygons.json", "instanceIds.png"), ids)
    after = _city(city_dir)
    assert set(np.unique(ids)) >= {26, 24000, 26000}
    for a, b in zip(before.images[0].instances, after.images[0].instances, strict=True):
        assert (a.class_id, a.crowd, len(a.parts)) == (b.class_id, b.crowd, len(b.parts))
        np.testing.assert_array_equal(a.box_xyxy, b.box_xyxy)


def test_deep_snakes_components_are_the_parts_of_an_object(city_dir: Path) -> None:
    folder = city_dir / "components" / "ulm"
    folder.mkdir(parents=True)
    parts = [[[10, 20], [28, 20], [28, 40]], [[32, 20], [50, 20], [50, 40]]]
    objects = [
        {"label": "car", "components": [{"poly": part} for part in parts]},
        {"label": "train", "components": [{"poly": [[1, 1], [2, 2]]}]},
        {"label": "tree", "components": [{"poly": parts[0]}]},
    ]
    (folder / "ulm_000003_000019.json").write_text(json.dumps(objects))
    data = read_dataset("cityscapes", city_dir / "components", city_dir / "leftImg8bit/train")
    (image,) = data.images
    assert image.path.is_file()
    assert (image.height, image.width) == (64, 128)
    (car,) = image.instances
    np.testing.assert_array_equal(car.parts[1], parts[1])
    assert data.problems[defects.UNKNOWN_CLASS] == 1
    assert data.problems[defects.NO_OUTLINE] == 1


def test_cityscapes_folders_without_labels_are_refused(tmp_path: Path, city_dir: Path) -> None:
    with pytest.raises(ValueError, match="does not exist; give gtFine/train"):
        read_dataset("cityscapes", tmp_path / "nowhere", tmp_path)
    with pytest.raises(ValueError, match=r"has no \*_gtFine_instanceIds.png, no"):
        read_dataset("cityscapes", city_dir / "leftImg8bit", tmp_path)
    path = next((city_dir / "gtFine").rglob("*.json"))
    path.write_text('{"objects": 3}')
    with pytest.raises(ValueError, match=r"polygons\.json' is not Cityscapes' format"):
        _city(city_dir)


def test_a_malformed_object_of_cityscapes_costs_itself(city_dir: Path) -> None:
    path = next((city_dir / "gtFine").rglob("*.json"))
    content = json.loads(path.read_text())
    content["objects"] += [None, {"label": "car"}, {"label": "car", "polygon": [[1, 2], [3]]}]
    path.write_text(json.dumps(content))
    (path.parent / "ulm_000004_000019_gtFine_polygons.json").write_text("{")
    data = _city(city_dir)
    _check_city(data)
    assert data.problems == {defects.MALFORMED: 3, defects.UNREADABLE_LABELS: 1}
    assert data.problems.examples[defects.MALFORMED][0] == f"object 9 of {path.name}"
    folder = city_dir / "components"
    folder.mkdir()
    sound = {"label": "car", "components": [{"poly": [[1, 1], [9, 1], [9, 9]]}]}
    objects = [3, {"label": "car", "components": [{}]}, {"label": []}, sound]
    (folder / "ulm_000003_000019.json").write_text(json.dumps(objects))
    (image,) = read_dataset("cityscapes", folder, city_dir / "leftImg8bit/train").images
    assert len(image.instances) == 1


def test_a_malformed_annotation_of_kins_costs_itself(kins_dir: Path, tmp_path: Path) -> None:
    content = json.loads((kins_dir / "2020.json").read_text())
    count = len(content["annotations"])
    content["annotations"] += [None, {"id": 7}]
    content["categories"].append({"id": [1], "name": None})
    (tmp_path / "2020.json").write_text(json.dumps(content))
    data = read_dataset("kins", tmp_path / "2020.json", kins_dir / "val")
    assert sum(len(image.instances) for image in data.images) == count
    assert data.problems[defects.MALFORMED] == 2
    assert data.problems[defects.NO_NAME] == 1


@pytest.mark.parametrize("year", ["2019", "2020"])
def test_both_outlines_of_kins_can_be_read(kins_dir: Path, year: str) -> None:
    both, seen, whole = (_kins(kins_dir, year, kind) for kind in ("both", "visible", "amodal"))
    objects = [[i for image in data.images for i in image.instances] for data in (both, seen)]
    for instance, visible in zip(*objects, strict=True):
        np.testing.assert_array_equal(
            np.concatenate(instance.parts), np.concatenate(visible.parts)
        )
        assert instance.whole
    outlines = {p.tobytes() for image in whole.images for i in image.instances for p in i.parts}
    assert {p.tobytes() for i in objects[0] for p in i.whole or ()} <= outlines
