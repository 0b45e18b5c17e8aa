"""Where `e2ec predict` writes what: no two results of a run have one path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from e2ec_core.commands.items import result_names, stem_of
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
    """A name for the results of each recording, without endings.

    Where several topics of a bag are read, it holds the topic.
    """
    return result_names(
        [_stem(recording, recordings) for recording in recordings],
        [partial(_paths, recording.kind, write) for recording in recordings],
        taken=(FOLDER, JSONL, COCO_RESULTS, COCO_IMAGES, _LABELS),
    )


def _stem(recording: Recording, recordings: Sequence[Recording]) -> str:
    stem, topic = stem_of(recording.path), recording.topic
    if topic and any(one.path == recording.path and one.topic != topic for one in recordings):
        return stem + topic.replace("/", "_")
    return stem


def choose_copies(
    recordings: Sequence[Recording], names: Sequence[str], write: Sequence[str]
) -> dict[str, str]:
    """The folder for the copy of each bag, below the folder of the results."""
    bags = list(dict.fromkeys(one.path for one in recordings if one.kind == "bag"))
    taken = [
        path
        for one, name in zip(recordings, names, strict=True)
        for path in paths_of(name, one.kind, write).values()
    ]
    folders = [lambda name: [f"{name}{_CONTOURS}"]] * len(bags)
    chosen = result_names(map(stem_of, bags), folders, taken)
    return {bag: f"{name}{_CONTOURS}" for bag, name in zip(bags, chosen, strict=True)}


def written_here(paths: Sequence[Path], output: Path) -> list[Path]:
    """Which inputs are bags with contours that a run before wrote for others of them."""
    place = output.resolve()
    results = {place / f"{stem_of(path)}{_CONTOURS}" for path in paths}
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

    Of an image these are files. Of others pictures and labels are folders of frames.
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
    return paths
