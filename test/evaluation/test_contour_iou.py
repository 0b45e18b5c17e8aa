"""IoU of contours with the masks they belong to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2ec_core.contours import Contours
from e2ec_core.evaluation import annotation_to_rle, contour_ious
from e2ec_core.geometry import align_contour, signed_area

coco_mask = pytest.importorskip("pycocotools.mask")


def masks_of(ground_truth: dict[str, Any], image_id: int) -> list[dict[str, Any]]:
    labels = [a for a in ground_truth["annotations"] if a["image_id"] == image_id]
    return [annotation_to_rle(label, 120, 160) for label in labels]


def test_true_contours_cover_their_masks(
    ground_truth: dict[str, Any], perfect: dict[int, Contours]
) -> None:
    ious = contour_ious(perfect[7].vertices, masks_of(ground_truth, 7))
    np.testing.assert_allclose(ious, 1)
    crossed = contour_ious(perfect[7].vertices[::-1], masks_of(ground_truth, 7))
    np.testing.assert_allclose(crossed, 0)


def test_a_square_moved_by_half_its_side_has_iou_one_third(
    ground_truth: dict[str, Any], perfect: dict[int, Contours]
) -> None:
    moved = perfect[8].vertices + np.array([30, 0], np.float32)
    assert contour_ious(moved, masks_of(ground_truth, 8))[0] == pytest.approx(1 / 3)


def test_numbers_must_agree(ground_truth: dict[str, Any], perfect: dict[int, Contours]) -> None:
    with pytest.raises(ValueError, match="2 contours for 1 masks"):
        contour_ious(perfect[7].vertices, masks_of(ground_truth, 8))


def test_every_form_of_segmentation_is_read() -> None:
    polygon = [[10, 10, 10, 30, 40, 30, 40, 10]]
    rle = annotation_to_rle({"segmentation": polygon}, 50, 60)
    columns = coco_mask.decode(rle).T.reshape(-1)
    edges = np.flatnonzero(np.diff(columns, prepend=0, append=0))
    plain = np.diff(edges, prepend=0, append=columns.size).tolist()
    uncompressed = {"segmentation": {"size": [50, 60], "counts": plain}}
    assert coco_mask.area(annotation_to_rle({"segmentation": rle}, 50, 60)) == 600
    assert annotation_to_rle(uncompressed, 50, 60)["counts"] == rle["counts"]
    with pytest.raises(ValueError, match="annotation 4"):
        annotation_to_rle({"id": 4, "segmentation": []}, 50, 60)


def test_128_vertices_describe_real_objects(shared_dir: Path) -> None:
    """Aligned contours of real outlines of one part keep almost all of the mask."""
    path = shared_dir / "data" / "coco_subset" / "annotations" / "instances.json"
    content = json.loads(path.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    ious = []
    for label in content["annotations"][:400]:
        if label["iscrowd"] or len(label["segmentation"]) > 1 or label["area"] < 400:
            continue
        polygon = np.reshape(label["segmentation"][0], (-1, 2)) - 0.5
        contour = align_contour(polygon)
        assert abs(signed_area(contour) / signed_area(polygon)) == pytest.approx(1, abs=0.03)
        mask = annotation_to_rle(label, *sizes[label["image_id"]])
        ious.append(contour_ious([contour], [mask])[0])
    assert len(ious) > 100
    assert np.mean(ious) > 0.97
    assert np.min(ious) > 0.85
