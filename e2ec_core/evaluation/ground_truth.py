"""Labels in COCO's form for evaluation, made from the labels that a data set was read as."""

from __future__ import annotations

from typing import Any

from e2ec_core.data.dataset import NO_CATEGORY, CocoDataset
from e2ec_core.data.labelled import Instance, LabelledImage
from e2ec_core.evaluation.contour_iou import annotation_to_rle
from e2ec_core.geometry import clip_far


def ground_truth(data: CocoDataset) -> dict[str, Any]:
    """COCO content of a data set: its images, classes and objects, and nothing else.

    A class that the labels lack becomes a category without objects. `area` and `bbox` are those
    of the label file where it has them, else those of the mask and of the outline.
    """
    fresh = 1 + max(data.category_ids, default=0)
    category_ids = []
    for category_id in data.category_ids:
        lacks = category_id == NO_CATEGORY
        category_ids.append(fresh if lacks else category_id)
        fresh += lacks
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in data.images:
        images.append(
            {
                "id": image.image_id,
                "file_name": image.name,
                "height": image.height,
                "width": image.width,
            }
        )
        for instance in image.instances:
            annotations.append(
                {
                    "id": len(annotations) + 1,  # from 1: pycocotools takes 0 for no match
                    "image_id": image.image_id,
                    "category_id": category_ids[instance.class_id],
                    "iscrowd": int(instance.crowd),
                    **_shape(instance, image),
                }
            )
    names = zip(category_ids, data.class_names, strict=True)
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": key, "name": name} for key, name in names],
    }


def _shape(instance: Instance, image: LabelledImage) -> dict[str, Any]:
    """Segmentation, area and box of an object."""
    size = (image.height, image.width)
    segmentation = instance.truth.segmentation
    if segmentation is None:
        segmentation = [clip_far(part, *size).ravel().tolist() for part in instance.parts]
    area, bbox = instance.truth.area, instance.truth.bbox
    if area is None:
        from pycocotools import mask as coco_mask

        area = int(coco_mask.area(annotation_to_rle({"segmentation": segmentation}, *size)))
    if bbox is None:
        left, top, right, bottom = instance.box_xyxy.tolist()
        bbox = (left, top, right - left, bottom - top)
    return {"segmentation": segmentation, "area": area, "bbox": list(bbox)}
