"""Average precision by the COCO protocol, from COCO-format ground truth and results."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from e2ec_core.evaluation.contour_iou import annotation_to_rle

Kind = Literal["mask", "box", "boundary"]

_IOU_TYPES = {"mask": "segm", "box": "bbox", "boundary": "boundary"}
_AREAS = ("all", "small", "medium", "large")
SBD_THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(1, 10))
"""IoU thresholds of SBD's AP_vol."""


@dataclass(frozen=True, kw_only=True)
class PrecisionTable:
    """Precision and recall over everything COCO varies; statistics are means of slices of it.

    Attributes:
        precision: float64 [T, 101, C, A, 3]: IoU thresholds, recall levels, categories, areas
            (all, small, medium, large), most detections per image (1, 10, 100); -1 where a
            category has no ground truth.
        recall: float64 [T, C, A, 3].
        thresholds: float64 [T], IoU.
        category_ids: the C categories in order.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    category_ids: tuple[int, ...]

    def statistics(self, category_ids: Sequence[int] | None = None) -> dict[str, float]:
        """COCO's twelve statistics, or as many as the thresholds allow, in 0..1.

        Args:
            category_ids: mean over these categories only; default all.

        Returns:
            AP, AP50, AP75 (or APxx for SBD's 0.7), AP_small, AP_medium, AP_large, AR_1, AR_10,
            AR_100, AR_small, AR_medium, AR_large. NaN where there is no ground truth.

        Raises:
            ValueError: an unknown category.
        """
        columns = self._columns(category_ids)
        precision = self.precision[:, :, columns]
        recall = self.recall[:, columns]
        result = {"AP": _mean(precision[..., 0, -1])}
        for threshold in (0.5, 0.7, 0.75):
            rows = np.isclose(self.thresholds, threshold)
            if rows.any() and (threshold != 0.7 or not np.isclose(self.thresholds, 0.75).any()):
                result[f"AP{round(100 * threshold)}"] = _mean(precision[rows, ..., 0, -1])
        for area, name in list(enumerate(_AREAS))[1:]:
            result[f"AP_{name}"] = _mean(precision[..., area, -1])
        for index, most in enumerate((1, 10, 100)):
            result[f"AR_{most}"] = _mean(recall[..., 0, index])
        for area, name in list(enumerate(_AREAS))[1:]:
            result[f"AR_{name}"] = _mean(recall[..., area, -1])
        return result

    def _columns(self, category_ids: Sequence[int] | None) -> list[int]:
        wanted = self.category_ids if category_ids is None else tuple(category_ids)
        unknown = [c for c in wanted if c not in self.category_ids]
        if unknown:
            raise ValueError(f"category {unknown[0]} is not among {self.category_ids}")
        return [self.category_ids.index(c) for c in wanted]


def _mean(values: NDArray[np.float64]) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


def precision_table(
    ground_truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: Kind = "mask",
    *,
    image_ids: Sequence[int] | None = None,
    thresholds: Sequence[float] | None = None,
) -> PrecisionTable:
    """Matches results with ground truth.

    Args:
        ground_truth: content of a COCO instance file; left unchanged.
        results: COCO results: `image_id`, `category_id`, `score` and `segmentation` (RLE)
            for masks and boundaries, `bbox` (x, y, width, height) for boxes.
        kind: what overlaps: `mask`, `box` or `boundary` (mask and boundary band, whose width
            is 2 % of the image diagonal; needs faster-coco-eval).
        image_ids: images that count; default all, also those without any result.
        thresholds: IoU; default COCO's 0.50, 0.55, ..., 0.95.

    Raises:
        ValueError: unknown kind, or a result of an unknown image.
        ImportError: the package for this kind is not installed.
    """
    if kind not in _IOU_TYPES:
        raise ValueError(f"kind must be one of {tuple(_IOU_TYPES)}, received {kind!r}")
    coco_class, evaluation_class = _backend(kind)
    truth, found = coco_class(), coco_class()
    frame = {key: list(ground_truth[key]) for key in ("images", "categories")}
    truth.dataset = {**frame, "annotations": _numbered_from_one(ground_truth["annotations"])}
    found.dataset = {**frame, "annotations": _as_annotations(ground_truth, results, kind)}
    with redirect_stdout(io.StringIO()):  # pycocotools reports its progress by print
        truth.createIndex()
        found.createIndex()
        evaluation = evaluation_class(truth, found, _IOU_TYPES[kind])
        if image_ids is not None:
            evaluation.params.imgIds = sorted(image_ids)
        if thresholds is not None:
            evaluation.params.iouThrs = np.asarray(thresholds, dtype=np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
    return PrecisionTable(
        precision=np.asarray(evaluation.eval["precision"]),
        recall=np.asarray(evaluation.eval["recall"]),
        thresholds=np.asarray(evaluation.params.iouThrs),
        category_ids=tuple(int(c) for c in evaluation.params.catIds),
    )


def _backend(kind: Kind) -> tuple[Any, Any]:
    if kind == "boundary":
        try:
            package = importlib.import_module("faster_coco_eval")
        except ImportError as error:
            raise ImportError(
                "boundary AP needs faster-coco-eval: pip install faster-coco-eval"
            ) from error
        return package.COCO, package.COCOeval_faster
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return COCO, COCOeval


def _numbered_from_one(annotations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies (the tools write into them) with new ids: the tools take id 0 for 'no match'."""
    return [{**a, "id": number} for number, a in enumerate(annotations, start=1)]


def _as_annotations(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], kind: Kind
) -> list[dict[str, Any]]:
    """Results in the form of annotations, with the area by which COCO sorts sizes."""
    from pycocotools import mask as coco_mask

    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    annotations = []
    for number, result in enumerate(results, start=1):
        if result["image_id"] not in sizes:
            raise ValueError(f"result for image {result['image_id']}, which has no ground truth")
        annotation = {**result, "id": number, "iscrowd": 0}
        if kind == "box":
            annotation["area"] = result["bbox"][2] * result["bbox"][3]
        else:
            rle = annotation_to_rle(result, *sizes[result["image_id"]])
            annotation.update(
                segmentation=rle,
                area=int(coco_mask.area(rle)),
                bbox=coco_mask.toBbox(rle).tolist(),
            )
        annotations.append(annotation)
    return annotations
