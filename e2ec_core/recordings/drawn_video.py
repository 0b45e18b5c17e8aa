"""Frames with their contours as a video."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], rate: float) -> None:
    """Writes an .mp4.

    Args:
        path: of the file.
        frames: uint8 [H, W, 3] RGB, at least one; those of another size than the first are scaled.
        rate: frames per second.

    Raises:
        OSError: it cannot be written.
    """
    writer: cv2.VideoWriter | None = None
    written, size = 0, (0, 0)
    try:
        for frame in frames:
            if writer is None:
                size = frame.shape[1], frame.shape[0]
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
                if not writer.isOpened():
                    raise OSError(f"OpenCV cannot write videos to {str(path.parent)!r}")
            if (frame.shape[1], frame.shape[0]) != size:
                frame = np.asarray(cv2.resize(frame, size), np.uint8)
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
            written += 1
    finally:
        if writer is not None:
            writer.release()
    _require_complete(path, written)


def _require_complete(path: Path, frames: int) -> None:
    """OpenCV does not say that a disk is full, so the video is opened again."""
    film = cv2.VideoCapture(str(path))
    written = film.get(cv2.CAP_PROP_FRAME_COUNT)
    film.release()
    if written < frames:
        raise OSError(
            f"video {str(path)!r} cannot be written: {written:.0f} of {frames} frames are there;"
            " is the disk full?"
        )
