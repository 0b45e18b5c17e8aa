"""Cameras of this machine and streams, read by OpenCV. Needs no rclpy."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import cv2

from e2ec_core.image_files import natural_key
from e2ec_core.videos import FALLBACK_RATE, LARGEST_RATE, capture, rgb_frame
from e2ec_ros.playback.source_types import Source, SourceImage

STREAM = re.compile(r"(rtsps?|rtmps?|https?|udp|tcp|srt)://", re.IGNORECASE)
CAMERA = re.compile(r"(?:camera:|/dev/video)(\d+)|(\d+)")
MISSED_FRAMES = 5  # so many in a row, each after a pause: the camera or stream has ended
MISSED_PAUSE = 0.1  # s
STREAM_TIMEOUT = 5000  # ms, for a connection and for an image of it


def is_live(text: str) -> bool:
    """Whether a source names a camera or a stream rather than a file."""
    return bool(STREAM.match(text) or (CAMERA.fullmatch(text) and not _is_plain_file(text)))


def open_live(text: str) -> Source:
    """Opens a camera (`/dev/video0`, `0`, `camera:0`) or a stream and lets it go again.

    Raises:
        ValueError: it is not there, or OpenCV cannot open it.
    """
    place = _place(text)
    with _capture(place) as camera:
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
    with _capture(place) as camera:
        if place.startswith("/dev/"):
            camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
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
            yield SourceImage(rgb=rgb_frame(pixels), name=f"live_{index:06d}", grabbed=now)
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


def _capture(place: str) -> AbstractContextManager[cv2.VideoCapture]:
    if place.startswith("/dev/"):
        return capture(place, cv2.CAP_V4L2)
    timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
    options = [word for name in timeouts for word in (name, STREAM_TIMEOUT)]
    return capture(place, cv2.CAP_FFMPEG, tuple(options))
