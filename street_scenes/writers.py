"""Synthetic scenes as COCO and KINS annotation files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from street_scenes.outline import signed_area
from street_scenes.scene import STREET_CLASSES, SyntheticInstance, SyntheticScene

Segmentation = Literal["amodal", "visible"]
Polygons = list[list[float]]
Annotation = dict[str, Any]

KINS_CATEGORIES: dict[int, str] = {
    1: "cyclist", 2: "pedestrian", 4: "car", 5: "tram", 6: "truck", 7: "van", 8: "misc",
}  # fmt: skip
KINS_CATEGORY_OF: dict[str, int] = {"person": 2, "car": 4, "truck": 6}
"""Everything else is `misc`, but a ridden bicycle and its rider are one `cyclist`."""
KINS_CYCLIST, KINS_MISC = 1, 8


def annotation_file(folder: Path, split: str) -> Path:
    """Where the annotations of a subset are written."""
    return folder / "annotations" / f"instances_{split}.json"


def image_file(folder: Path, split: str, number: int) -> Path:
    """Where an image of a subset is written; numbers begin at 1."""
    return folder / split / f"{number:06d}.jpg"


def write_coco_dataset(
    scenes: Iterable[SyntheticScene],
    folder: Path,
    split: str,
    *,
    segmentation: Segmentation = "amodal",
    max_occlusion: float = 0.95,
    min_area: float = 0.0,
) -> Path:
    """Write images and a COCO annotation file.

    The images go to `folder/split/`, the annotations to
    `folder/annotations/instances_{split}.json`. Besides COCO's fields an annotation has
    `amodal_segmentation`, `occlusion` (0..1), `truncated`, `track_id` and `depth` (m). Pixels are
    in COCO's frame, where (0, 0) is the corner of the image.

    Args:
        scenes: Scenes; a generator is written one at a time.
        folder: Where to write; made if absent.
        split: Name of the subset.
        segmentation: Whole outlines or visible parts.
        max_occlusion: Objects hidden by more than this share are left out.
        min_area: Objects with smaller outlines are left out, px^2.

    Returns:
        The annotation file.
    """

    def annotate(scene: SyntheticScene) -> Iterator[tuple[SyntheticInstance, Annotation]]:
        for instance in scene.instances:
            whole = segmentation == "amodal"
            polygons = amodal_polygons(instance) if whole else visible_polygons(instance)
            if polygons:
                yield (
                    instance,
                    {
                        "category_id": instance.category_id,
                        "segmentation": polygons,
                        "amodal_segmentation": amodal_polygons(instance),
                        "bbox": _box(polygons),
                        "area": _area(polygons),
                    },
                )

    names = {category: name for name, category in STREET_CLASSES.items()}
    return _write(scenes, folder, split, names, annotate, max_occlusion, min_area)


def write_kins_dataset(
    scenes: Iterable[SyntheticScene],
    folder: Path,
    split: str,
    *,
    max_occlusion: float = 0.95,
    min_area: float = 0.0,
) -> Path:
    """Write images and an annotation file in the form of the KINS data set.

    As `write_coco_dataset`, with KINS's categories and the fields of its first release, which
    the published E2EC reads: `segmentation` (polygons), `bbox` and `area` are amodal;
    `inmodal_seg` (compressed run lengths) and `inmodal_bbox` describe the visible part. As in
    KITTI a rider and the bicycle are one object.
    """

    def annotate(scene: SyntheticScene) -> Iterator[tuple[SyntheticInstance, Annotation]]:
        height, width = scene.image_rgb.shape[:2]
        for group in _kins_objects(scene):
            whole = [polygon for part in group for polygon in amodal_polygons(part)]
            visible = np.bitwise_or.reduce([part.full_mask(height, width) for part in group])
            lead = group[0]
            cyclist = len(group) > 1 and group[1].class_name == "bicycle"
            category = KINS_CATEGORY_OF.get(lead.class_name, KINS_MISC)
            yield (
                lead,
                {
                    "category_id": KINS_CYCLIST if cyclist else category,
                    "segmentation": whole,
                    "inmodal_seg": run_lengths(visible),
                    "bbox": _box(whole),
                    "inmodal_bbox": _mask_box(visible),
                    "area": _area(whole),
                },
            )

    return _write(scenes, folder, split, KINS_CATEGORIES, annotate, max_occlusion, min_area)


def _kins_objects(scene: SyntheticScene) -> Iterator[list[SyntheticInstance]]:
    """Instances, a rider of a bicycle followed by the bicycle in one group."""
    bicycles = {i.track_id: i for i in scene.instances if i.class_name == "bicycle"}
    ridden = {i.vehicle_id for i in scene.instances}
    for instance in scene.instances:
        if instance.vehicle_id in bicycles:
            yield [instance, bicycles[instance.vehicle_id]]
        elif instance.class_name != "bicycle" or instance.track_id not in ridden:
            yield [instance]


def run_lengths(mask: NDArray[np.uint8]) -> dict[str, Any]:
    """A mask `[H, W]` 0/1 as COCO's compressed run lengths.

    Raises:
        ImportError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise ImportError("masks are written by pycocotools: pip install pycocotools") from error
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def amodal_polygons(instance: SyntheticInstance) -> Polygons:
    """The whole outline as COCO polygons."""
    return [_flat(instance.amodal)]


def visible_polygons(instance: SyntheticInstance) -> Polygons:
    """The visible parts as COCO polygons; the outline itself where nothing hides it."""
    if instance.occlusion == 0:
        return amodal_polygons(instance)
    # On a four times finer raster the chain of border pixels runs near their outer edge.
    fine = cv2.resize(instance.visible_mask, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    parts = [(part[:, 0] + 0.5) / 4 - 0.5 + instance.visible_window for part in found]
    return [_flat(part) for part in parts if abs(signed_area(part)) >= 2]


def _flat(polygon: NDArray[Any]) -> list[float]:
    # COCO counts from the corner of the first pixel, this project from its centre.
    values: list[float] = np.round(polygon.reshape(-1).astype(np.float64) + 0.5, 2).tolist()
    return values


def _box(polygons: Polygons) -> list[float]:
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
    low, high = points.min(0), points.max(0)
    box: list[float] = np.round([*low, *(high - low)], 2).tolist()
    return box


def _area(polygons: Polygons) -> float:
    return round(sum(abs(signed_area(np.reshape(p, (-1, 2)))) for p in polygons), 2)


def _mask_box(mask: NDArray[np.uint8]) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def _write(
    scenes: Iterable[SyntheticScene],
    folder: Path,
    split: str,
    categories: dict[int, str],
    annotate: Callable[[SyntheticScene], Iterator[tuple[SyntheticInstance, Annotation]]],
    max_occlusion: float,
    min_area: float,
) -> Path:
    (folder / split).mkdir(parents=True, exist_ok=True)
    images: list[Annotation] = []
    annotations: list[Annotation] = []
    for number, scene in enumerate(scenes, start=1):
        height, width = scene.image_rgb.shape[:2]
        path = image_file(folder, split, number)
        _save(path, scene.image_rgb)
        images.append({"id": number, "file_name": path.name, "width": width, "height": height})
        for instance, fields in annotate(scene):
            if instance.occlusion <= max_occlusion and fields["area"] >= min_area:
                numbered = {"id": len(annotations) + 1, "image_id": number}
                annotations.append({**numbered, **_facts(instance), **fields})
    target = annotation_file(folder, split)
    target.parent.mkdir(parents=True, exist_ok=True)
    named = [{"id": i, "name": name, "supercategory": "street"} for i, name in categories.items()]
    content = {"images": images, "annotations": annotations, "categories": named}
    target.write_text(json.dumps(content))
    return target


def _facts(instance: SyntheticInstance) -> Annotation:
    return {
        "iscrowd": 0,
        "occlusion": round(instance.occlusion, 4),
        "truncated": instance.truncated,
        "track_id": instance.track_id,
        "depth": round(instance.depth, 2),
    }


def _save(path: Path, image_rgb: NDArray[np.uint8]) -> None:
    bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise OSError(f"cannot write {path}")
