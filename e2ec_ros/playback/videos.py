"""Video files, cameras of this machine and streams, all read by OpenCV. Needs no rclpy."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.image_files import IMAGE_ENDINGS, natural_key
from e2ec_ros.images import RgbImage
from e2ec_ros.playback.source_types import Source, SourceImage

STREAM = re.compile(r"(rtsps?|rtmps?|https?|udp|tcp|srt)://", re.IGNORECASE)
CAMERA = re.compile(r"(?:camera:|/dev/video)(\d+)|(\d+)")
FALLBACK_RATE = 25.0  # Hz, for videos that tell none
LARGEST_RATE = 240.0  # Hz; what videos of variable rate tell beyond it is the clock of their file
TIMED_FRAMES = 20  # frames from whose times a missing rate is taken
DAMAGED_FRAMES = 100  # so many frames in a row cannot be read: the video has ended
MISSED_FRAMES = 5  # the same for cameras and streams, each after a pause
MISSED_PAUSE = 0.1  # s
STREAM_TIMEOUT = 5000  # ms, for a connection and for an image of it
LOST_PART = 0.05  # of a video's frames; fewer may be a wrong number in its header


def open_video(path: Path) -> Source:
    """Opens a video file and reads its first frame.

    Raises:
        ValueError: OpenCV cannot read it.
    """
    with _capture(str(path)) as film:
        readable = film.isOpened() and _next_frame(film, DAMAGED_FRAMES)[1] is not None
        rate, length = film.get(cv2.CAP_PROP_FPS), film.get(cv2.CAP_PROP_FRAME_COUNT)
        if readable and not 0.0 < rate <= LARGEST_RATE:  # NaN too
            rate = _measured_rate(film)
    if not readable:
        raise ValueError(
            f"{str(path)!r} is neither an image ({', '.join(sorted(IMAGE_ENDINGS))}) nor a video "
            "that OpenCV can decode, nor a rosbag2"
        )
    known = int(length) if 0 < length < 2**31 else None  # what the file says; may be wrong
    return Source(
        description=f"video {path}",
        rate=rate,
        length=known,
        images=lambda: _film_images(path, known or 0),
    )


def _film_images(path: Path, length: int) -> Iterator[SourceImage | ValueError]:
    with _capture(str(path)) as film:
        index = 0
        while True:
            damaged, pixels = _next_frame(film, DAMAGED_FRAMES)
            if pixels is None:
                break
            for lost in range(index, index + damaged):
                yield ValueError(f"frame {lost} of {str(path)!r} cannot be decoded")
            index += damaged
            yield SourceImage(rgb=_rgb(pixels), name=f"{path.stem}_{index:05d}")
            index += 1
    if length - index > max(2, LOST_PART * length):
        yield ValueError(f"video {str(path)!r} ends after {index} of {length} frames")


def _next_frame(film: cv2.VideoCapture, attempts: int) -> tuple[int, NDArray[Any] | None]:
    """The next frame that can be read, BGR, and the number of damaged ones before it."""
    for damaged in range(attempts):
        if film.grab():
            read, pixels = film.retrieve()
            if read:
                return damaged, pixels
    return 0, None


def _measured_rate(film: cv2.VideoCapture) -> float:
    times = []
    while len(times) < TIMED_FRAMES and film.grab():
        times.append(film.get(cv2.CAP_PROP_POS_MSEC) / 1000.0)
    interval = median(np.diff(times).tolist() or [0.0])
    return 1.0 / interval if interval >= 1.0 / LARGEST_RATE else FALLBACK_RATE


def is_live(text: str) -> bool:
    """Whether a source names a camera or a stream rather than a file."""
    return bool(STREAM.match(text) or (CAMERA.fullmatch(text) and not _is_plain_file(text)))


def open_live(text: str) -> Source:
    """Opens a camera (`/dev/video0`, `0`, `camera:0`) or a stream and lets it go again.

    Raises:
        ValueError: it is not there, or OpenCV cannot open it.
    """
    place = _place(text)
    with _capture(place, live=True) as camera:
        if not camera.isOpened():
            raise ValueError(f"{_hidden_password(text)!r} cannot be opened; {_remedy(place)}")
        rate = camera.get(cv2.CAP_PROP_FPS)
    name = _hidden_password(place)
    return Source(
        description=f"camera {name}" if place.startswith("/dev/") else f"stream {name}",
        rate=rate if 0.0 < rate <= LARGEST_RATE else FALLBACK_RATE,
        length=None,
        images=lambda: _live_images(place, name),
        live=True,
    )


def _live_images(place: str, name: str) -> Iterator[SourceImage | ValueError]:
    with _capture(place, live=True) as camera:
        index = missed = 0
        while missed < MISSED_FRAMES:
            grabbed = camera.grab()
            now = time.monotonic()
            read, pixels = camera.retrieve() if grabbed else (False, None)
            if not read or pixels is None:
                missed += 1
                time.sleep(MISSED_PAUSE)  # a lost camera fails at once, for ever
                continue
            missed = 0
            yield SourceImage(rgb=_rgb(pixels), name=f"live_{index:06d}", grabbed=now)
            index += 1
    if index == 0:
        yield ValueError(f"{name!r} was opened but gives no image; another program may use it")


def _is_plain_file(text: str) -> bool:
    return not text.startswith("/dev/") and Path(text).exists()


def _place(text: str) -> str:
    """The device file of a camera, or the address of a stream."""
    camera = CAMERA.fullmatch(text)
    if camera is None:
        return text
    place = f"/dev/video{camera[1] or camera[2]}"
    if not Path(place).exists():
        found = sorted(map(str, Path("/dev").glob("video*")), key=natural_key)
        there = ", ".join(found) or "none on this machine"
        raise ValueError(f"camera {place!r} does not exist; there is {there}")
    if not os.access(place, os.R_OK | os.W_OK):
        raise ValueError(f"camera {place!r} may not be read; add yourself to the group video")
    return place


def _remedy(place: str) -> str:
    if place.startswith("/dev/"):
        return "another program may use it, or it is no camera"
    return "check the address, the network and whether the stream runs"


def _hidden_password(address: str) -> str:
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:...@", address)


@contextmanager
def _capture(place: str, *, live: bool = False) -> Iterator[cv2.VideoCapture]:
    """A capture that writes nothing of its own to the terminal, released at the end."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first one is opened
    options: list[int] = []
    backend = cv2.CAP_ANY
    if live:
        backend = cv2.CAP_V4L2 if place.startswith("/dev/") else cv2.CAP_FFMPEG
    if backend == cv2.CAP_FFMPEG:
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT]
        options += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT]
    logging: Any = getattr(cv2.utils, "logging", cv2)  # its place in OpenCV 5 and 4
    level = logging.getLogLevel()
    logging.setLogLevel(0)
    try:
        capture = cv2.VideoCapture(place, backend, options)
    finally:
        logging.setLogLevel(level)
    try:
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # films of phones are turned upright
        if backend == cv2.CAP_V4L2:
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        yield capture
    finally:
        capture.release()


def _rgb(pixels: NDArray[Any]) -> RgbImage:
    """OpenCV gives BGR, or grey for some cameras."""
    code = cv2.COLOR_BGR2RGB if pixels.ndim == 3 and pixels.shape[2] == 3 else cv2.COLOR_GRAY2RGB
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)
