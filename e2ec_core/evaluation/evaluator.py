"""Evaluation of predicted contours against a COCO-format data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from e2ec_core.contours import Contours
from e2ec_core.evaluation.average_precision import Kind, precision_table
from e2ec_core.geometry import contours_to_rle

SUBSETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "street": ("person", "bicycle", "car", "motorcycle", "bus", "truck"),
        "people": ("person",),
    }
)
"""Groups of COCO classes that are reported beside all classes."""


class CocoEvaluator:
    """Collects predictions image by image, then computes average precision.

    Usage: `reset()`, `process(...)` for each image, `evaluate()`.

    Args:
        ground_truth: content of a COCO instance file, or its path.
        class_names: the model's class names in channel order, matched with the categories by
            name; default the data set's categories in the order of their ids. Detections of
            classes that the ground truth lacks are left out.
        kinds: what is compared: `mask`, `box` and, with faster-coco-eval, `boundary`.
        subsets: named groups of classes; a group counts those of its classes that the data set
            has, and one without any is left out. Default `SUBSETS`.
        images: `all` of the ground truth (default), or only those with a
            detection, `detected`, as the published evaluation of E2EC does: that drops misses
            from the recall and flatters.
        score_digits: decimals to which scores are rounded (published: 2); default not at all.
        thresholds: IoU thresholds; default COCO's.

    Raises:
        ValueError: no class has a category, or an unknown choice of images.
    """

    def __init__(
        self,
        ground_truth: Mapping[str, Any] | str | Path,
        *,
        class_names: Sequence[str] | None = None,
        kinds: Sequence[Kind] = ("mask", "box"),
        subsets: Mapping[str, Sequence[str]] = SUBSETS,
        images: Literal["all", "detected"] = "all",
        score_digits: int | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        if images not in ("all", "detected"):
            raise ValueError(f"images is {images!r}; choose all or detected")
        self._ground_truth = (
            json.loads(Path(ground_truth).read_text())
            if isinstance(ground_truth, (str, Path))
            else ground_truth
        )
        self._category_of_name = {c["name"]: c["id"] for c in self._ground_truth["categories"]}
        self._category_ids = self._category_of_class(class_names)
        self._kinds = tuple(kinds)
        self._subsets = subsets
        self._images = images
        self._score_digits = score_digits
        self._thresholds = thresholds
        self.reset()

    def reset(self) -> None:
        """Forgets all predictions."""
        self._results: list[dict[str, Any]] = []
        self._processed: set[int] = set()
        self._left_out: set[int] = set()

    def leave_out(self, image_id: int) -> None:
        """Measures without an image, e.g. one whose file cannot be read."""
        self._left_out.add(image_id)

    def process(
        self, image_id: int, contours: Contours, boxes_xyxy: ArrayLike | None = None
    ) -> None:
        """Adds the predictions of one image; contours of one instance make up one mask.

        Args:
            image_id: of the ground truth.
            contours: in px of that image.
            boxes_xyxy: [K, 4] boxes for box AP, in px between pixel centres like contours;
                default the boxes around the contours. An instance's box encloses its contours'.

        Raises:
            ValueError: the image was processed before, or boxes and contours differ in number.
        """
        if image_id in self._processed:
            raise ValueError(f"image {image_id} was processed before; call reset() to start anew")
        boxes = np.asarray(
            contours.boxes_xyxy if boxes_xyxy is None else boxes_xyxy, dtype=np.float64
        ).reshape(-1, 4)
        if len(boxes) != len(contours):
            raise ValueError(f"received {len(boxes)} boxes for {len(contours)} contours")
        self._processed.add(image_id)
        rles = contours_to_rle(contours.vertices, *contours.image_size)
        for group in contours.by_instance():
            category_id = self._category_ids[int(contours.class_ids[group[0]])]
            if category_id is None:
                continue
            low, high = boxes[group, :2].min(axis=0), boxes[group, 2:].max(axis=0)
            self._results.append(
                {
                    "image_id": image_id,
                    "category_id": category_id,
                    "score": self._rounded(float(contours.scores[group[0]])),
                    "segmentation": _union([rles[i] for i in group]),
                    "bbox": _coco_box(np.concatenate([low, high])),
                }
            )

    def results(self) -> list[dict[str, Any]]:
        """COCO results so far: image_id, category_id, score, segmentation (RLE), bbox."""
        return list(self._results)

    def evaluate(self) -> dict[str, float]:
        """Average precision and recall in 0..1.

        Returns:
            `KIND/STATISTIC` over all classes and `SUBSET/KIND/STATISTIC`, e.g. `mask/AP`,
            `mask/AP50`, `street/box/AP`; NaN where there is no ground truth.
        """
        numbers: dict[str, float] = {}
        for kind in self._kinds:
            table = precision_table(
                self._ground_truth,
                self._results,
                kind,
                image_ids=self._image_ids(),
                thresholds=self._thresholds,
            )
            for name, value in table.statistics().items():
                numbers[f"{kind}/{name}"] = value
            for subset, category_ids in self._subset_categories().items():
                for name, value in table.statistics(category_ids).items():
                    numbers[f"{subset}/{kind}/{name}"] = value
        return numbers

    def _category_of_class(self, class_names: Sequence[str] | None) -> list[int | None]:
        if class_names is None:
            return [*sorted(self._category_of_name.values())]
        ids = [self._category_of_name.get(name) for name in class_names]
        if all(category_id is None for category_id in ids):
            raise ValueError(
                f"none of the classes {', '.join(class_names)} is a category of the ground truth: "
                f"{sorted(self._category_of_name)}"
            )
        return ids

    def _subset_categories(self) -> dict[str, list[int]]:
        known = self._category_of_name
        found = {s: [known[n] for n in names if n in known] for s, names in self._subsets.items()}
        return {subset: category_ids for subset, category_ids in found.items() if category_ids}

    def _image_ids(self) -> list[int]:
        if self._images == "detected":
            return sorted({result["image_id"] for result in self._results})
        return sorted({image["id"] for image in self._ground_truth["images"]} - self._left_out)

    def _rounded(self, score: float) -> float:
        return score if self._score_digits is None else round(score, self._score_digits)


def _union(rles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if len(rles) == 1:
        return rles[0]
    from pycocotools import mask as coco_mask

    union: dict[str, Any] = coco_mask.merge(list(rles))
    return union


def _coco_box(box_xyxy: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    """COCO's x, y, width, height, counted from the corner of the top-left pixel."""
    x_min, y_min, x_max, y_max = (float(value) for value in box_xyxy)
    return [x_min + 0.5, y_min + 0.5, x_max - x_min, y_max - y_min]
