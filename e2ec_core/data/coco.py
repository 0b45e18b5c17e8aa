"""From the content of COCO's JSON format to labelled images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data import problems as defects
from e2ec_core.data.content import Annotation, Content, ImageEntry, normalise, read_content
from e2ec_core.data.dataset import NO_CATEGORY, CocoDataset
from e2ec_core.data.files import FileFit, fit_files
from e2ec_core.data.labelled import Instance, LabelledImage, Truth
from e2ec_core.data.outlines import as_polygons, as_shares, read_parts
from e2ec_core.data.problems import Problems
from e2ec_core.geometry import Polygon, clip_far, outer_polygons

_LEAST_BOX_IOU = 0.5


def read_coco(
    annotations: str | Path,
    image_folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    file_names: Iterable[str] | None = None,
) -> CocoDataset:
    """Reads a COCO-format file; the image files are not looked at.

    Args:
        annotations: JSON with images, annotations and categories.
        image_folder: where the image files lie.
        class_names: the classes wanted, in channel order; default all, in the order of their ids.
            The file need not have all of them.
        file_names: only these images; default all.

    Raises:
        ValueError: the file is missing or not COCO's format, has none of the classes, or lacks an
            image.
    """
    return dataset_from_content(
        read_content(annotations),
        image_folder,
        class_names=class_names,
        file_names=file_names,
        source=str(annotations),
    )


def dataset_from_content(
    content: Content,
    image_folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    file_names: Iterable[str] | None = None,
    source: str = "the annotations",
    problems: Problems | None = None,
    check_files: bool = False,
    skip_missing: bool = False,
) -> CocoDataset:
    """Labelled images of COCO content.

    Args:
        content: images, annotations and categories.
        image_folder: where the image files lie.
        class_names: as `read_coco`.
        file_names: as `read_coco`.
        source: what to call the content in messages.
        problems: counts so far, which are continued.
        check_files: compares the labels with the headers of the image files, see `fit_files`.
        skip_missing: as `fit_files`.

    Raises:
        ValueError: the content has none of the classes, or lacks an image; or image files are
            missing.
    """
    problems = Problems() if problems is None else problems
    labels = normalise(content, source, problems)
    names = tuple(class_names or (labels.categories[key] for key in sorted(labels.categories)))
    ids_by_name = {name: key for key, name in labels.categories.items()}
    if not any(name in ids_by_name for name in names):
        raise ValueError(
            f"{source!r} has none of the classes asked for; "
            f"its categories are {', '.join(sorted(ids_by_name))}"
        )
    category_ids = tuple(ids_by_name.get(name, NO_CATEGORY) for name in names)
    entries = _choose(labels.images, file_names, source)
    by_image: dict[int, list[Annotation]] = {entry.image_id: [] for entry in entries}
    for annotation in labels.annotations:
        if annotation.image_id in by_image:
            by_image[annotation.image_id].append(annotation)
    shares = as_shares(a.segmentation for a in labels.annotations)
    fits, files = fit_files(
        entries,
        by_image,
        Path(image_folder),
        problems,
        look=check_files,
        skip_missing=skip_missing,
    )
    class_of = {key: i for i, key in enumerate(category_ids) if key != NO_CATEGORY}
    images: dict[Path | int, LabelledImage] = {}
    for position, (entry, fit) in enumerate(zip(entries, fits, strict=True)):
        if fit is None:
            continue
        objects = [
            instance
            for annotation in by_image[entry.image_id]
            if _asked_for(annotation, class_of, labels.categories, problems)
            and (instance := _instance(annotation, class_of, fit, shares, problems))
        ]
        key: Path | int = fit.path if check_files else entry.image_id
        if key in images:
            problems.note(defects.ONE_FILE, entry.name)
            images[key] = _merged(images[key], objects)
            continue
        images[key] = LabelledImage(
            image_id=entry.image_id,
            path=fit.path,
            height=fit.size[0],
            width=fit.size[1],
            instances=tuple(objects),
            name=entry.name,
            upright=fit.upright,
            position=position,
        )
    for image in images.values():
        if not image.instances:
            problems.note(defects.EMPTY_IMAGE, image.name)
    return CocoDataset(list(images.values()), names, category_ids, problems, files)


def _choose(
    entries: Sequence[ImageEntry], file_names: Iterable[str] | None, source: str
) -> list[ImageEntry]:
    """The images asked for."""
    if file_names is None:
        return list(entries)
    wanted = set(file_names)
    if unknown := wanted - {entry.name for entry in entries}:
        raise ValueError(f"{source!r} has no image {sorted(unknown)[0]!r}")
    return [entry for entry in entries if entry.name in wanted]


def _asked_for(
    annotation: Annotation,
    class_of: dict[int, int],
    categories: dict[int, str],
    problems: Problems,
) -> bool:
    if annotation.category_id in class_of:
        return True
    known = annotation.category_id in categories
    problems.note(defects.OTHER_CLASS if known else defects.UNKNOWN_CLASS, annotation.place)
    return False


def _instance(
    annotation: Annotation,
    class_of: dict[int, int],
    fit: FileFit,
    shares: bool,
    problems: Problems,
) -> Instance | None:
    """The object of an annotation in px of its image as it is read; None without an outline."""
    place, segmentation = annotation.place, annotation.segmentation
    found = read_parts(segmentation, fit.label_size, problems, place, shares=shares)
    if not found:
        problems.note(defects.NO_OUTLINE, place)
        return None
    outer = tuple(outer_polygons(found))
    if len(outer) < len(found):
        problems.note(defects.INSIDE_OTHER, place)
    parts = tuple(part * fit.scale for part in outer) if fit.scaled else outer
    given = None if shares or fit.scaled else _given(segmentation, parts, fit.size)
    area, bbox = annotation.area, annotation.bbox
    if fit.scaled or shares:
        area = bbox = None
    instance = Instance(
        class_id=class_of[annotation.category_id or 0],
        parts=parts,
        crowd=annotation.crowd,
        truth=Truth(segmentation=given, area=area if area and area > 0 else None, bbox=bbox),
    )
    if bbox and _box_iou(bbox, instance.box_xyxy) < _LEAST_BOX_IOU:
        problems.note(defects.BOX, place)
        return Instance(
            class_id=instance.class_id,
            parts=parts,
            crowd=instance.crowd,
            truth=Truth(segmentation=given, area=instance.truth.area),
        )
    return instance


def _given(segmentation: Any, parts: tuple[Polygon, ...], size: tuple[int, int]) -> Any:
    """The segmentation for evaluation, None where the parts say the same."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        return {
            "size": list(size),
            "counts": counts.decode() if isinstance(counts, bytes) else counts,
        }
    polygons = as_polygons(segmentation)
    usable = [points for flat in polygons if (points := _points(flat)) is not None]
    if len(usable) == len(parts) and all(map(_same_ring, usable, parts)):
        return None
    return [clip_far(points, *size).ravel().tolist() for points in usable]


def _points(flat: Any) -> Polygon | None:
    try:
        values = np.ravel(np.asarray(flat, np.float64))
    except (ValueError, TypeError):
        return None
    sound = values.size >= 6 and values.size % 2 == 0 and bool((np.abs(values) <= 1e6).all())
    return values.reshape(-1, 2) if sound else None


def _same_ring(points: Polygon, part: Polygon) -> bool:
    """Whether a polygon of the file is a part, which does not repeat its first vertex."""
    closing = len(points) == len(part) + 1 and bool((points[0] == points[-1]).all())
    return len(points) - closing == len(part) and bool((points[: len(part)] == part).all())


def _box_iou(bbox: tuple[float, float, float, float], box_xyxy: NDArray[np.float64]) -> float:
    left, top, width, height = bbox
    x1, y1, x2, y2 = box_xyxy.tolist()
    across = min(left + width, x2) - max(left, x1)
    down = min(top + height, y2) - max(top, y1)
    common = max(across, 0.0) * max(down, 0.0)
    return common / (width * height + (x2 - x1) * (y2 - y1) - common)


def _merged(image: LabelledImage, objects: Sequence[Instance]) -> LabelledImage:
    """The image with the objects that another entry of its file adds, each once."""
    known = Counter(map(_identity, image.instances))
    fresh = [o for o in objects if not known[_identity(o)]]
    return replace(image, instances=(*image.instances, *fresh))


def _identity(instance: Instance) -> tuple[int, bool, tuple[bytes, ...]]:
    return instance.class_id, instance.crowd, tuple(part.tobytes() for part in instance.parts)
