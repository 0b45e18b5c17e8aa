"""What every source of the camera gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from e2ec_core.image_messages import RgbImage

STILL_RATE = 1.0  # Hz, for images that are not a film


@dataclass(frozen=True, kw_only=True)
class SourceImage:
    """One image to publish.

    Attributes:
        rgb: uint8 [height, width, 3].
        name: short, for messages and file names.
        intrinsics: (fx, fy, cx, cy) in px, None when unknown.
        frame_id: of the recording, None when there is none.
        camera_info: a recorded CameraInfo-like message, None when there is none.
        stamp: of the recording, ns; None when there is none.
        grabbed: when a live camera gave it, s of `time.monotonic`; None for recordings.
    """

    rgb: RgbImage
    name: str
    intrinsics: tuple[float, float, float, float] | None = None
    frame_id: str | None = None
    camera_info: Any = None
    stamp: int | None = None
    grabbed: float | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Something to play.

    Attributes:
        description: one line for people.
        rate: its own rate, Hz.
        length: number of images; None when endless or unknown.
        images: starts at the first image on every call. In place of an image that cannot be read
            comes the ValueError that names it; the images behind it follow.
        live: a camera or a stream, which does not wait for its reader.
    """

    description: str
    rate: float
    length: int | None
    images: Callable[[], Iterator[SourceImage | ValueError]]
    live: bool = False
