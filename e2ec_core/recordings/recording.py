"""Images, videos and image topics of bags, read frame by frame in one way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from e2ec_core.animations import Animation, frame_count, open_animation
from e2ec_core.image_files import read_image
from e2ec_core.recordings.bag_files import is_bag
from e2ec_core.recordings.bags import BadImage, BagImage, open_bag
from e2ec_core.value_range import ValueRange
from e2ec_core.videos import Video, open_video

Kind = Literal["image", "video", "bag"]

VIDEO_ENDINGS = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".ts", ".gif"}
)
_ANIMATED = frozenset({".png", ".webp", ".tif", ".tiff"})
STILL_RATE = 1.0
"""Frames per second of bags whose stamps do not tell."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """An image, a video, or one image topic of a bag.

    Attributes:
        path: the file or folder, as the user named it.
        kind: what it is.
        topic: of a bag; else empty.
        length: number of frames; of videos what the file says, which may be wrong.
        rate: frames per second; of an image 0.
    """

    path: str
    kind: Kind
    topic: str = ""
    length: int = 1
    rate: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame, or why there is none.

    Attributes:
        index: number in the recording, from 0.
        rgb: uint8 [H, W, 3]; None if it cannot be read.
        error: what is wrong with it, in one line; empty where there is a picture.
        stamp: in the header of a bag's image, ns; None if it cannot be read.
        frame_id: likewise.
    """

    index: int
    rgb: NDArray[np.uint8] | None = None
    error: str = ""
    stamp: int | None = None
    frame_id: str | None = None


def kind_of(path: Path) -> Kind:
    """What a path is by its ending, or as a folder; what is nothing else is an image.

    Images of several frames (animated PNG or WebP, TIFF of several pages) are videos.
    """
    ending = path.suffix.lower()
    if is_bag(path):
        return "bag"
    if ending in VIDEO_ENDINGS or (ending in _ANIMATED and frame_count(path) > 1):
        return "video"
    return "image"


def open_recording(
    path: Path, topic: str, values: ValueRange, tell: Callable[[str], object] = str
) -> Recording:
    """Finds out what a path holds; images are not opened.

    Frames are counted where the file does not tell how many there are.

    Args:
        path: an image, a video, or a bag (folder or file).
        topic: of a bag; empty for the first that can be shown.
        values: how 16-bit images are shown.
        tell: is given a line if a bag has other topics than the one that was chosen.

    Raises:
        ValueError: the video or bag cannot be read.
    """
    kind = kind_of(path)
    if kind == "bag":
        bag = open_bag(path, topic, values)
        if bag.others and not topic:
            others = f"{', '.join(bag.others)} left out"
            tell(f"bag {str(path)!r}: {bag.topic} is read, {others}; choose with --topics")
        length = bag.length or sum(1 for _ in bag.images())
        rate = bag.rate or STILL_RATE
        return Recording(path=str(path), kind=kind, topic=bag.topic, length=length, rate=rate)
    if kind == "video":
        video = open_film(path, values)
        length = video.length or sum(1 for _ in video.frames())
        return Recording(path=str(path), kind=kind, length=length, rate=video.rate)
    return Recording(path=str(path), kind=kind)


def frames_of(recording: Recording, values: ValueRange, begin: int = 0) -> Iterator[Frame]:
    """Gives the frames from number `begin` on.

    A frame that cannot be read comes as an error. If a recording ends early, the frame behind its
    last one says so.

    Raises:
        ValueError: the recording has gone since it was opened.
    """
    path = Path(recording.path)
    if recording.kind == "image":
        yield from [_image(path, values)][begin:]
        return
    if recording.kind == "video":
        found: Iterator[object] = open_film(path, values).frames(begin)
    else:
        found = open_bag(path, recording.topic, values).images(begin)
    for index, item in enumerate(found, begin):
        if isinstance(item, BagImage):
            yield Frame(index=index, rgb=item.rgb, stamp=item.stamp, frame_id=item.frame_id)
        elif isinstance(item, np.ndarray):
            yield Frame(index=index, rgb=item)
        elif isinstance(item, BadImage):
            error = str(item)
            yield Frame(index=index, error=error, stamp=item.stamp, frame_id=item.frame_id)
        else:
            yield Frame(index=index, error=str(item))


def open_film(path: Path, values: ValueRange) -> Video | Animation:
    """Opens a video, or an image of several frames.

    Raises:
        ValueError: it cannot be read.
    """
    return open_animation(path, values) if frame_count(path) > 1 else open_video(path)


def _image(path: Path, values: ValueRange) -> Frame:
    try:
        return Frame(index=0, rgb=read_image(path, upright=True, values=values))
    except ValueError as error:
        return Frame(index=0, error=str(error))
