"""Video files, read frame by frame with OpenCV. A damaged frame costs only itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FALLBACK_RATE = 25.0  # Hz, for videos that tell none
LARGEST_RATE = 240.0  # Hz; what videos of variable rate tell beyond it is the clock of their file
TIMED_FRAMES = 20  # frames from whose times a missing rate is taken
DAMAGED_FRAMES = 100  # so many frames in a row cannot be read: the video has ended
LOST_PART = 0.05  # of a video's frames; fewer may be a wrong number in its header


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video file of which at least one frame can be read.

    Attributes:
        path: of the file.
        rate: frames per second.
        length: number of frames, as the file gives it, which may be wrong; None if it gives none.
    """

    path: Path
    rate: float
    length: int | None

    def frames(self, begin: int = 0) -> Iterator[NDArray[np.uint8] | ValueError]:
        """Gives the frames from number `begin` on, uint8 RGB [H, W, 3], turned as the file says.

        In place of a frame that cannot be decoded comes the ValueError that names it, and one
        more at the end if the video ends early. Frames before `begin` are decoded too: what is
        found by time is not the same frame in every format.
        """
        with capture(str(self.path)) as film:
            told = not _skip(film, begin)  # or by whoever reads the part in which it ends
            index = begin
            while True:
                damaged, pixels = _next_frame(film)
                if pixels is None:
                    break
                told = False
                for lost in range(index, index + damaged):
                    yield ValueError(f"frame {lost} of {str(self.path)!r} cannot be decoded")
                index += damaged + 1
                yield rgb_frame(pixels)
        length = self.length or 0
        if not told and length - index > max(2, LOST_PART * length):
            yield ValueError(f"video {str(self.path)!r} ends after {index} of {length} frames")


def open_video(path: Path) -> Video:
    """Opens a video file and reads its first frame.

    Raises:
        ValueError: it is missing, or OpenCV cannot read it.
    """
    if not path.is_file():
        raise ValueError(f"video {str(path)!r} does not exist; check the path")
    with capture(str(path)) as film:
        readable = film.isOpened() and _next_frame(film)[1] is not None
        rate, length = film.get(cv2.CAP_PROP_FPS), film.get(cv2.CAP_PROP_FRAME_COUNT)
        if readable and not 0.0 < rate <= LARGEST_RATE:  # NaN too
            rate = _measured_rate(film)
    if not readable:
        raise ValueError(f"video {str(path)!r} cannot be read; is it a video that plays?")
    return Video(path=path, rate=rate, length=int(length) if 0 < length < 2**31 else None)


@contextmanager
def capture(
    place: str, backend: int = cv2.CAP_ANY, options: tuple[int, ...] = ()
) -> Iterator[cv2.VideoCapture]:
    """An open or failed capture of a file, camera or stream, released at the end."""
    film = cv2.VideoCapture(place, backend, options)
    try:
        film.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # films of phones are turned upright
        yield film
    finally:
        film.release()


def rgb_frame(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Makes RGB of OpenCV's BGR, or of the grey of some cameras."""
    code = cv2.COLOR_BGR2RGB if pixels.ndim == 3 and pixels.shape[2] == 3 else cv2.COLOR_GRAY2RGB
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _next_frame(film: cv2.VideoCapture) -> tuple[int, NDArray[Any] | None]:
    """The next frame that can be read, BGR, and the number of damaged ones before it."""
    for damaged in range(DAMAGED_FRAMES):
        if film.grab():
            read, pixels = film.retrieve()
            if read:
                return damaged, _upright(film, pixels)
    return 0, None


def _upright(film: cv2.VideoCapture, pixels: NDArray[Any]) -> NDArray[Any]:
    """Mends what OpenCV 4.6 (of Ubuntu 24.04) turns the other way: films of upright phones."""
    if cv2.__version__.startswith("4.6.") and film.get(cv2.CAP_PROP_ORIENTATION_META) in (90, 270):
        return cv2.rotate(pixels, cv2.ROTATE_180)
    return pixels


def _skip(film: cv2.VideoCapture, frames: int) -> bool:
    """Passes over frames; returns whether the last of them, if there is one, can be read."""
    for _ in range(frames - 1):
        film.grab()
    return not frames or (film.grab() and film.retrieve()[0])


def _measured_rate(film: cv2.VideoCapture) -> float:
    times: list[float] = []
    while len(times) < TIMED_FRAMES and film.grab():
        times.append(film.get(cv2.CAP_PROP_POS_MSEC) / 1000.0)
    interval = median(np.diff(times).tolist() or [0.0])
    return 1.0 / interval if interval >= 1.0 / LARGEST_RATE else FALLBACK_RATE
