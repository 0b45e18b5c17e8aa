"""Labels in COCO's form made ready for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from e2ec_core.data.coco import NO_CATEGORY, CocoDataset, read_parts
from e2ec_core.data.outlines import FARTHEST, decode_run_lengths
from e2ec_core.data.problems import Problems
from e2ec_core.evaluation.contour_iou import annotation_to_rle


def restrict_ground_truth(content: Mapping[str, Any], data: CocoDataset) -> dict[str, Any]:
    """COCO content cut down to the images and classes of a data set.

    A class that the content lacks becomes a category without objects. Labels without a usable
    outline are left out, as they were when the data set was read; sound ones are not touched
    beyond filling in `id`, `iscrowd`, `area` and `bbox` where they are missing.
    """
    sizes = {image.image_id: (image.height, image.width) for image in data.images}
    wanted = set(data.category_ids)
    labels = [
        completed
        for number, label in enumerate(content["annotations"], start=1)
        if label["image_id"] in sizes
        and label["category_id"] in wanted
        and (completed := _complete(label, number, sizes[label["image_id"]]))
    ]
    categories = [c for c in content["categories"] if c["id"] in wanted]
    fresh = 1 + max((c["id"] for c in content["categories"]), default=0)
    for name, category_id in zip(data.class_names, data.category_ids, strict=True):
        if category_id == NO_CATEGORY:
            categories.append({"id": fresh, "name": name})
            fresh += 1
    listed = {image["id"]: image for image in content["images"] if image["id"] in sizes}
    return {
        **content,
        "images": list(listed.values()),
        "annotations": labels,
        "categories": categories,
    }


def _complete(
    label: Mapping[str, Any], number: int, size: tuple[int, int]
) -> dict[str, Any] | None:
    """The label with all that the tools need; None if it has no usable outline."""
    segmentation = label.get("segmentation")
    if isinstance(segmentation, list):
        usable = read_parts(segmentation, size, Problems(), "")
        segmentation = [np.ravel(p).tolist() for p in segmentation if _is_polygon(p)]
        segmentation = segmentation if usable else None
    elif isinstance(segmentation, dict):
        mask = decode_run_lengths(segmentation, size, Problems(), "")
        segmentation = None if mask is None else segmentation
    if not segmentation or not isinstance(segmentation, (list, dict)):
        return None
    complete = {"id": number, "iscrowd": 0, **label, "segmentation": segmentation}
    if "area" in complete and "bbox" in complete:
        return complete
    from pycocotools import mask as coco_mask

    try:
        rle = annotation_to_rle(complete, *size)
        area, box = int(coco_mask.area(rle)), coco_mask.toBbox(rle).tolist()
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    if isinstance(segmentation, list):  # the outline's own box, as the labels have it
        points = np.concatenate([np.reshape(flat, (-1, 2)) for flat in segmentation])
        low, high = points.min(axis=0), points.max(axis=0)
        box = [*low.tolist(), *(high - low).tolist()]
    return {"area": area, "bbox": box, **complete}


def _is_polygon(points: Any) -> bool:
    try:
        values = np.ravel(np.asarray(points, np.float64))
    except (ValueError, TypeError):
        return False
    return values.size >= 6 and values.size % 2 == 0 and bool((np.abs(values) <= FARTHEST).all())
