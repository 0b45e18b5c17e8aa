"""Labels beside the image files: which file is meant, and whether it is the image labelled."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data import problems as defects
from e2ec_core.data.content import Annotation, ImageEntry
from e2ec_core.data.dataset import FoundFile
from e2ec_core.data.problems import Problems
from e2ec_core.image_files import MAX_PIXELS, ImageHeader, read_header

Size = tuple[int, int]
Meaning = Literal["same", "swapped", "resized", "other"]
_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class FileFit:
    """How the labels of an image fit its file.

    Attributes:
        path: the file.
        size: (height, width) of the image as it is read, px.
        label_size: (height, width) of the image in whose px the labels are.
        upright: the file is read turned as its EXIF orientation says.
    """

    path: Path
    size: Size
    label_size: Size
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
    file's shape, the image was resized after it was labelled, and the outlines are scaled.

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
            fits.append(
                FileFit(path=path, size=entry.size, label_size=entry.size) if entry.size else None
            )
        return fits, ()
    paths, files = _find_files(entries, folder, problems)
    missing = problems[defects.MISSING_IMAGE]
    if missing and (not skip_missing or missing == len(entries)):
        raise ValueError(
            f"{missing} of {len(entries)} image files are missing, the first is "
            f"{problems.examples[defects.MISSING_IMAGE][0]!r}; check the folder, or set "
            "missing_images to skip"
        )
    headers = read_headers([p for p in paths if p is not None])
    found = iter(headers)
    known = [next(found) if path is not None else None for path in paths]
    turned = _labels_are_upright(entries, known)
    outlines_fit = _outlines_fit_files(entries, known, annotations)
    fits = [
        _fit(entry, path, header, turned, outlines_fit, problems)
        if path is not None and header is not None
        else None
        for entry, path, header in zip(entries, paths, known, strict=True)
    ]
    return fits, files


def _find_files(
    entries: Sequence[ImageEntry], folder: Path, problems: Problems
) -> tuple[list[Path | None], tuple[FoundFile, ...]]:
    """The file of each image, None where it is missing or could be another's as well."""
    found = [find_file(entry.name, folder) for entry in entries]
    guessed = Counter(path for path, exact in found if not exact)
    exact_paths = {path for path, exact in found if exact}
    paths: list[Path | None] = []
    for entry, (path, exact) in zip(entries, found, strict=True):
        if path is None:
            problems.note(defects.MISSING_IMAGE, str(folder / entry.name))
        elif not exact and (guessed[path] > 1 or path in exact_paths):
            problems.note(defects.AMBIGUOUS_FILE, entry.name)
            path = None
        paths.append(path)
    names = (entry.name for entry in entries)
    return paths, tuple(FoundFile(n, p) for n, (p, _) in zip(names, found, strict=True))


def find_file(name: str, folder: Path) -> tuple[Path | None, bool]:
    """The file of a name, and whether it is the name's own place.

    The paths of labelling servers and other machines are cut from the left until a file fits.
    """
    for number, candidate in enumerate(_candidates(name)):
        path = folder / candidate
        if path.is_file():
            return path, number == 0
    return None, False


def _candidates(name: str) -> Iterator[str]:
    yield name
    for text in dict.fromkeys((name, unquote(name))):
        words = [w for w in text.split("/") if w not in ("", ".", "..")]
        for start in range(len(words)):
            if (tail := "/".join(words[start:])) != name:
                yield tail


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


def _labels_are_upright(
    entries: Sequence[ImageEntry], headers: Sequence[ImageHeader | str | None]
) -> bool | None:
    """Whether photographs lying on their side were labelled upright; None where none tells."""
    answers = {
        _like(entry.size, header.upright_size)
        for entry, header in zip(entries, headers, strict=True)
        if isinstance(header, ImageHeader)
        and header.orientation >= 5
        and entry.size
        and _like(entry.size, header.upright_size) != _like(entry.size, _stored(header))
    }
    return answers.pop() if len(answers) == 1 else None


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
        for annotation in annotations[entry.image_id]:
            reach = _reach(annotation.segmentation)
            if reach is not None:
                beyond[meaning].append(
                    (_sticks_out(reach, entry.size), _sticks_out(reach, _stored(header)))
                )
    return {
        meaning: False
        if any(f for _, f in pairs)
        else (True if any(s for s, _ in pairs) else None)
        for meaning, pairs in beyond.items()
    }


def _reach(segmentation: Any) -> tuple[float, float] | None:
    """Largest (y, x) of polygons; the size of run lengths."""
    try:
        if isinstance(segmentation, dict):
            height, width = segmentation["size"]
            return float(height), float(width)
        points = np.concatenate([np.asarray(p, np.float64).reshape(-1, 2) for p in segmentation])
        return float(points[:, 1].max()), float(points[:, 0].max())
    except (ValueError, TypeError, KeyError):
        return None


def _sticks_out(reach: tuple[float, float], size: Size) -> bool:
    return reach[0] > size[0] + 1 or reach[1] > size[1] + 1


def _meaning(size: Size, stored: Size) -> Meaning:
    if size == stored:
        return "same"
    if size == stored[::-1]:
        return "swapped"
    return "resized" if _like(size, stored) else "other"


def _fit(
    entry: ImageEntry,
    path: Path,
    header: ImageHeader | str,
    turned: bool | None,
    outlines_fit: Mapping[Meaning, bool | None],
    problems: Problems,
) -> FileFit | None:
    """How one image fits; see `fit_files`."""
    if isinstance(header, str):
        problems.note(defects.UNREADABLE, header)
        return None
    if header.truncated:
        problems.note(defects.TRUNCATED, str(path))
        return None
    stored, size = _stored(header), entry.size
    if size is None:
        return FileFit(path=path, size=stored, label_size=stored)
    both = f"{entry.name}: {stored[1]} x {stored[0]} px, labels {size[1]} x {size[0]}"
    meaning = _meaning(size, stored)
    if header.orientation >= 5 and meaning != "same" and _like(size, header.upright_size):
        problems.note(defects.UPRIGHT, both)
        return FileFit(path=path, size=header.upright_size, label_size=size, upright=True)
    if meaning == "same":
        upright = _undecided(header, stored) and turned is True
        if _undecided(header, stored):
            problems.note(defects.UPRIGHT if upright else defects.MAYBE_UPRIGHT, entry.name)
        return FileFit(path=path, size=stored, label_size=stored, upright=upright)
    if meaning == "swapped" and outlines_fit["swapped"]:
        problems.note(defects.SWAPPED, both)
        return FileFit(path=path, size=stored, label_size=stored)
    if meaning == "resized":
        problems.note(defects.RESIZED, both)
        own = stored if outlines_fit["resized"] else size
        return FileFit(path=path, size=stored, label_size=own)
    problems.note(defects.OTHER_SIZE, both)
    return None


def _undecided(header: ImageHeader, stored: Size) -> bool:
    """Whether an orientation leaves the size as it is, so that the size cannot tell."""
    return header.orientation != 1 and (header.orientation < 5 or stored[0] == stored[1])
