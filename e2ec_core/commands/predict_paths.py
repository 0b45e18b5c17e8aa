"""Where `e2ec predict` writes what: no two results of a run have one path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from e2ec_core.commands.items import result_names
from e2ec_core.recordings.contour_bag import CONTOURS_TYPE
from e2ec_core.recordings.recording import Kind, Recording

FOLDER = ".e2ec_predict"
"""Of manifest and parts, in the folder of the results."""

JSONL = "contours.jsonl"
COCO_RESULTS = "coco_results.json"
COCO_IMAGES = "coco_images.json"
_LABELS = "labels"
_CONTOURS = "_contours"


def choose_names(recordings: Sequence[Recording], write: Sequence[str]) -> list[str]:
    """A name for the results of each recording, without endings."""
    return result_names(
        [Path(recording.path) for recording in recordings],
        [partial(_paths, recording.kind, write) for recording in recordings],
        taken=(FOLDER, JSONL, COCO_RESULTS, COCO_IMAGES, _LABELS),
    )


def written_here(paths: Sequence[Path], output: Path) -> list[Path]:
    """Which inputs are bags with contours that a run before wrote for others of them."""
    place = output.resolve()
    results = {place / f"{path.stem}{_CONTOURS}" for path in paths}
    bags = (path for path in paths if path.is_dir() and path.resolve() in results)
    return [bag for bag in bags if _has_contours(bag)]


def _has_contours(bag: Path) -> bool:
    try:
        return CONTOURS_TYPE in (bag / "metadata.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _paths(kind: Kind, write: Sequence[str], name: str) -> Iterable[str]:
    return paths_of(name, kind, write).values()


def paths_of(name: str, kind: Kind, write: Sequence[str]) -> dict[str, str]:
    """What one recording gives by the kind of result, below the folder of the results.

    Of an image these are files. Of others pictures and labels are folders of frames; a bag is a
    folder, too.
    """
    still = kind == "image"
    shown = f"{name}.png" if still else name
    paths = {}
    if "pictures" in write and (still or "video" not in write):
        paths["pictures"] = shown
    if "labels" in write:
        paths["labels"] = f"{_LABELS}/{shown}"
    if "video" in write and not still:
        paths["video"] = f"{name}.mp4"
    if "bag" in write and kind == "bag":
        paths["bag"] = f"{name}{_CONTOURS}"
    return paths
