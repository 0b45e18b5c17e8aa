"""Label files of COCO's form: read in any encoding, with values of one type whoever wrote them."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from e2ec_core.data import problems as defects
from e2ec_core.data.problems import Problems
from e2ec_core.image_files import MAX_PIXELS

Content = dict[str, Any]
"""What a COCO instance file holds: lists of images, annotations and categories."""

_NEEDED = {
    "images": {"id", "file_name"},
    "annotations": {"image_id", "category_id"},
    "categories": {"id", "name"},
}
_TRUE = frozenset({"1", "true", "yes", "t", "y"})


@dataclass(frozen=True, kw_only=True)
class ImageEntry:
    """One image of a label file.

    Attributes:
        image_id: its number.
        name: file name with forward slashes.
        size: (height, width) as the labels say it, px; None where they do not.
    """

    image_id: int
    name: str
    size: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotation of a label file; its outline is not checked yet.

    Attributes:
        place: what to call it in messages.
        image_id: number of its image.
        category_id: number of its category, None if the file does not define it.
        segmentation: polygons or run lengths, as the file has them.
        crowd: the region holds many objects and is no target.
        area: px^2, None where the file gives none.
        bbox: x, y, width, height in px, None where the file gives none.
        amodal: the outline behind what hides the object too, as `segmentation`; None: not given.
    """

    place: str
    image_id: int
    category_id: int | None
    segmentation: Any
    crowd: bool
    area: float | None
    bbox: tuple[float, float, float, float] | None
    amodal: Any = None


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A label file with values of one type.

    Attributes:
        images: each number once, in the order of the file.
        annotations: those of the images.
        categories: names by number.
    """

    images: list[ImageEntry]
    annotations: list[Annotation]
    categories: dict[int, str]


def read_json(path: Path) -> Any:
    """Reads a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        ValueError: the file is missing or no JSON.
    """
    if not path.is_file():
        raise ValueError(f"annotation file {str(path)!r} does not exist; check the path")
    try:
        return json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not in UTF-8: {error}; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from error


def read_content(annotations: str | Path, problems: Problems) -> Content:
    """Reads a COCO instance file; see `sound_content`.

    Raises:
        ValueError: the file is missing or not COCO's format.
    """
    content = read_json(Path(annotations))
    return sound_content(content, str(annotations), "COCO's instance format", problems)


def sound_content(content: Any, source: str, format_name: str, problems: Problems) -> Content:
    """The entries of COCO content that have the keys they need; the others are counted.

    Raises:
        ValueError: a list is missing, or none of its entries is sound.
    """
    sound: Content = {}
    for part, needed in _NEEDED.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise ValueError(f"{source!r} is not {format_name}: it has no list of {part}")
        sound[part] = [e for e in entries if isinstance(e, dict) and needed <= e.keys()]
        if entries and not sound[part]:
            keys = " and ".join(sorted(needed))
            raise ValueError(f"{source!r} is not {format_name}: none of its {part} has {keys}")
        if len(sound[part]) < len(entries):
            for number, entry in enumerate(entries, start=1):
                missing = needed - entry.keys() if isinstance(entry, dict) else needed
                if missing:
                    lacks = " or ".join(sorted(missing))
                    problems.note(defects.MALFORMED, f"number {number} of the {part} (no {lacks})")
    return sound


def normalise(content: Content, source: str, problems: Problems) -> Labels:
    """Gives ids, sizes, names and marks of COCO content one type each.

    Ids may be numbers or texts of digits ("9" is 9); others get numbers. Images that share an id
    are left out with their annotations, which could mean either. A category without objects that
    has the name of another one is dropped: exporters write such roots.

    Raises:
        ValueError: two categories with objects have one name or one id.
    """
    image_of = _numbers(entry_key(image["id"]) for image in content["images"])
    images: dict[int, ImageEntry] = {}
    shared: set[int] = set()
    for image in content["images"]:
        number, name = image_of.get(entry_key(image["id"])), file_name(image["file_name"])
        if _nameless(image["file_name"]):
            problems.note(defects.NO_NAME, f"image {image['id']}")
        elif number is None:
            problems.note(defects.NO_ID, name)
        elif number not in images:
            images[number] = ImageEntry(image_id=number, name=name, size=_size(image))
        elif images[number].name == name:
            problems.note(defects.IMAGE_TWICE, name)
        else:
            shared.add(number)
            problems.note(defects.SHARED_ID, f"{name} (id {image['id']})")
    for number in shared:
        problems.note(defects.SHARED_ID, images.pop(number).name)
    category_of = _numbers(entry_key(category["id"]) for category in content["categories"])
    annotations = []
    for position, label in enumerate(content["annotations"], start=1):
        place = f"annotation {label.get('id', position)}"
        number = image_of.get(entry_key(label["image_id"]))
        if number is None or number not in images:
            known = number in shared
            problems.note(defects.UNCLEAR_IMAGE if known else defects.UNKNOWN_IMAGE, place)
            continue
        annotations.append(
            Annotation(
                place=place,
                image_id=number,
                category_id=category_of.get(entry_key(label["category_id"])),
                segmentation=label.get("segmentation"),
                crowd=_truth(label.get("iscrowd")),
                area=_number(label.get("area")),
                bbox=_box(label.get("bbox")),
                amodal=label.get("amodal_segmentation"),
            )
        )
    used = {a.category_id for a in annotations}
    names: dict[int, str] = {}
    for category in content["categories"]:
        key, name = category_of.get(entry_key(category["id"])), str(category["name"])
        if _nameless(category["name"]):
            problems.note(defects.NO_NAME, f"category {category['id']}")
        elif key is None:
            problems.note(defects.NO_ID, name)
        elif names.setdefault(key, name) != name and key in used:
            raise ValueError(
                f"{source!r} has two categories of id {category['id']}: {names[key]!r} and "
                f"{name!r}; give each its own id"
            )
    return Labels(
        images=list(images.values()),
        annotations=annotations,
        categories=_without_roots(names, used, source),
    )


def _nameless(name: Any) -> bool:
    return name is None or not str(name).strip()


def _without_roots(names: dict[int, str], used: set[int | None], source: str) -> dict[int, str]:
    times = Counter(names.values())
    for key in list(names):
        if times[names[key]] > 1 and key not in used:
            times[names[key]] -= 1
            del names[key]
    if twice := [name for name, count in times.items() if count > 1]:
        raise ValueError(f"{source!r} has two categories named {twice[0]!r}; give them one id")
    return names


def entry_key(value: Any) -> Hashable | None:
    """An id by which entries find each other; None if it is none."""
    if isinstance(value, str):
        text = value.strip()
        number = re.fullmatch(r"(-?[0-9]{1,99})(\.0*)?", text)
        return int(number[1]) if number else text or None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _numbers(keys: Iterable[Hashable | None]) -> dict[Hashable, int]:
    """A number of 64 bits for each key: its own, or one behind the largest."""
    known = [key for key in keys if key is not None]
    result: dict[Hashable, int] = {
        key: key for key in known if isinstance(key, int) and abs(key) < 1 << 62
    }
    fresh = max(result.values(), default=0)
    for key in known:
        if key not in result:
            fresh += 1
            result[key] = fresh
    return result


def file_name(value: Any) -> str:
    """A file name with forward slashes, of a URL or of a Windows path as well."""
    name = str(value).replace("\\", "/")
    if "://" in name or "?d=" in name:
        name = name.split("?d=")[-1]
        if re.match(r"\s*https?://", name):  # what signs a URL is no part of the name
            name = name.split("?")[0]
        name = unquote(name.split("://", 1)[-1])
    return name.removeprefix("./")


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _size(image: Content) -> tuple[int, int] | None:
    height, width = (_number(image.get(side)) for side in ("height", "width"))
    if height is None or width is None or min(height, width) < 1 or height * width > MAX_PIXELS:
        return None
    return int(height), int(width)


def _truth(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _TRUE
    return bool(value)


def _box(value: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return None
    left, top, width, height = (_number(v) for v in value)
    if left is None or top is None or not width or not height or min(width, height) <= 0:
        return None
    return left, top, width, height
