"""labelme: a JSON file for every image, with named shapes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from e2ec_core.data import problems as defects
from e2ec_core.data.content import Content
from e2ec_core.data.problems import Problems
from e2ec_core.image_files import natural_key


def read_labelme(
    annotations: str | Path, file_names: Iterable[str] | None, problems: Problems
) -> Content:
    """Reads a folder of labelme's files, and of folders in it, into COCO's form.

    Polygons, rectangles and circles are objects; shapes of one label and `group_id` are parts of
    one object; points and lines are left out. Classes are the labels in alphabetical order.

    Args:
        annotations: the folder.
        file_names: images wanted; default all.
        problems: where defects are counted.

    Raises:
        ValueError: the folder has no such file.
    """
    folder = Path(annotations)
    paths = sorted(folder.rglob("*.json"), key=natural_key) if folder.is_dir() else []
    wanted = None if file_names is None else {Path(name).stem for name in file_names}
    images: list[Content] = []
    found: list[tuple[int, str, list[list[float]]]] = []
    for path in paths:
        record = _read(path, problems)
        if record is None:
            continue
        name = _image_name(record, path)
        if wanted is not None and Path(name).stem not in wanted:
            continue
        number = len(images) + 1
        size = {"height": record.get("imageHeight"), "width": record.get("imageWidth")}
        images.append({"id": number, "file_name": name, **size})
        found += [(number, *each) for each in _objects(record["shapes"], path.name, problems)]
    if not images:
        raise ValueError(f"folder {str(folder)!r} has no file of labelme (.json with `shapes`)")
    names = sorted({label for _, label, _ in found})
    return {
        "images": images,
        "annotations": [
            {
                "id": index,
                "image_id": number,
                "category_id": names.index(label) + 1,
                "segmentation": parts,
                "iscrowd": 0,
            }
            for index, (number, label, parts) in enumerate(found, start=1)
        ],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(names)],
    }


def _read(path: Path, problems: Problems) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        record = None
    if isinstance(record, dict) and isinstance(record.get("shapes"), list):
        return record
    problems.note(defects.BAD_FILE, path.name)
    return None


def _image_name(record: dict[str, Any], path: Path) -> str:
    """The image's name, without the folders of the computer where it was labelled."""
    written = str(record.get("imagePath") or path.with_suffix(".jpg").name)
    kind = PureWindowsPath if "\\" in written else PurePosixPath
    return kind(written).name


def _objects(
    shapes: list[Any], place: str, problems: Problems
) -> list[tuple[str, list[list[float]]]]:
    """Label and flat polygons of every object."""
    groups: dict[Any, tuple[str, list[list[float]]]] = {}
    for index, shape in enumerate(shapes):
        outline = _outline(shape)
        if outline is None:
            problems.note(defects.NO_SEGMENTATION, f"shape {index + 1} of {place}")
            continue
        label, group = str(shape.get("label")), shape.get("group_id")
        key = (label, group) if group is not None else ("", index)
        groups.setdefault(key, (label, []))[1].append(outline)
    return list(groups.values())


def _outline(shape: Any) -> list[float] | None:
    """x, y, x, y, ... of a shape, px; None where it has no area."""
    if not isinstance(shape, dict) or not shape.get("label"):
        return None
    try:
        points = np.asarray(shape.get("points"), np.float64).reshape(-1, 2)
    except (ValueError, TypeError):
        return None
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon" and len(points) >= 3:
        outline = points
    elif kind == "rectangle" and len(points) in (2, 4):
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        outline = np.array([[x1, y1], [x1, y2], [x2, y2], [x2, y1]])
    elif kind == "circle" and len(points) == 2:
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        radius = np.linalg.norm(points[1] - points[0])
        outline = points[0] + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    else:
        return None
    flat: list[float] = outline.ravel().tolist()
    return flat
