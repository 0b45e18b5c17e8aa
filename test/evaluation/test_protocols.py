"""Each data set's rules on squares with known overlaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from e2ec_core.contours import Contours
from e2ec_core.data.coco import dataset_from_content
from e2ec_core.evaluation.ground_truth import ground_truth as make_ground_truth
from e2ec_core.evaluation.protocols import ProtocolSettings, make_evaluator
from e2ec_core.evaluation.report import stage_table

pytest.importorskip("pycocotools")

NAMES = ("person", "car", "chair")


def _measure(
    truth: dict[str, Any], found: dict[int, Contours], boxes: Any = None, **settings: Any
) -> dict[str, float]:
    evaluator = make_evaluator(ProtocolSettings(**settings), truth, NAMES)
    for image_id, contours in found.items():
        evaluator.process(image_id, contours, boxes)
    return evaluator.evaluate()


def _shrunk(perfect: dict[int, Contours], share: float) -> dict[int, Contours]:
    """Squares cut to this share of their height, from the top."""
    shrunk = {}
    for image_id, contours in perfect.items():
        top = contours.vertices[..., 1].min(axis=1, keepdims=True)
        vertices = contours.vertices.copy()
        vertices[..., 1] = top + (vertices[..., 1] - top) * np.float32(share)
        shrunk[image_id] = replace(contours, vertices=vertices)
    return shrunk


@pytest.mark.parametrize("protocol", ["coco", "kins", "sbd"])
def test_the_truth_is_perfect(
    ground_truth: dict[str, Any], perfect: dict[int, Contours], protocol: str
) -> None:
    numbers = _measure(ground_truth, perfect, protocol=protocol)
    assert numbers["mask/AP"] == pytest.approx(1)
    assert numbers["box/AP"] == pytest.approx(1)


def test_sbd_counts_thresholds_from_0_1_to_0_9(
    ground_truth: dict[str, Any], perfect: dict[int, Contours]
) -> None:
    # IoU near 0.65: right at 0.1 to 0.6, six of nine thresholds, and wrong at 0.7.
    numbers = _measure(ground_truth, _shrunk(perfect, 0.65), protocol="sbd")
    assert numbers["mask/AP"] == pytest.approx(6 / 9)
    assert numbers["mask/AP50"] == pytest.approx(1)
    assert numbers["mask/AP70"] == 0
    assert "mask/AP75" not in numbers
    coco = _measure(ground_truth, _shrunk(perfect, 0.65), protocol="coco")
    assert coco["mask/AP"] == pytest.approx(0.3, abs=0.101)


def test_kins_measures_the_boxes_around_the_contours(
    ground_truth: dict[str, Any], perfect: dict[int, Contours]
) -> None:
    one = {8: perfect[8]}
    far = np.array([[0.0, 0.0, 5.0, 5.0]])
    assert _measure(ground_truth, one, far, protocol="coco")["people/box/AP"] == 0
    assert _measure(ground_truth, one, far, protocol="kins")["people/box/AP"] > 0.4


def test_boundary_ap_comes_with_cocos_thresholds(
    ground_truth: dict[str, Any], perfect: dict[int, Contours]
) -> None:
    pytest.importorskip("faster_coco_eval")
    numbers = _measure(ground_truth, perfect, protocol="sbd", boundary=True)
    assert numbers["boundary/AP75"] == pytest.approx(1)
    cut = _measure(ground_truth, _shrunk(perfect, 0.8), protocol="sbd", boundary=True)
    assert cut["boundary/AP"] < cut["mask/AP"]
    table = stage_table(["final"], [numbers], "sbd")
    assert "AP vol" in table
    assert table.count("1.000") == 6


def test_published_rounding_and_choice_of_images(
    ground_truth: dict[str, Any], perfect: dict[int, Contours]
) -> None:
    one = {7: perfect[7]}
    assert _measure(ground_truth, one)["mask/AP"] < 0.6
    assert _measure(ground_truth, one, images="detected")["mask/AP"] == pytest.approx(1)


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="protocol is 'voc'"):
        ProtocolSettings(protocol="voc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="folder of instance ids"):
        make_evaluator(ProtocolSettings(protocol="cityscapes"), {"images": []}, ("car",))


def test_broken_labels_do_not_reach_the_evaluation(ground_truth: dict[str, Any]) -> None:
    for image in ground_truth["images"]:
        image["file_name"] = f"{image['id']}.png"
    count = len(ground_truth["annotations"])
    good = ground_truth["annotations"][0]
    ground_truth["annotations"] += [
        {**good, "segmentation": [[1, 2, 3, 4]]},
        {**good, "segmentation": [[1, 2, 3, float("nan"), 5, 6]]},
        {**good, "segmentation": None},
        {**good, "segmentation": "text"},
        {"image_id": 7, "category_id": 1, "segmentation": [[5, 5, 9, 5, 9, 9]]},
        {"image_id": 7, "category_id": 1, "segmentation": {"counts": "?", "size": [1]}},
    ]
    data = dataset_from_content(ground_truth, "", class_names=(*NAMES, "tram"))
    ready = make_ground_truth(data)
    assert len(ready["annotations"]) == count + 1
    (added,) = (a for a in ready["annotations"] if a["bbox"] == [5, 5, 4, 4])
    assert (added["iscrowd"], added["area"]) == (0, 6)
    assert [c["name"] for c in ready["categories"]] == [*NAMES, "tram"]
    assert ready["annotations"][0] == good | {"id": 1}
