"""Draws the contours of one image or one video into a file."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from e2ec_core.commands.outputs import NotWritten, write_file
from e2ec_core.image_files import read_image
from e2ec_core.inference import Predictor, draw_contours


def draw_image(predictor: Predictor, path: Path, target: Path) -> str:
    """Draws one image, turned upright as its EXIF orientation says.

    Returns:
        a line about what was found.

    Raises:
        ValueError: the image cannot be read.
        NotWritten: the picture cannot be written.
    """
    image = read_image(path, upright=True)
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
        ValueError: the video cannot be read, or ends early; the frames before are written.
        NotWritten: the video cannot be written.
    """
    if not path.is_file():
        raise ValueError(f"video {str(path)!r} does not exist; check the path")
    film = cv2.VideoCapture(str(path))
    expected, rate = film.get(cv2.CAP_PROP_FRAME_COUNT), film.get(cv2.CAP_PROP_FPS)
    names, found, frames = predictor.info.config.class_names, Counter[str](), 0
    partial = target.with_name(f".{target.stem}.part{target.suffix}")
    writer: cv2.VideoWriter | None = None
    total = int(expected) if 0 < expected < math.inf else None
    try:
        with tqdm(total=total, desc=path.name, unit="frame", leave=False, disable=None) as bar:
            while (pixels := _next_frame(film)) is not None:
                contours = predictor(pixels).contours
                found.update(names[class_id] for class_id in contours.class_ids)
                drawn = draw_contours(pixels, contours, names)
                writer = writer or _open(partial, drawn, rate if 0 < rate < 1000 else 25.0)
                writer.write(np.ascontiguousarray(drawn[..., ::-1]))
                frames += 1
                bar.update()
        if writer is None:
            raise ValueError(f"video {str(path)!r} cannot be read; is it a video that plays?")
        writer.release()
        _require_complete(partial, target, frames)
        partial.replace(target)
    finally:
        film.release()
        if writer is not None:
            writer.release()
        partial.unlink(missing_ok=True)
    if total and frames < 0.9 * total:  # what a file says of its length is not exact
        raise ValueError(
            f"video {str(path)!r} ends after {frames} of {total} frames; {str(target)!r} has those"
        )
    counts = ", ".join(f"{count} x {name}" for name, count in found.most_common())
    return f"{target}: {frames} frames, {counts or 'nothing found'}"


def _next_frame(film: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    read, pixels = film.read()
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8) if read else None


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
