"""Bad labels from the file to the targets: nothing breaks, and everything lost is counted."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ec_core.data import problems as defects
from e2ec_core.data.check import check_dataset, health_report
from e2ec_core.data.coco import dataset_from_content
from e2ec_core.data.content import sound_content
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.problems import Problems
from e2ec_core.evaluation.ground_truth import ground_truth
from e2ec_core.geometry import join_polygons
from e2ec_core.learning.augment import AugmentConfig, move_instance
from e2ec_core.learning.targets import TargetSettings, make_targets

SIDE = 64
NAN = float("nan")
SQUARE = [10, 10, 10, 40, 40, 40, 40, 10]

numbers = st.one_of(
    st.integers(-20, 90),
    st.floats(-50, 120),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, 10, 10 + 1e-9, 1e308, -1e308, 1e-320]),
)
polygons = st.one_of(
    st.lists(numbers, max_size=20),
    st.lists(st.integers(-5, 70), min_size=6, max_size=24).map(lambda v: v[: len(v) // 2 * 2]),
    st.sampled_from([SQUARE, [*SQUARE, *SQUARE[:2]], SQUARE[:4] * 2, [3, 3] * 5]),
    st.none(),
    st.text(max_size=3),
)
run_lengths = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from([[SIDE, SIDE], [SIDE, 9], None, 3]),
        "counts": st.one_of(
            st.lists(st.integers(-5, SIDE**2), max_size=5),
            st.text("0123456789PQRabcd", max_size=9),
            st.none(),
        ),
    },
)
segmentations = st.one_of(
    st.lists(polygons, max_size=4), run_lengths, st.none(), st.text(max_size=3), st.integers()
)
categories = st.one_of(st.sampled_from([1, 1, 1, 2, 3]), st.integers(-3, 99), st.none(), st.text())
annotations = st.lists(
    st.fixed_dictionaries(
        {
            "image_id": st.sampled_from([1, 1, 1, 7]),
            "category_id": categories,
            "segmentation": segmentations,
        },
        optional={"iscrowd": st.sampled_from([0, 1])},
    ),
    max_size=5,
)


def _content(*labels: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": SIDE, "width": SIDE}],
        "categories": [{"id": i, "name": name} for i, name in enumerate("abc", start=1)],
        "annotations": list(labels),
    }


def _read(*labels: dict[str, Any]) -> CocoDataset:
    problems = Problems()
    content = sound_content(_content(*labels), "labels", "COCO's instance format", problems)
    return dataset_from_content(content, "images", class_names=["a", "b"], problems=problems)


@settings(max_examples=300, deadline=None)
@given(annotations)
def test_every_annotation_becomes_an_object_or_is_counted(labels: list[dict[str, Any]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        data = _read(*labels)
    (image,) = data.images
    dropped = (
        defects.NO_OUTLINE,
        defects.UNKNOWN_CLASS,
        defects.OTHER_CLASS,
        defects.UNKNOWN_IMAGE,
        defects.OBJECT_TWICE,
    )
    assert len(image.instances) + sum(data.problems[kind] for kind in dropped) == len(labels)
    assert data.problems[defects.EMPTY_IMAGE] == (not image.instances)
    for instance in image.instances:
        assert instance.class_id in (0, 1)
        for part in instance.parts:
            assert len(part) >= 3
            assert np.isfinite(part).all()
    report = health_report(check_dataset(data))
    for kind in data.problems:
        assert f"| {kind} | {data.problems[kind]} | {defects.HANDLING[kind]} |" in report


@settings(max_examples=150, deadline=None)
@given(annotations, st.sampled_from(["monotone", "published"]), st.floats(0.3, 3))
def test_whatever_is_kept_gives_finite_targets(
    labels: list[dict[str, Any]], alignment: Any, scale: float
) -> None:
    config = AugmentConfig(size=(SIDE, SIDE), min_area=0.5, min_visible=0.0)
    matrix = np.array([[scale, 0.1, 2], [-0.1, scale, 3]])
    instances = _read(*labels).images[0].instances
    moved = [move_instance(i, matrix, config.size, config) for i in instances if not i.crowd]
    seen = [i for i in moved if i is not None]
    rules = TargetSettings(num_classes=2, vertices=32, alignment=alignment, min_area=0.5)
    for rings in ([[join_polygons(i.parts)] for i in seen], [list(i.parts) for i in seen]):
        targets = make_targets(rings, [i.class_id for i in seen], (SIDE, SIDE), rules)
        for values in (targets.contours, targets.boxes, targets.heatmap):
            assert values.isfinite().all()
        assert targets.contours.min() >= -1e-6
        assert targets.contours.max() <= SIDE
        # One object more is one centre more, unless two share a cell.
        centres = {
            (c, *cell)
            for c, cell in zip(
                targets.class_ids[targets.valid].tolist(),
                targets.cells[targets.valid].tolist(),
                strict=True,
            )
        }
        assert (targets.heatmap == 1).sum() == len(centres)


@settings(max_examples=60, deadline=None)
@given(annotations)
def test_the_ground_truth_of_bad_labels_can_be_measured(labels: list[dict[str, Any]]) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    from e2ec_core.evaluation.contour_iou import annotation_to_rle

    data = _read(*labels)
    truth = ground_truth(data)
    assert len(truth["annotations"]) == sum(len(image.instances) for image in data.images)
    for label in truth["annotations"]:
        rle = annotation_to_rle(label, SIDE, SIDE)
        assert 0 <= coco_mask.area(rle) <= SIDE**2


@pytest.mark.parametrize(
    ("labels", "row"),
    [
        (
            [{"segmentation": [[1, 2, 3, 4]]}],
            "polygon with fewer than three points | 1 | left out",
        ),
        ([{"segmentation": [[10, 10, 30, 30, 30, 10, 10, 30]]}], "crosses itself | 1 | repaired"),
        ([{"segmentation": [[90, 90, 99, 90, 99, 99]]}], "outside the image | 1 | left out"),
        ([{"segmentation": [[50, 9, 99, 9, 99, 30]]}], "leaves the image | 1 | kept"),
        ([{"segmentation": [[0, 0, 9, 9, 20, 20]]}], "zero area | 1 | left out"),
        ([{"segmentation": [[*SQUARE[:2], *SQUARE]]}], "repeated vertices | 1 | repaired"),
        ([{"segmentation": [[1, 2, NAN, 4, 5, 9]]}], "not finite | 1 | left out"),
        ([{"segmentation": [[1, 2, 1e99, 4, 5, 9]]}], "beyond a million px | 1 | left out"),
        ([], "image without objects | 1 | kept"),
        ([{"segmentation": [SQUARE], "category_id": 77}], "does not define | 1 | left out"),
        ([{"segmentation": [SQUARE], "category_id": 3}], "not asked for | 1 | left out"),
        ([{"segmentation": [SQUARE], "image_id": 9}], "does not list | 1 | left out"),
        ([{"segmentation": [SQUARE]}] * 3, "object that is labelled twice | 2 | repaired"),
    ],
)
def test_each_case_is_reported_with_what_is_done(labels: list[dict[str, Any]], row: str) -> None:
    data = _read(*({"image_id": 1, "category_id": 1} | label for label in labels))
    assert row in health_report(check_dataset(data))


def test_images_without_an_id_or_a_size_are_left_out_and_counted() -> None:
    sizes = [(0, 9), (None, 9), ("x", 9), (10**6, 10**6)]
    bad = [
        {"id": n, "file_name": f"{n}.png", "height": h, "width": w}
        for n, (h, w) in enumerate(sizes, start=2)
    ]
    good = {"id": 1, "file_name": "a.png", "height": "64", "width": "64.0"}
    content = _content() | {"images": [good, *bad, {**good, "id": None}, {**good, "id": [1]}]}
    data = dataset_from_content(content, "images")
    assert [(i.image_id, i.height, i.width) for i in data.images] == [(1, 64, 64)]
    assert data.problems[defects.NO_SIZE] == 4
    assert data.problems[defects.NO_ID] == 2


def test_two_categories_of_one_name_are_refused() -> None:
    label = {"image_id": 1, "segmentation": [SQUARE]}
    content = _content({**label, "category_id": 1}, {**label, "category_id": 77})
    first = content["categories"][0]
    content["categories"].append({**first, "id": 77})
    with pytest.raises(ValueError, match=f"two categories named '{first['name']}'"):
        dataset_from_content(content, "images")
