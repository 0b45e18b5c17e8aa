"""SBD (Semantic Boundaries Dataset): its JSON form, and its own .mat files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data import problems as defects
from e2ec_core.data.class_names import SBD
from e2ec_core.data.content import Content, read_content
from e2ec_core.data.kins import canonical_name
from e2ec_core.data.outlines import mask_outlines
from e2ec_core.data.problems import Problems

CATEGORIES = MappingProxyType(dict(enumerate(SBD, start=1)))
"""Names by PASCAL VOC's class ids."""


def read_sbd(
    annotations: str | Path, file_names: Iterable[str] | None, problems: Problems
) -> Content:
    """Reads SBD labels into COCO's form.

    Args:
        annotations: a COCO-format JSON (polygons or run lengths, as published with Deep Snake and
            E2EC), or the data set's folder `inst` of .mat files (needs scipy).
        file_names: images wanted, of which only these .mat files are read; default all. Those
            without a file are passed over.
        problems: where defects are counted.

    Raises:
        ValueError: the file or folder is missing or has another format.
        ImportError: .mat files without scipy.
    """
    path = Path(annotations)
    if path.is_dir():
        return _read_folder(path, file_names, problems)
    content = read_content(path, problems)
    named = [{**c, "name": canonical_name(c, CATEGORIES)} for c in content["categories"]]
    return {**content, "categories": named}


def _read_folder(folder: Path, file_names: Iterable[str] | None, problems: Problems) -> Content:
    if file_names is None:
        paths = sorted(folder.glob("*.mat"))
    else:
        stems = sorted({Path(name.strip()).stem for name in file_names})
        paths = [path for stem in stems if (path := folder / f"{stem}.mat").is_file()]
    if not paths:
        raise ValueError(f"folder {str(folder)!r} has no .mat file; give SBD's folder inst")
    images: list[Content] = []
    labels: list[Content] = []
    for number, path in enumerate(paths, start=1):
        try:
            segments, classes = read_mat(path)
        except ValueError as error:
            problems.note(defects.UNREADABLE_LABELS, str(error))
            continue
        height, width = segments.shape
        name = f"{path.stem}.jpg"
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for index, class_number in enumerate(classes, start=1):
            outlines = mask_outlines(segments == index)
            if not outlines:
                problems.note(defects.EMPTY_MASK, f"object {index} of {path.name}")
                continue
            label = {"id": len(labels) + 1, "image_id": number, "category_id": int(class_number)}
            flat = [outline.ravel().tolist() for outline in outlines]
            labels.append({**label, "segmentation": flat, "iscrowd": 0})
    problems.require_some(images, defects.UNREADABLE_LABELS)
    categories = [{"id": key, "name": name} for key, name in CATEGORIES.items()]
    return {"images": images, "annotations": labels, "categories": categories}


def read_mat(path: Path) -> tuple[NDArray[np.uint8], list[int]]:
    """One .mat file of `inst`: instance numbers uint8 [H, W] (0 is none), class of each number.

    Raises:
        ValueError: the file is missing or is no instance file of SBD.
        ImportError: scipy is not installed.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise ImportError("SBD's .mat files need scipy: pip install scipy") from error
    if not path.is_file():
        raise ValueError(f"annotation file {str(path)!r} does not exist; check the path")
    try:
        record: Any = loadmat(path, squeeze_me=True, struct_as_record=False)["GTinst"]
        segments = np.atleast_2d(np.asarray(record.Segmentation, np.uint8))
        return segments, [int(c) for c in np.atleast_1d(record.Categories)]
    except (ValueError, KeyError, AttributeError, TypeError, MatReadError) as error:
        raise ValueError(f"{str(path)!r} is no instance file of SBD: {error}") from error
