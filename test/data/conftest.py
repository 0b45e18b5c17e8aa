"""Small data sets in every published form, of drawn shapes and of synthetic scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from street_scenes import SyntheticScene, make_scene, write_kins_dataset

CITY_SIZE = (64, 128)


@pytest.fixture(scope="session")
def kins_scenes() -> list[SyntheticScene]:
    return [make_scene(seed, 256, 128) for seed in (41, 42)]


@pytest.fixture(scope="session")
def kins_dir(tmp_path_factory: pytest.TempPathFactory, kins_scenes: list[SyntheticScene]) -> Path:
    """Synthetic scenes in both forms of KINS: `2019.json`, `2020.json` and the folder `val`."""
    folder = tmp_path_factory.mktemp("kins")
    path = write_kins_dataset(iter(kins_scenes), folder, "val")
    first = json.loads(path.read_text())
    (folder / "2019.json").write_text(json.dumps(first))
    (folder / "2020.json").write_text(json.dumps(_form_of_2020(first)))
    return folder


def _form_of_2020(content: dict[str, Any]) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    from e2ec_core.data.outlines import mask_outlines

    labels = []
    for label in content["annotations"]:
        seen = mask_outlines(coco_mask.decode(label["inmodal_seg"]))
        labels.append(
            {key: label[key] for key in ("id", "image_id", "category_id", "iscrowd")}
            | {"a_segm": label["segmentation"], "a_bbox": label["bbox"], "a_area": label["area"]}
            | {"i_segm": [s.ravel().tolist() for s in seen], "i_bbox": label["inmodal_bbox"]}
            | {"i_area": int(coco_mask.area(label["inmodal_seg"])), "oco_id": 0, "ico_id": 0}
        )
    return {**content, "annotations": labels}


@pytest.fixture
def city_dir(tmp_path: Path) -> Path:
    """Cityscapes' tree with one image: a car behind a pole, a person, a group of cars."""
    stem = "ulm/ulm_000003_000019"
    for kind in ("gtFine", "leftImg8bit"):
        (tmp_path / kind / "train" / "ulm").mkdir(parents=True)
    image = np.full((*CITY_SIZE, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / f"leftImg8bit/train/{stem}_leftImg8bit.png"), image)
    objects = [
        {"label": "road", "polygon": [[0, 0], [127, 0], [127, 63], [0, 63]]},
        {"label": "car", "polygon": _box(10, 20, 49, 39)},
        {"label": "license plate", "polygon": _box(12, 34, 18, 36)},
        {"label": "pole", "polygon": _box(28, 5, 31, 60)},
        {"label": "person", "polygon": _box(60, 10, 69, 49)},
        {"label": "cargroup", "polygon": _box(80, 10, 119, 29)},
        {"label": "caravan", "polygon": _box(80, 40, 99, 59)},
        {"label": "bus", "polygon": _box(100, 40, 119, 59), "deleted": 1},
    ]
    content = {"imgHeight": CITY_SIZE[0], "imgWidth": CITY_SIZE[1], "objects": objects}
    path = tmp_path / f"gtFine/train/{stem}_gtFine_polygons.json"
    path.write_text(json.dumps(content))
    return tmp_path


def _box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]
