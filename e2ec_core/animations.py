"""Images of several frames: animated PNG, WebP and GIF, and TIFF of several pages."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.image_files import to_8_bit
from e2ec_core.image_headers import EXTENDED_WEBP, PNG, webp_chunks
from e2ec_core.opencv import quiet_codecs
from e2ec_core.value_range import FULL, ValueRange
from e2ec_core.videos import FALLBACK_RATE, LARGEST_RATE, open_video, rgb_frame

PAGE_RATE = 1.0
"""Pages of a TIFF per second."""
_BATCH = 16  # frames that are decoded at once; OpenCV begins anew for each batch
_FLAGS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
_TIFF = {  # byte order; formats of offsets and of the number of tags
    b"II*\0": ("<", "I", "H"),
    b"MM\0*": (">", "I", "H"),
    b"II+\0": ("<", "Q", "Q"),
    b"MM\0+": (">", "Q", "Q"),
}
_SUBFILE_TYPE = 254  # its bits 0 and 2 mark a preview and a mask


@dataclass(frozen=True, kw_only=True)
class Animation:
    """An image file of several frames.

    Attributes:
        path: of the file.
        rate: frames per second.
        length: number of frames in the file.
        pages: of a TIFF the number of the page of each frame; else empty.
        by_film: OpenCV reads it as a video alone: old ones, of PNG and GIF.
        values: how 16-bit images are shown.
    """

    path: Path
    rate: float
    length: int
    pages: tuple[int, ...]
    by_film: bool
    values: ValueRange

    def frames(self, begin: int = 0) -> Iterator[NDArray[np.uint8] | ValueError]:
        """Gives the frames from number `begin` on, uint8 RGB [H, W, 3].

        In place of a frame that cannot be shown comes the ValueError that says why, and one more
        at the end if OpenCV reads fewer than there are.
        """
        index = first = max(begin - 1, 0)  # without the one before, somebody else has told
        for frame in self._read(first):
            if index >= begin:
                yield frame
            index += 1
        if index < self.length and (index > first or not begin):
            name, version = repr(str(self.path)), cv2.__version__
            yield ValueError(
                f"OpenCV {version} reads {index} of the {self.length} frames of {name}; "
                "make a video of it, or images"
            )

    def _read(self, begin: int) -> Iterator[NDArray[np.uint8] | ValueError]:
        if self.by_film:
            yield from open_video(self.path).frames(begin)
            return
        step = 1 if self.pages else _BATCH
        for start in range(begin, self.length, step):
            if self.pages:
                batch = _page(self.path, self.pages[start])
            else:
                batch, _ = _batch(self.path, start)
            for pixels in batch:
                try:
                    yield rgb_frame(to_8_bit(pixels, self.values))
                except ValueError as error:
                    yield ValueError(f"image {str(self.path)!r} {error}")
            if len(batch) < step:
                return


def frame_count(path: Path) -> int:
    """Number of frames of an image file; 1 for all that is no animation, or cannot be read."""
    return max(1, len(_frames(path)[0]))


def open_animation(path: Path, values: ValueRange = FULL) -> Animation:
    """Opens an image file of several frames and reads the first ones.

    Raises:
        ValueError: OpenCV cannot read it.
    """
    frames, is_tiff = _frames(path)
    first, times = ([], []) if is_tiff else _batch(path, 0)
    by_film = not is_tiff and not first
    interval = median(times or [0]) / 1000.0
    rate = 1.0 / interval if interval >= 1.0 / LARGEST_RATE else FALLBACK_RATE
    if is_tiff:
        rate = PAGE_RATE
    elif by_film:
        rate = open_video(path).rate
    pages = tuple(frames) if is_tiff else ()
    return Animation(
        path=path, rate=rate, length=len(frames), pages=pages, by_film=by_film, values=values
    )


def _batch(path: Path, start: int) -> tuple[list[NDArray[Any]], list[int]]:
    """Frames from a number on, and how long each is shown, ms; none where OpenCV reads none."""
    if not hasattr(cv2, "imreadanimation"):  # before OpenCV 4.11
        return [], []
    with quiet_codecs():
        _, found = cv2.imreadanimation(str(path), start, _BATCH)
    return [frame[..., :3] for frame in found.frames], list(found.durations)


def _page(path: Path, number: int) -> list[NDArray[Any]]:
    with quiet_codecs():
        return list(cv2.imreadmulti(str(path), number, 1, flags=_FLAGS)[1])


def _frames(path: Path) -> tuple[Sequence[int], bool]:
    """Numbers of the frames that a file says it has, and whether it is a TIFF."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
            size = file.seek(0, os.SEEK_END)
            if start[:4] in _TIFF:
                return list(_pages(file, *_TIFF[start[:4]])), True
            if start.startswith(PNG):
                return range(_png_frames(file, size)), False
            if start[:4] + start[8:] == EXTENDED_WEBP:
                return range(sum(kind == b"ANMF" for kind, _ in webp_chunks(file, size))), False
            if start[:4] == b"GIF8":
                return range(_gif_frames(file)), False
    except (OSError, struct.error):
        pass
    return (), False


def _pages(file: BinaryIO, order: str, offset: str, number: str) -> Iterator[int]:
    """Numbers of the pages that are neither a preview nor a mask."""

    def read(form: str) -> tuple[int, ...]:
        return struct.unpack(order + form, file.read(struct.calcsize(order + form)))

    file.seek(4 if offset == "I" else 8)
    (place,) = read(offset)
    seen: set[int] = set()
    while place and place not in seen:
        seen.add(place)
        file.seek(place)
        tags = [read("HH" + 2 * offset) for _ in range(read(number)[0])]
        kinds = [value for tag, _, _, value in tags if tag == _SUBFILE_TYPE]
        if not any(kind & 0b101 for kind in kinds):
            yield len(seen) - 1
        (place,) = read(offset)


def _png_frames(file: BinaryIO, size: int) -> int:
    """What the chunk acTL says, which stands before the image."""
    position = len(PNG)
    while position + 12 <= size:
        file.seek(position)
        length, kind, frames = struct.unpack(">I4sI", file.read(12))
        if kind == b"acTL":
            return min(int(frames), size // 38)  # each has a chunk fcTL
        if kind == b"IDAT":
            break
        position += 12 + length
    return 1


def _gif_frames(file: BinaryIO) -> int:
    """Counts the images; one more where the file ends before its end mark."""
    file.seek(10)
    (flags,) = struct.unpack("B2x", file.read(3))
    file.seek(_palette(flags), os.SEEK_CUR)
    frames = 0
    while (kind := file.read(1)) in (b",", b"!"):
        if kind == b",":
            frames += 1
            (flags,) = struct.unpack("8xB", file.read(9).ljust(9, b"\0"))
            file.seek(_palette(flags), os.SEEK_CUR)
        file.read(1)  # size of codes, or kind of the extension
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], os.SEEK_CUR)
    return frames + (kind != b";")


def _palette(flags: int) -> int:
    """Bytes of the palette that follows a GIF's flags."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
