"""The results of a whole run: videos, bags, COCO results, JSON lines. Made of finished parts."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2ec_core.checkpoint_info import CheckpointInfo
from e2ec_core.commands.failures import complain
from e2ec_core.commands.predict_job import Job
from e2ec_core.commands.predict_parts import frame_files
from e2ec_core.commands.predict_paths import COCO_IMAGES, COCO_RESULTS, JSONL
from e2ec_core.commands.predict_progress import Progress
from e2ec_core.commands.predict_state import RunState
from e2ec_core.contours import Contours
from e2ec_core.inference.draw import draw_contours
from e2ec_core.recordings.coco_results import category_ids, coco_instances, image_ids, json_array
from e2ec_core.recordings.contour_bag import (
    BagModel,
    BagNotWritten,
    require_room,
    write_contour_bag,
)
from e2ec_core.recordings.drawn_video import write_video
from e2ec_core.recordings.recording import Recording, frames_of
from e2ec_core.recordings.rows import Row, contours_of
from e2ec_core.value_range import parse_range

WRITABLE = ("pictures", "video", "jsonl", "coco", "labels", "bag")
"""Kinds of results."""


@dataclass
class Outcome:
    """What became of one recording.

    Attributes:
        frames: how many have contours.
        found: contours by class.
        errors: number of a frame, and why it has none.
    """

    frames: int = 0
    found: Counter[str] = field(default_factory=Counter)
    errors: list[tuple[int, str]] = field(default_factory=list)


class Targets(NamedTuple):
    """Where the results of a run go."""

    files: list[Path]
    folders: list[Path]
    """Of pictures or labels of frames."""
    bags: list[Path]

    def there(self, output: Path) -> dict[str, int]:
        """Which there are, below the folder of the results; of folders the number of files."""
        paths = (path for paths in self for path in paths if path.exists())
        return {
            str(path.relative_to(output)): sum(1 for _ in path.iterdir()) if path.is_dir() else 1
            for path in paths
        }


def without_room(recordings: Sequence[Recording]) -> dict[str, str]:
    """The bags in which contours cannot stand, and why."""
    why = {}
    for path, numbers in _bags(recordings).items():
        try:
            require_room(Path(path), [recordings[number].topic for number in numbers])
        except (ValueError, OSError) as error:
            why[path] = str(error)
    return why


def result_targets(job: Job, output: Path, full: Container[str]) -> Targets:
    """The files and folders of a run's results.

    Args:
        job: the run.
        output: folder of the results.
        full: bags that have no room for contours.

    Raises:
        ValueError: a kind of result is for none of the inputs.
    """
    targets = Targets([], [], [])
    for number, recording in enumerate(job.recordings):
        shown = list(frame_files(job, output, number).values())
        if recording.kind == "image":
            targets.files.extend(shown)
            continue
        targets.folders.extend(file.parent for file in shown)
        if "video" in job.write:
            targets.files.append(output / job.paths(number)["video"])
    if "jsonl" in job.write:
        targets.files.append(output / JSONL)
    if "coco" in job.write:
        targets.files.extend([output / COCO_RESULTS, output / COCO_IMAGES])
    if "bag" in job.write:
        copies = job.copies.items()
        targets.bags.extend(output / copy for path, copy in copies if path not in full)
    if not any(targets):
        others = " or ".join(kind for kind in WRITABLE if kind not in ("video", "bag"))
        raise ValueError(
            f"write is {','.join(job.write)!r}, which these inputs do not give; add {others}"
        )
    return targets


def outcomes(state: RunState, job: Job) -> list[Outcome]:
    """What became of each recording of a run whose parts are all done."""
    all_told = [Outcome() for _ in job.recordings]
    for told in (told for number in range(len(job.parts)) for told in state.told(number)):
        one = all_told[told["recording"]]
        one.frames += told["frames"]
        one.found.update(told["found"])
        one.errors += [(frame, error) for frame, error in told["errors"]]
    return all_told


class Results:
    """Makes the results of a run whose parts are all done.

    Args:
        state: of the run.
        job: what it does.
        info: of the model.
        full: bags that have no room for contours.
    """

    def __init__(
        self, state: RunState, job: Job, info: CheckpointInfo, full: Container[str]
    ) -> None:
        self._state = state
        self._job = job
        self._info = info
        self._full = full
        self._parts: dict[int, list[int]] = defaultdict(list)  # by recording
        for number, part in enumerate(job.parts):
            for segment in part:
                self._parts[segment.recording].append(number)

    def make(self, told: Sequence[Outcome]) -> list[str]:
        """Makes all that is not there yet.

        Returns:
            inputs of which no bag with contours can be made.

        Raises:
            NotWritten: one cannot be written.
        """
        makers: dict[str, tuple[str, Callable[[], None]]] = {}
        lost = []
        if "jsonl" in self._job.write:
            makers["jsonl"] = JSONL, self._jsonl
        if "coco" in self._job.write:
            makers["coco"] = COCO_IMAGES, self._coco
        if "video" in self._job.write:
            for number, recording in enumerate(self._job.recordings):
                if recording.kind != "image" and told[number].frames:
                    path = self._job.paths(number)["video"]
                    makers[f"video-{number}"] = path, partial(self._video, number)
        if "bag" in self._job.write:
            for source, numbers in _bags(self._job.recordings).items():
                if source not in self._full and any(told[number].frames for number in numbers):
                    path = self._job.copies[source]
                    makers[f"bag-{numbers[0]}"] = path, partial(self._bag, numbers)
        with Progress(len(makers), "results", keep=False) as progress:
            for name, (path, make) in makers.items():
                try:
                    self._state.once(name, path, make)
                except BagNotWritten as error:
                    complain("predict", str(error))
                    lost.append(str(error.source))
                progress.add(1)
        return lost

    def _jsonl(self) -> None:
        parts = range(len(self._job.parts))
        lines = (line for number in parts for line in self._state.lines_of(number))
        self._text(JSONL, lines)

    def _coco(self) -> None:
        names = self._info.config.class_names
        categories = category_ids(names)
        id_of = image_ids([recording.path for recording in self._job.recordings])

        def results() -> Iterator[Any]:
            for position, row in enumerate(self._rows()):
                if (contours := self._contours(row)) is not None:
                    yield from coco_instances(contours, id_of(row["source"], position), categories)

        def images() -> Iterator[Any]:
            for position, row in enumerate(self._rows()):
                if "error" not in row:
                    kept = ("topic", "frame", "width", "height")
                    told = {key: row[key] for key in kept if key in row}
                    named = {"id": id_of(row["source"], position), "file_name": row["source"]}
                    yield named | told

        known = [{"id": i, "name": name} for i, name in zip(categories, names, strict=True)]
        self._text(COCO_RESULTS, json_array(results()))
        head, tail = '{"categories": ' + json.dumps(known) + ',\n"images": ', "}\n"
        self._text(COCO_IMAGES, chain((head,), json_array(images()), (tail,)))

    def _video(self, number: int) -> None:
        recording = self._job.recordings[number]
        names = self._info.config.class_names

        def drawn() -> Iterator[NDArray[np.uint8]]:
            frames = frames_of(recording, parse_range(self._job.range))
            for frame, contours in zip(frames, self._contours_of(number), strict=False):
                if frame.rgb is not None and contours is not None:
                    yield draw_contours(frame.rgb, contours, names)

        target = self._state.output / self._job.paths(number)["video"]
        self._state.make(target, lambda path: write_video(path, drawn(), recording.rate))

    def _bag(self, numbers: Sequence[int]) -> None:
        recordings = [self._job.recordings[number] for number in numbers]
        config = self._info.config
        model = BagModel(
            name=self._info.name, class_names=config.class_names, amodal=config.amodal
        )
        found = {
            recording.topic: self._contours_of(number)
            for number, recording in zip(numbers, recordings, strict=True)
        }
        self._state.make(
            self._state.output / self._job.copies[recordings[0].path],
            lambda path: write_contour_bag(Path(recordings[0].path), path, found, model),
        )

    def _text(self, name: str, pieces: Iterable[str]) -> None:
        def write(path: Path) -> None:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(pieces)

        self._state.make(self._state.output / name, write)

    def _rows(self, parts: Sequence[int] | None = None) -> Iterator[Row]:
        for number in range(len(self._job.parts)) if parts is None else parts:
            yield from self._state.rows(number)

    def _contours_of(self, number: int) -> Iterator[Contours | None]:
        """Of each frame of a recording that is no image; None where there was an error."""
        return map(self._contours, self._rows(self._parts[number]))

    def _contours(self, row: Row) -> Contours | None:
        return contours_of(row, self._job.settings.stage)


def _bags(recordings: Sequence[Recording]) -> dict[str, list[int]]:
    """The numbers of the recordings of each bag."""
    bags: dict[str, list[int]] = defaultdict(list)
    for number, recording in enumerate(recordings):
        if recording.kind == "bag":
            bags[recording.path].append(number)
    return bags
