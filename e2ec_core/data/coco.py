"""From the content of COCO's JSON format to labelled images."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from e2ec_core.data import problems as defects
from e2ec_core.data.content import Annotation, Content, ImageEntry, normalise, read_content
from e2ec_core.data.dataset import NO_CATEGORY, CocoDataset
from e2ec_core.data.files import FileFit, fit_files
from e2ec_core.data.labelled import Instance, LabelledImage, Truth
from e2ec_core.data.outlines import as_points, as_polygons, read_parts
from e2ec_core.data.problems import Problems
from e2ec_core.data.reading import LEAST_IOU, Reading, box_iou, find_reading
from e2ec_core.geometry import Polygon, clip_far, outer_polygons


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
        file_names: only these images; default all. Those that the file lacks are counted.

    Raises:
        ValueError: the file is missing or not COCO's format, or has none of the classes or images.
    """
    problems = Problems()
    return dataset_from_content(
        read_content(annotations, problems),
        image_folder,
        class_names=class_names,
        file_names=file_names,
        source=str(annotations),
        problems=problems,
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
        ValueError: the content has none of the classes or images; or image files are missing.
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
    entries = _choose(labels.images, file_names, source, problems)
    by_image: dict[int, list[Annotation]] = {entry.image_id: [] for entry in entries}
    for annotation in labels.annotations:
        if annotation.image_id in by_image:
            by_image[annotation.image_id].append(annotation)
    fits, files = fit_files(
        entries,
        by_image,
        Path(image_folder),
        problems,
        look=check_files,
        skip_missing=skip_missing,
    )
    class_of = {key: i for i, key in enumerate(category_ids) if key != NO_CATEGORY}
    polygons, masks = (
        find_reading(
            [
                (annotation, fit.label_size)
                for entry, fit in zip(entries, fits, strict=True)
                if fit is not None
                for annotation in by_image[entry.image_id]
                if isinstance(annotation.segmentation, dict) == are_masks
            ],
            problems,
        )
        for are_masks in (False, True)
    )
    images: dict[Hashable, LabelledImage] = {}
    for position, (entry, fit) in enumerate(zip(entries, fits, strict=True)):
        if fit is None:
            continue
        key = fit.identity, fit.upright
        known = images.get(key)
        if known:
            problems.note(defects.ONE_FILE, entry.name)
        objects = {_identity(instance): instance for instance in known.instances} if known else {}
        for annotation in by_image[entry.image_id]:
            if _asked_for(annotation, class_of, labels.categories, problems):
                reading = masks if isinstance(annotation.segmentation, dict) else polygons
                instance = _instance(annotation, class_of, fit, reading, problems)
                if instance and objects.setdefault(_identity(instance), instance) is not instance:
                    problems.note(defects.OBJECT_TWICE, annotation.place)
        if known:
            images[key] = replace(known, instances=tuple(objects.values()))
            continue
        images[key] = LabelledImage(
            image_id=entry.image_id,
            path=fit.path,
            height=fit.size[0],
            width=fit.size[1],
            instances=tuple(objects.values()),
            name=entry.name,
            upright=fit.upright,
            position=position,
        )
    for image in images.values():
        if not image.instances:
            problems.note(defects.EMPTY_IMAGE, image.name)
    return CocoDataset(list(images.values()), names, category_ids, problems, files)


def _choose(
    entries: Sequence[ImageEntry],
    file_names: Iterable[str] | None,
    source: str,
    problems: Problems,
) -> list[ImageEntry]:
    """The images asked for."""
    if file_names is None:
        return list(entries)
    wanted = set(file_names)
    unknown = sorted(wanted - {entry.name for entry in entries})
    for name in unknown:
        problems.note(defects.UNKNOWN_NAME, name)
    if unknown and len(unknown) == len(wanted):
        others = f", nor one of the {len(unknown) - 1} others asked for" if unknown[1:] else ""
        raise ValueError(f"{source!r} has no image {unknown[0]!r}{others}")
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
    reading: Reading,
    problems: Problems,
) -> Instance | None:
    """The object of an annotation in px of its image as it is read; None without an outline."""
    place, segmentation = annotation.place, annotation.segmentation
    found = read_parts(segmentation, fit.label_size, problems, place, reading.repair)
    if not found:
        problems.note(defects.NO_OUTLINE, place)
        return None
    outer = tuple(outer_polygons(found))
    if len(outer) < len(found):
        problems.note(defects.INSIDE_OTHER, place)
    parts = tuple(part * fit.scale for part in outer) if fit.scaled else outer
    instance = Instance(
        class_id=class_of[annotation.category_id or 0],
        parts=parts,
        crowd=annotation.crowd,
        whole=_whole(annotation, fit, reading, problems),
    )
    if fit.scaled or reading.repair:
        return instance
    area, bbox = annotation.area, annotation.bbox
    if bbox and box_iou(bbox, instance.box_xyxy) < LEAST_IOU:
        problems.note(reading.misfit, place)
        bbox = None
    given = _given(segmentation, parts, fit.size)
    truth = Truth(segmentation=given, area=area if area and area > 0 else None, bbox=bbox)
    return replace(instance, truth=truth)


def _whole(
    annotation: Annotation, fit: FileFit, reading: Reading, problems: Problems
) -> tuple[Polygon, ...] | None:
    """The amodal outline in px of the image as it is read; None where there is none."""
    if not annotation.amodal:
        return None
    place = f"amodal_segmentation of {annotation.place}"
    found = read_parts(annotation.amodal, fit.label_size, problems, place, reading.repair)
    outer = outer_polygons(found)
    return tuple(part * fit.scale for part in outer) if outer else None


def _given(segmentation: Any, parts: tuple[Polygon, ...], size: tuple[int, int]) -> Any:
    """The segmentation for evaluation, None where the parts say the same."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        return {
            "size": list(size),
            "counts": counts.decode() if isinstance(counts, bytes) else counts,
        }
    polygons = as_polygons(segmentation)
    usable = [points for flat in polygons if (points := as_points(flat)) is not None]
    if len(usable) == len(parts) and all(map(_same_ring, usable, parts)):
        return None
    return [clip_far(points, *size).ravel().tolist() for points in usable]


def _same_ring(points: Polygon, part: Polygon) -> bool:
    """Whether a polygon of the file is a part, which does not repeat its first vertex."""
    closing = len(points) == len(part) + 1 and bool((points[0] == points[-1]).all())
    return len(points) - closing == len(part) and bool((points[: len(part)] == part).all())


def _identity(instance: Instance) -> tuple[int, bool, tuple[bytes, ...]]:
    return instance.class_id, instance.crowd, tuple(part.tobytes() for part in instance.parts)
