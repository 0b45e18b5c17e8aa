"""The evaluator of predicted contours."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2ec_core.contours import Contours
from e2ec_core.evaluation import CocoEvaluator

pytest.importorskip("pycocotools")

Json = dict[str, Any]
Predictions = dict[int, Contours]


def evaluate(evaluator: CocoEvaluator, predictions: Predictions) -> dict[str, float]:
    evaluator.reset()
    for image_id, contours in predictions.items():
        evaluator.process(image_id, contours)
    return evaluator.evaluate()


def test_true_contours_are_perfect_over_all_and_in_groups(
    ground_truth: Json, perfect: Predictions
) -> None:
    numbers = evaluate(CocoEvaluator(ground_truth), perfect)
    for name in ("mask/AP", "box/AP", "street/mask/AP", "people/box/AP75", "mask/AP_medium"):
        assert numbers[name] == pytest.approx(1), name
    assert math.isnan(numbers["mask/AP_small"])


def test_a_category_may_have_the_id_0(ground_truth: Json, perfect: Predictions) -> None:
    category = {**ground_truth["categories"][0], "id": 0}
    evaluator = CocoEvaluator(
        {**ground_truth, "annotations": [], "categories": [category]},
        class_names=(category["name"],),
    )
    evaluator.process(7, replace(perfect[7][:1], class_ids=np.zeros(1, np.int64)))
    assert [result["category_id"] for result in evaluator.results()] == [0]


def test_half_a_pixel_matters(ground_truth: Json, perfect: Predictions) -> None:
    """Masks of contours in the evaluator's px are exactly those of COCO's polygons."""
    evaluator = CocoEvaluator(ground_truth)
    evaluator.process(7, perfect[7])
    coco_mask = pytest.importorskip("pycocotools.mask")
    area = coco_mask.area([result["segmentation"] for result in evaluator.results()])
    assert area.tolist() == [1600, 2500]
    assert [result["bbox"] for result in evaluator.results()] == [
        [10, 10, 40, 40],
        [90, 20, 50, 50],
    ]


def test_groups_count_only_their_classes(ground_truth: Json, perfect: Predictions) -> None:
    del perfect[9]  # the chair
    numbers = evaluate(CocoEvaluator(ground_truth), perfect)
    assert numbers["mask/AP"] == pytest.approx(2 / 3)
    assert numbers["street/mask/AP"] == pytest.approx(1)
    own = CocoEvaluator(ground_truth, subsets={"seats": ("chair",), "planes": ("airplane",)})
    numbers = evaluate(own, perfect)
    assert numbers["seats/mask/AP"] == 0
    assert not any(name.startswith("planes") for name in numbers)


def test_which_images_count(ground_truth: Json, perfect: Predictions) -> None:
    nothing = perfect[8][:0]
    predictions = {7: perfect[7], 8: nothing}
    found = {
        images: evaluate(CocoEvaluator(ground_truth, images=images), predictions)["people/mask/AP"]
        for images in ("all", "detected")
    }
    assert found["all"] < found["detected"] == pytest.approx(1)


def test_classes_are_matched_by_name(ground_truth: Json, perfect: Predictions) -> None:
    turned = {
        image_id: replace(contours, class_ids=2 - contours.class_ids)
        for image_id, contours in perfect.items()
    }
    names = ("chair", "car", "person")
    assert evaluate(CocoEvaluator(ground_truth, class_names=names), turned)["mask/AP"] == 1
    assert evaluate(CocoEvaluator(ground_truth), turned)["people/mask/AP"] == 0
    with pytest.raises(ValueError, match="classes tree"):
        CocoEvaluator(ground_truth, class_names=("tree",))


def test_detections_of_classes_that_the_ground_truth_lacks_are_left_out(
    ground_truth: Json, perfect: Predictions
) -> None:
    evaluator = CocoEvaluator(ground_truth, class_names=("tree", "car", "chair"))
    for image_id, contours in perfect.items():
        evaluator.process(image_id, contours)
    expected = sum(int((contours.class_ids > 0).sum()) for contours in perfect.values())
    assert 0 < len(evaluator.results()) == expected


def test_given_boxes_replace_those_of_the_contours(
    ground_truth: Json, perfect: Predictions
) -> None:
    evaluator = CocoEvaluator(ground_truth)
    for image_id, contours in perfect.items():
        evaluator.process(image_id, contours, contours.boxes_xyxy + 100)
    numbers = evaluator.evaluate()
    assert numbers["mask/AP"] == pytest.approx(1)
    assert numbers["box/AP"] == 0
    evaluator.reset()
    with pytest.raises(ValueError, match="3 boxes for 2 contours"):
        evaluator.process(7, perfect[7], np.zeros((3, 4)))


def test_scores_can_be_rounded_as_published(ground_truth: Json, perfect: Predictions) -> None:
    scores = np.array([0.1234, 0.1179], np.float32)
    evaluator = CocoEvaluator(ground_truth, score_digits=2)
    evaluator.process(7, replace(perfect[7], scores=scores))
    assert [result["score"] for result in evaluator.results()] == [0.12, 0.12]


def test_an_image_counts_once(ground_truth: Json, perfect: Predictions) -> None:
    evaluator = CocoEvaluator(ground_truth)
    evaluator.process(7, perfect[7])
    with pytest.raises(ValueError, match="image 7"):
        evaluator.process(7, perfect[7])
    with pytest.raises(ValueError, match="'some'"):
        CocoEvaluator(ground_truth, images="some")  # type: ignore[arg-type]


def test_ground_truth_can_be_a_file(
    tmp_path: Path, ground_truth: Json, perfect: Predictions
) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(ground_truth))
    assert evaluate(CocoEvaluator(path, kinds=("box",)), perfect)["box/AP"] == pytest.approx(1)


def test_boundary_ap_punishes_a_rough_outline(ground_truth: Json, perfect: Predictions) -> None:
    pytest.importorskip("faster_coco_eval")
    rough = {
        image_id: replace(contours, vertices=contours.vertices + np.float32(2))
        for image_id, contours in perfect.items()
    }
    evaluator = CocoEvaluator(ground_truth, kinds=("mask", "boundary"))
    assert evaluate(evaluator, perfect)["boundary/AP"] == pytest.approx(1)
    numbers = evaluate(evaluator, rough)
    assert numbers["boundary/AP"] < numbers["mask/AP"] < 1


def test_contours_of_one_instance_are_one_mask(ground_truth: Json, perfect: Predictions) -> None:
    """An object in two overlapping parts: whole if they are merged, two wrong ones if not."""
    upper, lower = perfect[8].vertices[0].copy(), perfect[8].vertices[0].copy()
    upper[[1, 2], 1] -= 25  # the object is 60 px high; its parts overlap by 10
    lower[[0, 3], 1] += 25
    halves = Contours(
        vertices=np.stack([upper, lower]),
        scores=np.array([0.9, 0.9], np.float32),
        class_ids=perfect[8].class_ids[[0, 0]],
        stage="final",
        image_size=perfect[8].image_size,
        instance_ids=np.array([3, 3]),
    )
    merged = evaluate(CocoEvaluator(ground_truth), perfect | {8: halves})
    assert merged["mask/AP"] == merged["box/AP"] == pytest.approx(1)
    alone = replace(halves, instance_ids=None)
    assert evaluate(CocoEvaluator(ground_truth), perfect | {8: alone})["mask/AP"] < 0.9
    evaluator = CocoEvaluator(ground_truth)
    evaluator.process(8, halves, np.array([[0.0, 0, 9, 9], [5, 5, 20, 20]]))
    assert [r["bbox"] for r in evaluator.results()] == [[0.5, 0.5, 20, 20]]
