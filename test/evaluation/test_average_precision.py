"""Average precision against published numbers."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2ec_core.evaluation import SBD_THRESHOLDS, Kind, precision_table

pytest.importorskip("pycocotools")

Json = dict[str, Any]


@pytest.fixture(scope="module")
def coco_example(shared_dir: Path) -> tuple[Json, list[Json]]:
    """The COCO tools' example: ground truth of 100 images and made-up masks."""
    folder = shared_dir / "data" / "eval" / "cocoapi"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    found = json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text())
    return truth, found


def test_mask_ap_of_the_coco_example(coco_example: tuple[Json, list[Json]]) -> None:
    statistics = precision_table(*coco_example, "mask").statistics()
    published = [
        0.320,
        0.562,
        0.299,
        0.387,
        0.310,
        0.327,
        0.268,
        0.415,
        0.417,
        0.469,
        0.377,
        0.381,
    ]
    np.testing.assert_allclose(list(statistics.values()), published, atol=5.1e-4)


def test_boundary_ap_of_the_coco_example(coco_example: tuple[Json, list[Json]]) -> None:
    pytest.importorskip("faster_coco_eval")
    statistics = precision_table(*coco_example, "boundary").statistics()
    precision = [0.226394, 0.377501, 0.225580, 0.387374, 0.272367, 0.075544]
    recall = [0.187226, 0.312652, 0.314043, 0.469450, 0.340543, 0.103870]
    np.testing.assert_allclose(list(statistics.values()), precision + recall, atol=1e-6)


def test_boundary_ap_of_the_small_example(shared_dir: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    folder = shared_dir / "data" / "eval" / "faster_coco_eval"
    truth = json.loads((folder / "gt_dataset.json").read_text())
    found = json.loads((folder / "dt_dataset.json").read_text())
    statistics = precision_table(truth, found, "boundary").statistics()
    assert statistics["AP"] == pytest.approx(0.6947194719)
    assert statistics["AP_medium"] == pytest.approx(0.7367986799)
    assert statistics["AP_large"] == 0
    assert statistics["AR_1"] == pytest.approx(2 / 3)


def as_results(ground_truth: Json) -> list[Json]:
    keys = ("image_id", "category_id", "segmentation", "bbox")
    return [{**{k: a[k] for k in keys}, "score": 0.5} for a in ground_truth["annotations"]]


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_the_ground_truth_itself_is_perfect(ground_truth: Json, kind: Kind) -> None:
    statistics = precision_table(ground_truth, as_results(ground_truth), kind).statistics()
    known = [value for value in statistics.values() if not math.isnan(value)]
    assert math.isnan(statistics["AP_small"])
    np.testing.assert_allclose(known, 1)


def test_no_results_are_worth_nothing(ground_truth: Json) -> None:
    statistics = precision_table(ground_truth, []).statistics()
    assert statistics["AP"] == 0
    assert statistics["AR_100"] == 0


def test_arguments_are_left_unchanged_and_id_0_counts(ground_truth: Json) -> None:
    ground_truth["annotations"][0]["id"] = 0
    results = as_results(ground_truth)
    before = copy.deepcopy((ground_truth, results))
    assert precision_table(ground_truth, results).statistics()["AP"] == pytest.approx(1)
    assert (ground_truth, results) == before


def test_a_second_detection_of_an_object_is_wrong(ground_truth: Json) -> None:
    first, second = (r for r in as_results(ground_truth) if r["category_id"] == 1)
    results = [{**first, "score": 0.9}, {**first, "score": 0.8}, {**second, "score": 0.7}]
    statistics = precision_table(ground_truth, results).statistics([1])
    # Precision 1 up to recall 0.5, 2/3 beyond, read at 101 levels.
    assert statistics["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_categories_can_be_singled_out(ground_truth: Json) -> None:
    results = [r for r in as_results(ground_truth) if r["category_id"] != 3]
    table = precision_table(ground_truth, results)
    assert table.statistics()["AP"] == pytest.approx(2 / 3)
    assert table.statistics([1, 62])["AP"] == pytest.approx(1)
    assert table.statistics([3])["AP"] == 0
    with pytest.raises(ValueError, match="category 4"):
        table.statistics([4])


def test_images_can_be_singled_out(ground_truth: Json) -> None:
    results = [r for r in as_results(ground_truth) if r["image_id"] != 8]
    assert precision_table(ground_truth, results).statistics([1])["AP"] < 0.6
    chosen = precision_table(ground_truth, results, image_ids=[7, 9])
    assert chosen.statistics()["AP"] == pytest.approx(1)


def test_thresholds_name_their_statistics(ground_truth: Json) -> None:
    table = precision_table(ground_truth, as_results(ground_truth), thresholds=SBD_THRESHOLDS)
    statistics = table.statistics()
    assert {"AP", "AP50", "AP70"} <= set(statistics)
    assert "AP75" not in statistics


def test_bad_arguments_are_named(ground_truth: Json) -> None:
    with pytest.raises(ValueError, match="'segm'"):
        precision_table(ground_truth, [], "segm")  # type: ignore[arg-type]
    stray = [{**as_results(ground_truth)[0], "image_id": 5}]
    with pytest.raises(ValueError, match="image 5"):
        precision_table(ground_truth, stray)
