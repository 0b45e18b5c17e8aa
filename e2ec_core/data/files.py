"""Labels beside the image files: which file is meant, and whether it is the image labelled."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data import problems as defects
from e2ec_core.data.content import Annotation, ImageEntry
from e2ec_core.data.dataset import FoundFile
from e2ec_core.data.file_names import find_files, other_endings
from e2ec_core.data.outlines import as_points, as_polygons
from e2ec_core.data.problems import Problems
from e2ec_core.image_files import MAX_PIXELS, ImageHeader, read_header

Size = tuple[int, int]
Meaning = Literal["same", "swapped", "resized", "other"]
_THREADS = 8
_REACH = 1.25
"""Times a file's size beyond which outlines were not drawn on it."""
_TENTH = 0.1
_END = 4096
"""Bytes at a file's end by which files of one length are told apart."""


@dataclass(frozen=True, kw_only=True)
class FileFit:
    """How the labels of an image fit its file.

    Attributes:
        path: the file.
        size: (height, width) of the image as it is read, px.
        label_size: (height, width) of the image in whose px the labels are.
        identity: the same for all paths of one file.
        upright: the file is read turned as its EXIF orientation says.
    """

    path: Path
    size: Size
    label_size: Size
    identity: Hashable
    upright: bool = False

    @property
    def scaled(self) -> bool:
        """Whether the outlines must be scaled."""
        return self.size != self.label_size

    @property
    def scale(self) -> NDArray[np.float64]:
        """Factors of x and y from the labels' px to the image's, [2]."""
        return np.array(self.size[::-1], np.float64) / np.array(self.label_size[::-1], np.float64)


def fit_files(
    entries: Sequence[ImageEntry],
    annotations: Mapping[int, Sequence[Annotation]],
    folder: Path,
    problems: Problems,
    *,
    look: bool,
    skip_missing: bool = False,
) -> tuple[list[FileFit | None], tuple[FoundFile, ...]]:
    """Finds how the labels of each image fit its file; None for images to leave out.

    Labels count pixels as they are stored, as COCO's do. Where their size is the upright one of a
    photograph that its EXIF orientation turns, the image is read upright. Where the size has the
    file's shape, the image was resized after it was labelled, and the outlines are scaled. Labels
    without sizes count the px of the files, unless outlines reach far beyond those. Files of the
    same bytes under several names are named and stay apart.

    Args:
        entries: images of the labels.
        annotations: by number of the image.
        folder: of the image files.
        problems: where mismatches are counted.
        look: reads the headers of the files; else the labels' sizes are believed.
        skip_missing: leaves images without a file out.

    Returns:
        The fits, and the files that were looked for.

    Raises:
        ValueError: files are missing and `skip_missing` is False, or all are.
    """
    if not look:
        fits: list[FileFit | None] = []
        for entry in entries:
            path = folder / entry.name
            if entry.size is None:
                problems.note(defects.NO_SIZE, entry.name)
                fits.append(None)
                continue
            fits.append(
                FileFit(path=path, size=entry.size, label_size=entry.size, identity=entry.image_id)
            )
        return fits, ()
    paths, files = find_files(entries, folder, problems)
    missing = problems[defects.MISSING_IMAGE]
    if missing and (not skip_missing or missing == len(entries)):
        first = problems.examples[defects.MISSING_IMAGE][0]
        others = other_endings(Path(os.path.splitext(first)[0]))
        beside = f" (there is {others[0].name!r})" if others else ""
        raise ValueError(
            f"{missing} of {len(entries)} image files are missing, the first is {first!r}"
            f"{beside}; check the folder, or set missing_images to skip"
        )
    headers = read_headers([p for p in paths if p is not None])
    found = iter(headers)
    known = [next(found) if path is not None else None for path in paths]
    turned = _labels_are_upright(entries, known, annotations)
    evidence = _Evidence(
        turned=turned,
        outlines_fit=_outlines_fit_files(entries, known, annotations),
        unsized_fit=_unsized_fit(entries, known, annotations, turned),
    )
    fits = [
        _fit(entry, path, header, evidence, problems)
        if path is not None and header is not None
        else None
        for entry, path, header in zip(entries, paths, known, strict=True)
    ]
    _note_copies({fit.identity: fit.path for fit in fits if fit is not None}.values(), problems)
    return fits, files


def read_headers(paths: Sequence[Path]) -> list[ImageHeader | str]:
    """Reads image headers in parallel, with a bar on a terminal; a text says why one cannot be."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(_with_bar(pool.map(_header_or_reason, paths, chunksize=64), len(paths)))


def _header_or_reason(path: Path) -> ImageHeader | str:
    try:
        header = read_header(path)
    except ValueError as error:
        return str(error)
    if header.height * header.width > MAX_PIXELS:
        return f"image {str(path)!r} claims {header.width} x {header.height} px"
    return header


def _with_bar(items: Iterator[Any], total: int) -> Any:
    if total < 1000 or not sys.stderr.isatty():
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, total=total, desc="image headers", unit="file")


def _identity(path: Path) -> Hashable:
    state = path.stat()
    # Some file systems count no inodes, others too few bits of them.
    return (state.st_dev, state.st_ino, state.st_size) if state.st_ino else path.resolve()


def _note_copies(paths: Collection[Path], problems: Problems) -> None:
    """Names files of the same bytes; only those of one length and one end are read."""
    groups: list[Collection[Path]] = [paths]
    for mark in (_length, _last_bytes, _digest):
        parts: dict[Any, list[Path]] = defaultdict(list)
        for number, group in enumerate(groups):
            for path in group:
                parts[number, mark(path)].append(path)
        groups = [part for part in parts.values() if len(part) > 1]
    for first, *copies in groups:
        for copy in copies:
            problems.note(defects.COPY, f"{copy.name} of {first.name}")


def _length(path: Path) -> int:
    return path.stat().st_size


def _last_bytes(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(-min(_END, _length(path)), os.SEEK_END)
        return file.read(_END)


def _digest(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes()).digest()


def _labels_are_upright(
    entries: Sequence[ImageEntry],
    headers: Sequence[ImageHeader | str | None],
    annotations: Mapping[int, Sequence[Annotation]],
) -> bool | None:
    """Whether photographs lying on their side were labelled upright; None where none tells.

    The size in the labels tells, without one the reach of the outlines.
    """
    answers = set()
    for entry, header in zip(entries, headers, strict=True):
        if not isinstance(header, ImageHeader) or header.orientation < 5:
            continue
        upright, stored = (
            _like(entry.size, size)
            if entry.size
            else not any(_sticks_out(r, size) for r in _reaches(annotations[entry.image_id]))
            for size in (header.upright_size, _stored(header))
        )
        if upright != stored:
            answers.add(upright)
    return answers.pop() if len(answers) == 1 else None


def _unsized_fit(
    entries: Sequence[ImageEntry],
    headers: Sequence[ImageHeader | str | None],
    annotations: Mapping[int, Sequence[Annotation]],
    turned: bool | None,
) -> bool:
    """Whether the outlines of images without a size in their labels keep to the files."""
    beyond = [
        _sticks_out(reach, (size[0] * _REACH, size[1] * _REACH))
        for entry, header in zip(entries, headers, strict=True)
        if entry.size is None and isinstance(header, ImageHeader)
        for size in [header.upright_size if turned else _stored(header)]
        for reach in _reaches(annotations[entry.image_id])
    ]
    return sum(beyond) < max(2, _TENTH * len(beyond))


def _stored(header: ImageHeader) -> Size:
    return header.height, header.width


def _like(size: Size, other: Size) -> bool:
    """Whether two sizes have one shape, up to the rounding of a px."""
    (height, width), (rows, columns) = size, other
    return abs(height * columns - width * rows) <= max(height, width, rows, columns)


def _outlines_fit_files(
    entries: Sequence[ImageEntry],
    headers: Sequence[ImageHeader | str | None],
    annotations: Mapping[int, Sequence[Annotation]],
) -> dict[Meaning, bool | None]:
    """Whether the outlines of mismatching images count the px of the files, by kind of mismatch.

    True if some reach beyond the size that the labels give and none beyond the files'; False if
    some reach beyond the files'; None where both sizes would do.
    """
    beyond: dict[Meaning, list[tuple[bool, bool]]] = {"swapped": [], "resized": []}
    for entry, header in zip(entries, headers, strict=True):
        if not isinstance(header, ImageHeader) or entry.size is None:
            continue
        meaning = _meaning(entry.size, _stored(header))
        if meaning not in beyond or (
            _like(entry.size, header.upright_size) and header.orientation >= 5
        ):
            continue
        beyond[meaning] += [
            (_sticks_out(reach, entry.size), _sticks_out(reach, _stored(header)))
            for reach in _reaches(annotations[entry.image_id])
        ]
    return {
        meaning: False
        if any(f for _, f in pairs)
        else (True if any(s for s, _ in pairs) else None)
        for meaning, pairs in beyond.items()
    }


def _reaches(annotations: Sequence[Annotation]) -> Iterator[tuple[float, float]]:
    """Largest (y, x) of each annotation's polygons; the size of its run lengths."""
    for annotation in annotations:
        try:
            if isinstance(annotation.segmentation, dict):
                height, width = annotation.segmentation["size"]
                yield float(height), float(width)
            elif isinstance(annotation.segmentation, list):
                polygons = map(as_points, as_polygons(annotation.segmentation))
                x, y = np.concatenate([p for p in polygons if p is not None]).max(axis=0).tolist()
                yield y, x
        except (ValueError, TypeError, KeyError):
            continue


def _sticks_out(reach: tuple[float, float], size: tuple[float, float]) -> bool:
    return reach[0] > size[0] + 1 or reach[1] > size[1] + 1


def _meaning(size: Size, stored: Size) -> Meaning:
    if size == stored:
        return "same"
    if size == stored[::-1]:
        return "swapped"
    return "resized" if _like(size, stored) else "other"


class _Evidence(NamedTuple):
    """What all images together say."""

    turned: bool | None
    outlines_fit: Mapping[Meaning, bool | None]
    unsized_fit: bool


def _fit(
    entry: ImageEntry,
    path: Path,
    header: ImageHeader | str,
    evidence: _Evidence,
    problems: Problems,
) -> FileFit | None:
    """How one image fits; see `fit_files`."""
    if isinstance(header, str):
        problems.note(defects.UNREADABLE, header)
        return None
    if header.truncated:
        problems.note(defects.TRUNCATED, str(path))
        return None
    if not entry.size and not evidence.unsized_fit:
        problems.note(defects.NO_SIZE_FITS, entry.name)
        return None
    stored, upright_size = _stored(header), header.upright_size
    size = entry.size or stored
    fit = partial(FileFit, path=path, identity=_identity(path))
    both = f"{entry.name}: {stored[1]} x {stored[0]} px, labels {size[1]} x {size[0]}"
    meaning = _meaning(size, stored)
    if header.orientation >= 5 and meaning != "same" and _like(size, upright_size):
        problems.note(defects.UPRIGHT, both)
        return fit(size=upright_size, label_size=size, upright=True)
    if meaning == "same" and _undecided(header, entry.size):
        upright = evidence.turned is True
        problems.note(defects.UPRIGHT if upright else defects.MAYBE_UPRIGHT, entry.name)
        size = upright_size if upright else stored
        return fit(size=size, label_size=size, upright=upright)
    if meaning == "same":
        return fit(size=stored, label_size=stored)
    if meaning == "swapped" and evidence.outlines_fit["swapped"]:
        problems.note(defects.SWAPPED, both)
        return fit(size=stored, label_size=stored)
    if meaning == "resized":
        problems.note(defects.RESIZED, both)
        own = stored if evidence.outlines_fit["resized"] else size
        return fit(size=stored, label_size=own)
    problems.note(defects.OTHER_SIZE, both)
    return None


def _undecided(header: ImageHeader, size: Size | None) -> bool:
    """Whether the size in the labels cannot tell what was done with an orientation."""
    tells = size is not None and size[0] != size[1] and header.orientation >= 5
    return header.orientation != 1 and not tells
