"""Draws the contours of one image or one video into a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from e2ec_core.commands.outputs import NotWritten, write_file
from e2ec_core.image_files import read_image
from e2ec_core.inference import Predictor, draw_contours
from e2ec_core.value_range import ValueRange
from e2ec_core.videos import open_video


class PartlyDrawn(ValueError):
    """A video was drawn without some of its frames; the message says which."""


def draw_image(predictor: Predictor, path: Path, target: Path, values: ValueRange) -> str:
    """Draws one image, turned upright as its EXIF orientation says.

    Args:
        predictor: the model.
        path: of the image.
        target: picture to write.
        values: which values of an image with 16 bits become black and white.

    Returns:
        a line about what was found.

    Raises:
        ValueError: the image cannot be read.
        NotWritten: the picture cannot be written.
    """
    image = read_image(path, upright=True, values=values)
    names = predictor.info.config.class_names
    prediction = predictor(image)
    drawn = draw_contours(image, prediction.contours, names)
    done, content = cv2.imencode(target.suffix, drawn[..., ::-1])
    if not done:
        raise NotWritten(f"picture {str(target)!r} cannot be encoded")
    write_file(target, content.tobytes())
    found = ", ".join(
        f"{names[class_id]} {score:.2f}"
        for class_id, score in zip(
            prediction.contours.class_ids, prediction.contours.scores, strict=True
        )
    )
    return f"{target}: {found or 'nothing found'} ({1000 * prediction.timing.inference:.0f} ms)"


def draw_video(predictor: Predictor, path: Path, target: Path) -> str:
    """Draws one video, frame by frame.

    Returns:
        a line with the number of frames and the contours of each class.

    Raises:
        ValueError: the video cannot be read.
        PartlyDrawn: some frames cannot be; the others are written.
        NotWritten: the video cannot be written.
    """
    video = open_video(path)
    names, found, frames = predictor.info.config.class_names, Counter[str](), 0
    partial = target.with_name(f".{target.stem}.part{target.suffix}")
    writer: cv2.VideoWriter | None = None
    lost: list[str] = []
    bar = tqdm(video.frames(), path.name, video.length, unit="frame", leave=False, disable=None)
    try:
        for frame in bar:
            if isinstance(frame, ValueError):
                lost.append(str(frame))
                continue
            contours = predictor(frame).contours
            found.update(names[class_id] for class_id in contours.class_ids)
            drawn = draw_contours(frame, contours, names)
            writer = writer or _open(partial, drawn, video.rate)
            writer.write(np.ascontiguousarray(drawn[..., ::-1]))
            frames += 1
        assert writer is not None  # `open_video` has read a frame
        writer.release()
        _require_complete(partial, target, frames)
        partial.replace(target)
    finally:
        bar.close()
        if writer is not None:
            writer.release()
        partial.unlink(missing_ok=True)
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise PartlyDrawn(f"{lost[0]}{more}; {str(target)!r} has the other {frames} frames")
    counts = ", ".join(f"{count} x {name}" for name, count in found.most_common())
    return f"{target}: {frames} frames, {counts or 'nothing found'}"


def _open(path: Path, frame: NDArray[np.uint8], rate: float) -> cv2.VideoWriter:
    height, width = frame.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    if not writer.isOpened():
        raise NotWritten(f"OpenCV cannot write videos to {str(path.parent)!r}")
    return writer


def _require_complete(path: Path, target: Path, frames: int) -> None:
    """OpenCV does not say that a disk is full, so the video is opened again."""
    film = cv2.VideoCapture(str(path))
    written = film.get(cv2.CAP_PROP_FRAME_COUNT)
    film.release()
    if written < frames:
        raise NotWritten(
            f"video {str(target)!r} cannot be written: {written:.0f} of {frames} frames are there;"
            " is the disk full?"
        )
