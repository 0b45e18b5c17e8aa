"""Instance annotations in COCO's JSON format."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data import problems as defects
from e2ec_core.data.outlines import decode_run_lengths, mask_outlines, sound_outlines
from e2ec_core.data.problems import Problems
from e2ec_core.geometry import Polygon

Content = dict[str, Any]
"""What a COCO instance file holds: lists of images, annotations and categories."""

NO_CATEGORY = -1
_NEEDED = {
    "images": {"id", "file_name", "height", "width"},
    "annotations": {"image_id", "category_id"},
    "categories": {"id", "name"},
}


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One labelled object.

    Attributes:
        class_id: index into the dataset's class names.
        parts: polygons float64 [P, 2] (x, y) in COCO's coordinates: image px whose edges, not
            centres, are at the integers.
        crowd: the region holds many objects and is no target.
    """

    class_id: int
    parts: tuple[Polygon, ...]
    crowd: bool = False

    @property
    def box_xyxy(self) -> NDArray[np.float64]:
        """Box around all parts, [4], px."""
        points = np.concatenate(self.parts)
        return np.concatenate([points.min(axis=0), points.max(axis=0)])


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """One image file and its objects."""

    image_id: int
    path: Path
    height: int
    width: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class CocoDataset:
    """Images with labels, and what was wrong with the annotations.

    Attributes:
        images: in the order of the file.
        class_names: names by class id.
        category_ids: the file's category id by class id, `NO_CATEGORY` for a class it lacks.
        problems: what was found wrong, see `e2ec_core.data.problems`.
    """

    images: Sequence[LabelledImage]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    problems: Problems = field(default_factory=Problems)

    def __len__(self) -> int:
        return len(self.images)


def read_coco(
    annotations: str | Path,
    image_folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    file_names: Iterable[str] | None = None,
) -> CocoDataset:
    """Reads a COCO-format file.

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


def read_content(annotations: str | Path) -> Content:
    """Reads a COCO instance file as it is, making sure of the keys that are needed.

    Raises:
        ValueError: the file is missing or not COCO's format.
    """
    content = read_json(Path(annotations))
    check_content(content, str(annotations), "COCO's instance format")
    return content


def check_content(content: Any, source: str, format_name: str) -> None:
    """Makes sure of the keys that are needed, of ids that can be looked up and of image sizes.

    Raises:
        ValueError: naming what is missing or wrong.
    """
    try:
        for part, needed in _NEEDED.items():
            for entry in content[part]:
                if missing := needed - set(entry):
                    raise KeyError(f"{min(missing)} of one of the {part}")
                hash(tuple(entry[key] for key in needed))
        for image in content["images"]:
            if min(int(image["height"]), int(image["width"])) < 1:
                raise ValueError(f"image {image['file_name']!r} has no size")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source!r} is not {format_name}: {error}") from error


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        ValueError: the file is missing or no JSON.
    """
    if not path.is_file():
        raise ValueError(f"annotation file {str(path)!r} does not exist; check the path")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from error


def dataset_from_content(
    content: Content,
    image_folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    file_names: Iterable[str] | None = None,
    source: str = "the annotations",
    problems: Problems | None = None,
) -> CocoDataset:
    """Labelled images of COCO content.

    Args:
        content: images, annotations and categories.
        image_folder: where the image files lie.
        class_names: as `read_coco`.
        file_names: as `read_coco`.
        source: what to call the content in messages.
        problems: counts so far, which are continued.

    Raises:
        ValueError: the content has none of the classes, or lacks an image.
    """
    problems = Problems() if problems is None else problems
    categories = {category["id"]: category["name"] for category in content["categories"]}
    names = tuple(class_names or (categories[key] for key in sorted(categories)))
    ids_by_name = {name: key for key, name in categories.items()}
    if len(ids_by_name) < len(categories):
        twice = Counter(categories.values()).most_common(1)[0][0]
        raise ValueError(f"{source!r} has two categories named {twice!r}; give them one id")
    if not any(name in ids_by_name for name in names):
        raise ValueError(
            f"{source!r} has none of the classes asked for; "
            f"its categories are {', '.join(sorted(ids_by_name))}"
        )
    class_of = dict.fromkeys(categories)
    class_of |= {ids_by_name[name]: i for i, name in enumerate(names) if name in ids_by_name}
    entries = _choose(content["images"], file_names, source, problems)
    listed = {entry["id"] for entry in content["images"]}
    by_image = _instances_by_image(content, entries, listed, class_of, problems)
    for entry in entries:
        if not by_image[entry["id"]]:
            problems.note(defects.EMPTY_IMAGE, str(entry["file_name"]))
    images = [
        LabelledImage(
            image_id=entry["id"],
            path=Path(image_folder) / entry["file_name"],
            height=int(entry["height"]),
            width=int(entry["width"]),
            instances=tuple(by_image[entry["id"]]),
        )
        for entry in entries
    ]
    category_ids = tuple(ids_by_name.get(name, NO_CATEGORY) for name in names)
    return CocoDataset(images, names, category_ids, problems)


def _choose(
    entries: Sequence[Content], file_names: Iterable[str] | None, source: str, problems: Problems
) -> list[Content]:
    """The images asked for, each once."""
    wanted = None if file_names is None else set(file_names)
    if wanted and (unknown := wanted - {entry["file_name"] for entry in entries}):
        raise ValueError(f"{source!r} has no image {sorted(unknown)[0]!r}")
    chosen: dict[int, Content] = {}
    for entry in entries:
        if entry["id"] in chosen:
            problems.note(defects.IMAGE_TWICE, str(entry["file_name"]))
        elif wanted is None or entry["file_name"] in wanted:
            chosen[entry["id"]] = entry
    return list(chosen.values())


def _instances_by_image(
    content: Content,
    entries: Sequence[Content],
    listed: set[int],
    class_of: Mapping[int, int | None],
    problems: Problems,
) -> dict[int, list[Instance]]:
    sizes = {entry["id"]: (int(entry["height"]), int(entry["width"])) for entry in entries}
    by_image: dict[int, list[Instance]] = defaultdict(list)
    for label in content["annotations"]:
        image_id, place = label["image_id"], f"annotation {label.get('id', '?')}"
        if image_id not in listed:
            problems.note(defects.UNKNOWN_IMAGE, place)
        if image_id not in sizes:
            continue
        class_id = class_of.get(label["category_id"])
        if class_id is None:
            known = label["category_id"] in class_of
            problems.note(defects.OTHER_CLASS if known else defects.UNKNOWN_CLASS, place)
            continue
        parts = read_parts(label.get("segmentation"), sizes[image_id], problems, place)
        if parts:
            crowd = bool(label.get("iscrowd", 0))
            by_image[image_id].append(Instance(class_id=class_id, parts=parts, crowd=crowd))
        else:
            problems.note(defects.NO_OUTLINE, place)
    return by_image


def read_parts(
    segmentation: Any, size: tuple[int, int], problems: Problems, place: str
) -> tuple[Polygon, ...]:
    """Outlines of COCO's `segmentation`, polygons or run lengths; see `Instance.parts`."""
    if not segmentation:
        problems.note(defects.NO_SEGMENTATION, place)
        return ()
    if isinstance(segmentation, dict):
        mask = decode_run_lengths(segmentation, size, problems, place)
        outlines = [] if mask is None else mask_outlines(mask)
        if mask is not None and not outlines:
            problems.note(defects.EMPTY_MASK, place)
        return tuple(outlines)
    if not isinstance(segmentation, list):
        problems.note(defects.NO_NUMBERS, place)
        return ()
    return tuple(
        outline for flat in segmentation for outline in sound_outlines(flat, size, problems, place)
    )
