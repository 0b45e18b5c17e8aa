"""Cityscapes: objects in several visible parts, and groups as regions to ignore."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.data import problems as defects
from e2ec_core.data.content import Content, read_json
from e2ec_core.data.outlines import mask_outlines
from e2ec_core.data.problems import Problems

LABEL_IDS: Mapping[str, int] = MappingProxyType(
    {
        "car": 26, "person": 24, "rider": 25, "motorcycle": 32,
        "bicycle": 33, "truck": 27, "bus": 28, "train": 31,
    }
)  # fmt: skip
"""The eight classes with instances in evaluation, and Cityscapes' own label ids."""

IDS_SUFFIX = "_gtFine_instanceIds.png"
POLYGONS_SUFFIX = "_gtFine_polygons.json"
IMAGE_SUFFIX = "_leftImg8bit.png"
_TRANSPARENT = frozenset({"license plate"})  # label id -1: the official masks skip it as well
_FULL_SIZE = (1024, 2048)


def read_cityscapes(
    annotations: str | Path,
    image_folder: str | Path,
    file_names: Iterable[str] | None,
    problems: Problems,
) -> Content:
    """Reads Cityscapes labels into COCO's form.

    Three forms are known by the names of the files, looked for in this order anywhere below the
    folder: Deep Snake's JSON files (a list of objects with `components`), the official
    `*_gtFine_instanceIds.png`, and the official `*_gtFine_polygons.json`, whose polygons are drawn
    over one another in their order as the official masks are. The masks give what is visible of an
    object, in several parts where something stands before it. Groups (`cargroup`) become crowd
    regions; caravans, trailers and everything without instances are no objects.

    Args:
        annotations: `gtFine/train`, `gtFine/val` or Deep Snake's folder.
        image_folder: `leftImg8bit/train`, ...; image names are relative to it.
        file_names: images wanted; default all. Those without labels are passed over.
        problems: where defects are counted.

    Returns:
        COCO content; category ids are Cityscapes' label ids, image ids count the sorted names.

    Raises:
        ValueError: the folder is missing or holds none of the forms, or all files are broken.
    """
    folder = Path(annotations)
    if not folder.is_dir():
        raise ValueError(f"annotation folder {str(folder)!r} does not exist; give gtFine/train")
    sources = label_files(folder)
    if not sources:
        raise ValueError(
            f"folder {str(folder)!r} has no *{IDS_SUFFIX}, no *{POLYGONS_SUFFIX} and none of Deep "
            "Snake's JSON files"
        )
    wanted = None if file_names is None else {name.strip() for name in file_names}
    images: list[Content] = []
    labels: list[Content] = []
    for number, (name, path) in enumerate(sorted(sources.items()), start=1):
        if wanted is not None and name not in wanted:
            continue
        try:
            size, objects = _read_objects(path, Path(image_folder) / name, problems)
        except ValueError as error:
            problems.note(defects.UNREADABLE_LABELS, str(error))
            continue
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for fields in objects:
            labels.append({"id": len(labels) + 1, "image_id": number, **fields})
    problems.require_some(images, defects.UNREADABLE_LABELS)
    categories = [{"id": key, "name": name} for name, key in LABEL_IDS.items()]
    return {"images": images, "annotations": labels, "categories": categories}


def label_files(folder: Path) -> dict[str, Path]:
    """Label file by image name (`CITY/..._leftImg8bit.png`) of the best form that there is."""
    plain = [p for p in sorted(folder.rglob("*.json")) if not p.name.endswith("_polygons.json")]
    if plain:
        return {_image_name(p, p.name.removesuffix(".json")): p for p in plain}
    for suffix in (IDS_SUFFIX, POLYGONS_SUFFIX):
        if found := sorted(folder.rglob(f"*{suffix}")):
            return {_image_name(p, p.name.removesuffix(suffix)): p for p in found}
    return {}


def instance_id_files(folder: Path, file_names: Iterable[str]) -> dict[str, Path]:
    """The official instance ids of images, which the official evaluation compares with.

    Raises:
        ValueError: an image has none.
    """
    found = {
        _image_name(p, p.name.removesuffix(IDS_SUFFIX)): p for p in folder.rglob(f"*{IDS_SUFFIX}")
    }
    chosen = {}
    for name in file_names:
        if name not in found:
            raise ValueError(
                f"folder {str(folder)!r} has no *{IDS_SUFFIX} for {name!r}; "
                "Cityscapes' evaluation needs those of gtFine"
            )
        chosen[name] = found[name]
    return chosen


def _image_name(path: Path, stem: str) -> str:
    stem = stem.removesuffix("_gtFine").removesuffix("_leftImg8bit")
    return f"{stem.split('_')[0]}/{stem}{IMAGE_SUFFIX}"


def _read_objects(
    path: Path, image: Path, problems: Problems
) -> tuple[tuple[int, int], list[Content]]:
    if path.suffix == ".png":
        ids = read_instance_ids(path)
        return ids.shape, list(_objects_of_ids(ids))
    content = read_json(path)
    try:
        if isinstance(content, list):
            return png_size(image) or _FULL_SIZE, list(_components(content, problems, path.name))
        ids = draw_instance_ids(content, problems, path.name)
        return ids.shape, list(_objects_of_ids(ids))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is not Cityscapes' format: {error!r}") from error


def _components(content: list[Any], problems: Problems, place: str) -> Iterator[Content]:
    for number, entry in enumerate(content, start=1):
        try:
            yield {
                "category_id": LABEL_IDS.get(entry["label"], -1),
                "segmentation": [np.ravel(c["poly"]).tolist() for c in entry["components"]],
                "iscrowd": 0,
            }
        except (KeyError, TypeError, ValueError):
            problems.note(defects.MALFORMED, f"object {number} of {place}")


def read_instance_ids(path: Path) -> NDArray[np.int32]:
    """Official instance ids int32 [H, W]: label id, or 1000 label id + number of the object.

    Raises:
        ValueError: the file is missing or no picture with one channel.
    """
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if ids is None or ids.ndim != 2:
        raise ValueError(f"{str(path)!r} cannot be read as instance ids; give a 16-bit PNG")
    return ids.astype(np.int32)


def draw_instance_ids(content: Content, problems: Problems, place: str) -> NDArray[np.int32]:
    """Draws the objects of a `polygons.json` over one another, in their order, as instance ids.

    Labels other than the eight classes are drawn as 0: they hide what lies behind them.
    """
    ids = np.zeros((int(content["imgHeight"]), int(content["imgWidth"])), np.int32)
    counts = dict.fromkeys(LABEL_IDS, 0)
    for number, entry in enumerate(content["objects"], start=1):
        try:
            name = str(entry["label"])
            points = np.asarray(entry["polygon"], np.float64).reshape(-1, 2)
            deleted = entry.get("deleted")
        except (KeyError, TypeError, ValueError):
            problems.note(defects.MALFORMED, f"object {number} of {place}")
            continue
        if deleted or name in _TRANSPARENT:
            continue
        if len(points) < 3 or not np.isfinite(points).all():
            few = len(points) < 3
            problems.note(defects.FEW_POINTS if few else defects.NOT_FINITE, f"{name} in {place}")
            continue
        value = LABEL_IDS.get(name.removesuffix("group"), 0)
        if name in counts:
            value = 1000 * value + counts[name]
            counts[name] += 1
        cv2.fillPoly(ids, [np.round(points).astype(np.int32)], value)
    return ids


def _objects_of_ids(ids: NDArray[np.int32]) -> Iterator[Content]:
    names = set(LABEL_IDS.values())
    for value in np.unique(ids).tolist():
        label_id = value // 1000 if value >= 1000 else value
        if label_id in names:
            outlines = mask_outlines(ids == value)
            yield {
                "category_id": label_id,
                "segmentation": [outline.ravel().tolist() for outline in outlines],
                "iscrowd": int(value < 1000),
            }


def png_size(path: Path) -> tuple[int, int] | None:
    """(height, width) of a PNG from its header; None if it is missing or no PNG."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        header: Any = file.read(24)
    if len(header) < 24 or not header.startswith(b"\x89PNG"):
        return None
    width, height = struct.unpack(">II", header[16:24])
    return int(height), int(width)
