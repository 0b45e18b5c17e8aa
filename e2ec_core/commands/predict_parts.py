"""The work on one part: frames in, rows and pictures out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.commands.failures import reason
from e2ec_core.commands.loading import load_predictor
from e2ec_core.commands.predict_job import Job, Segment
from e2ec_core.commands.predict_state import RunState
from e2ec_core.contours import Contours, clip_to_image
from e2ec_core.inference import Predictor, draw_contours
from e2ec_core.recordings.recording import Frame, frames_of
from e2ec_core.recordings.rows import Row, row_of
from e2ec_core.value_range import parse_range

_NOTHING = (-1, 0)


class PartWorker:
    """Does parts of a run, one after the other, best in rising order.

    A part that is done again leaves the same files. Two workers of a run need one folder of
    results and the same inputs, nothing else.

    Args:
        state: of the run.
        predictor: the model; None loads that of the run's job.
    """

    def __init__(self, state: RunState, predictor: Predictor | None = None) -> None:
        self._state = state
        self._job: Job = state.job
        self._parts = self._job.parts
        self._values = parse_range(self._job.range)
        self._predictor = predictor or load_predictor(
            self._job.model, self._job.settings, threads=self._job.threads
        )
        # The recording that was read last, where it is left, and its frames from there.
        self._left = _NOTHING
        self._frames: Iterator[Frame] = iter(())

    def __call__(self, number: int) -> None:
        """Does the part of a number.

        Raises:
            NotWritten: a result cannot be written.
        """
        rows: list[Row] = []
        told = []
        for segment in self._parts[number]:
            done = [self._row(segment.recording, frame) for frame in self._read(segment)]
            found = Counter(one["class"] for row in done for one in row["instances"])
            errors = [[row["frame"], row["error"]] for row in done if "error" in row]
            counts = {"recording": segment.recording, "frames": len(done) - len(errors)}
            told.append(counts | {"found": found, "errors": errors})
            rows += done
        self._state.write_part(number, told, rows)

    def _read(self, segment: Segment) -> Iterator[Frame]:
        """The frames of a segment; what lies behind the last one is not sought from the start."""
        recording, begin = self._left
        if recording == segment.recording and begin <= segment.begin:
            ahead = segment.begin - begin
            next(islice(self._frames, ahead, ahead), None)
        else:
            recordings = self._job.recordings
            self._frames = frames_of(recordings[segment.recording], self._values, segment.begin)
        self._left = _NOTHING
        count = None if segment.end is None else segment.end - segment.begin
        yield from islice(self._frames, count)
        if segment.end is not None:
            self._left = segment.recording, segment.end

    def _row(self, number: int, frame: Frame) -> Row:
        contours: Contours | None = None
        if frame.rgb is not None:
            try:
                contours = clip_to_image(self._predictor(frame.rgb).contours)
            except Exception as error:
                line = reason(error)
                if line is None:
                    raise
                place = f"frame {frame.index} of {self._job.recordings[number].path!r}"
                frame = replace(frame, error=f"{place}: {line}")
        names = self._predictor.info.config.class_names
        if frame.rgb is not None and contours is not None:
            self._show(number, frame.index, frame.rgb, contours)
        return row_of(self._job.recordings[number], frame, contours, names)

    def _show(self, number: int, index: int, rgb: NDArray[np.uint8], contours: Contours) -> None:
        """Writes what there is of a single frame: its picture, its labels."""
        targets = frame_files(self._job, self._state.output, number, index)
        if "pictures" in targets:
            names = self._predictor.info.config.class_names
            drawn = draw_contours(rgb, contours, names)
            self._state.write(targets["pictures"], _png(drawn[..., ::-1]))
        if "labels" in targets:
            self._state.write(targets["labels"], _png(contours.label_image()))


def frame_files(job: Job, output: Path, number: int, index: int = 0) -> dict[str, Path]:
    """The files of one frame by the kind of result.

    Args:
        job: the run.
        output: folder of the results.
        number: of the recording.
        index: of the frame.
    """
    shown = {k: output / p for k, p in job.paths(number).items() if k in ("pictures", "labels")}
    if job.recordings[number].kind == "image":
        return shown
    return {kind: folder / f"{index:06d}.png" for kind, folder in shown.items()}


def has_frames(state: RunState, job: Job, number: int) -> bool:
    """Whether the pictures and labels of a part that is done are there still."""
    for segment, told in zip(job.parts[number], state.told(number), strict=True):
        wrong = {frame for frame, _ in told["errors"]}
        end = segment.begin + told["frames"] + len(wrong)
        for index in set(range(segment.begin, end)) - wrong:
            files = frame_files(job, state.output, segment.recording, index).values()
            if not all(file.exists() for file in files):
                return False
    return True


def _png(image: NDArray[Any]) -> bytes:
    done, content = cv2.imencode(".png", image)
    if not done:
        raise ValueError(f"OpenCV could not write a PNG of shape {image.shape}")
    return content.tobytes()
