"""Contours as COCO results, which `pycocotools` and its kin measure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from e2ec_core.contours import Contours
from e2ec_core.data.class_names import COCO

_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_COCO_IDS = [i for i in range(1, 91) if i not in _UNUSED]


def image_ids(sources: Sequence[str]) -> Callable[[str, int], int]:
    """How images get their `image_id`.

    Where all files are images with numbers as names, as those of COCO are (`000000397133.jpg`),
    it is that number. Else frames are counted from 1, those that cannot be read too.

    Args:
        sources: path of each recording.

    Returns:
        the id by source and position of a frame in the whole run, from 0.
    """
    names = [Path(source).stem for source in sources]
    numbers = {int(name) for name in names if name.isdecimal() and name.isascii()}
    if len(numbers) == len(names):
        return lambda source, position: int(Path(source).stem)
    return lambda source, position: position + 1


def category_ids(class_names: Sequence[str]) -> list[int]:
    """The `category_id` of each class: COCO's own for its 80 classes, else counted from 1."""
    if tuple(class_names) == COCO:
        return _COCO_IDS
    return list(range(1, len(class_names) + 1))


def coco_instances(contours: Contours, image_id: int, categories: Sequence[int]) -> Iterator[Any]:
    """COCO results of one image: polygons in px with edges at integers, as COCO counts them.

    An object with several contours is one result with several polygons.
    """
    corners = contours.vertices.astype(np.float64) + 0.5
    for group in contours.by_instance():
        points = corners[group].reshape(-1, 2)
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        yield {
            "image_id": image_id,
            "category_id": categories[int(contours.class_ids[group[0]])],
            "segmentation": [corners[i].reshape(-1).round(3).tolist() for i in group],
            "bbox": [*low.round(3).tolist(), *size.round(3).tolist()],
            "score": float(contours.scores[group].max()),
        }


def json_array(items: Iterable[Any]) -> Iterator[str]:
    """The text of a JSON list, piece by piece, one item a line."""
    yield "["
    for position, item in enumerate(items):
        yield ("," if position else "") + "\n" + json.dumps(item)
    yield "\n]\n"
