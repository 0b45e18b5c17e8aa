"""Units and orders of coordinates: repaired where boxes tell, and else said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from e2ec_core.data import problems as defects
from e2ec_core.data.coco import dataset_from_content
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.evaluation.ground_truth import ground_truth

HEIGHT, WIDTH = 480, 640
BOXES = [(60 + 180 * j, 50 + 40 * i, 100, 80) for i in range(4) for j in range(3)]


def _ring(box: tuple[int, ...]) -> np.ndarray:
    x, y, width, height = box
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)


def _runs(box: tuple[int, ...], order: str) -> dict[str, Any]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = 1
    flat = mask.ravel(order)  # type: ignore[call-overload]
    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    return {"size": [HEIGHT, WIDTH], "counts": np.diff(edges).tolist()}


def _read(
    shape: Callable[[tuple[int, ...]], Any], bbox: Callable[[tuple[int, ...]], Any] | None = None
) -> CocoDataset:
    labels = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": shape(box)}
        | ({"bbox": bbox(box)} if bbox else {})
        for n, box in enumerate(BOXES)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": labels,
    }
    return dataset_from_content(content, "")


def _check(data: CocoDataset, repair: str, atol: float = 1e-9) -> None:
    """Makes sure that all objects are where they are, and that the repair is counted."""
    assert data.problems[repair] == len(BOXES)
    found = [instance.box_xyxy for instance in data.images[0].instances]
    truth = [(x, y, x + w, y + h) for x, y, w, h in BOXES]
    np.testing.assert_allclose(found, truth, atol=atol)
    assert not data.problems.losses
    assert not data.problems.doubts
    for label, box in zip(ground_truth(data)["annotations"], truth, strict=True):
        x, y, width, height = label["bbox"]
        np.testing.assert_allclose([x, y, x + width, y + height], box, atol=atol)


@pytest.mark.parametrize(("place", "slip"), [(2, 1.003), (0, -0.002)])
def test_shares_with_a_slip_are_shares(place: int, slip: float) -> None:
    def shape(box: tuple[int, ...]) -> list[list[float]]:
        flat = (_ring(box) / (WIDTH, HEIGHT)).ravel().tolist()
        if box is BOXES[0]:
            flat[place] = slip
        return [flat]

    data = _read(shape)
    assert data.problems == {defects.SHARES: 12, defects.LEAVING: 1}
    assert len(data.images[0].instances) == 12
    np.testing.assert_allclose(data.images[0].instances[5].parts[0], _ring(BOXES[5]))
    assert data.images[0].instances[0].parts[0][place // 2, 0] == pytest.approx(slip * WIDTH)


def test_a_polygon_in_px_among_shares_is_left_out() -> None:
    data = _read(
        lambda box: [
            (_ring(box) / ((1, 1) if box is BOXES[0] else (WIDTH, HEIGHT))).ravel().tolist()
        ]
    )
    assert data.problems[defects.OTHER_UNIT] == data.problems[defects.NO_OUTLINE] == 1
    assert len(data.images[0].instances) == 11


def _percent(box: tuple[int, ...]) -> list[list[float]]:
    return [(_ring(box) / (WIDTH, HEIGHT) * 100).ravel().tolist()]


def test_per_cent_becomes_px_where_boxes_tell() -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    _check(_read(_percent, list), defects.PERCENT)


def test_what_may_be_per_cent_is_said() -> None:
    data = _read(_percent)
    assert data.problems == {defects.MAYBE_PERCENT: 1}
    assert data.problems.doubts == 1
    assert data.problems.examples[defects.MAYBE_PERCENT] == ["x to 81.25, y to 52.0833"]


def test_exchanged_coordinates_are_put_right_where_boxes_tell() -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    _check(_read(lambda box: [_ring(box)[:, ::-1].ravel().tolist()], list), defects.EXCHANGED)


def test_run_lengths_by_rows_are_put_right_where_boxes_tell() -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    data = _read(lambda box: _runs(box, "C"), list)
    _check(data, defects.EXCHANGED, atol=0.25)
    assert not _read(lambda box: _runs(box, "F"), list).problems


def test_boxes_by_corners_or_in_shares_leave_the_outlines_as_they_are() -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")

    def shape(box: tuple[int, ...]) -> list[list[float]]:
        return [_ring(box).ravel().tolist()]

    for bbox in (
        lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]],
        lambda box: [box[0] / WIDTH, box[1] / HEIGHT, box[2] / WIDTH, box[3] / HEIGHT],
    ):
        _check(_read(shape, bbox), defects.BOX)


def test_boxes_that_contradict_all_outlines_are_a_doubt() -> None:
    data = _read(lambda box: [(_ring(box) / 2 + 200).ravel().tolist()], list)
    assert data.problems == {defects.MOST_BOXES: 12}
    assert data.problems.doubts == 12
    assert "either may be wrong" in data.report()[0]
