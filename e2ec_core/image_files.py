"""The one way to read image files: folders, sizes, pixels. Needs NumPy and OpenCV alone."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.image_headers import ImageHeader as ImageHeader
from e2ec_core.image_headers import parse_header
from e2ec_core.opencv import MAX_PIXELS as MAX_PIXELS
from e2ec_core.opencv import quiet_codecs
from e2ec_core.value_range import FULL, ValueRange

T = TypeVar("T", bound=np.generic)

IMAGE_ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
)


class ImageList(NamedTuple):
    """The files of a folder."""

    files: list[Path]
    """Images, in natural order."""
    skipped: list[Path]
    """Files that are hidden or have no ending of an image."""


def natural_key(path: str | Path) -> tuple[list[str | int], str]:
    """Builds a sort key that takes digits as numbers: frame2 comes before frame10."""
    words = re.split(r"(\d+)", str(path))
    return [int(w) if i % 2 else w.casefold() for i, w in enumerate(words)], str(path)


def list_images(folder: str | Path) -> ImageList:
    """Lists the image files of a folder, not of folders in it; links to nothing count as files.

    Raises:
        ValueError: the folder does not exist or cannot be read.
    """
    try:
        files = sorted((f for f in Path(folder).iterdir() if _is_file(f)), key=natural_key)
    except OSError as error:
        raise ValueError(f"folder {str(folder)!r} cannot be read: {error.strerror}") from error
    images = [f for f in files if f.suffix.lower() in IMAGE_ENDINGS and f.name[0] != "."]
    chosen = set(images)
    return ImageList(images, [f for f in files if f not in chosen])


def _is_file(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and not path.exists())


def read_image(
    path: str | Path, *, upright: bool = False, values: ValueRange = FULL
) -> NDArray[np.uint8]:
    """Reads an image file as RGB.

    Args:
        path: the file.
        upright: turns the image as its EXIF orientation says, as viewers do. Labels count pixels
            as they are stored, so labelled images are not turned.
        values: which values of an image with 16 bits become black and white.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        ValueError: the file is missing, damaged, too large or no image.
    """
    try:
        return decode_image(_file_bytes(Path(path)), upright=upright, values=values)
    except (ValueError, cv2.error, MemoryError) as error:
        reason = " ".join(str(error).split()) or "is too large for the memory"
        raise ValueError(f"image {str(path)!r} {reason}") from error


def decode_image(
    data: bytes | bytearray | memoryview | NDArray[np.uint8],
    *,
    upright: bool = False,
    values: ValueRange = FULL,
) -> NDArray[np.uint8]:
    """Decodes the bytes of an image file; see `read_image`.

    Raises:
        ValueError: the data is damaged, too large or no image. The message goes on behind the
            image's name: "is truncated; ...".
    """
    pixels = to_8_bit(decode_stored(data, upright=upright), values)
    code = cv2.COLOR_BGR2RGB if pixels.ndim == 3 else cv2.COLOR_GRAY2RGB
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def to_8_bit(pixels: NDArray[Any], values: ValueRange) -> NDArray[np.uint8]:
    """Gives pixels of 8 or 16 bits, of any shape, in 8 bits.

    Raises:
        ValueError: they are other numbers.
    """
    if pixels.dtype == np.uint16:
        pixels = values.to_8_bit(pixels)
    if pixels.dtype != np.uint8:
        raise ValueError(f"holds {pixels.dtype} values; 8 or 16 bits can be read")
    return pixels


def decode_stored(
    data: bytes | bytearray | memoryview | NDArray[np.uint8], *, upright: bool = False
) -> NDArray[Any]:
    """Decodes the bytes of an image file and keeps its depth; see `read_image`.

    Returns:
        the values as they are stored, mostly uint8 or uint16: [H, W] of a grey image, [H, W, 3]
        in OpenCV's order (blue, green, red) of a coloured one.

    Raises:
        ValueError: as from `decode_image`.
    """
    content = bytes(data)
    header = parse_header(io.BytesIO(content))
    if header is not None:
        _check(header)
    pixels = _decode(content)
    if pixels is None:
        reason = "cannot be read; it must be a JPEG, PNG or the like"
        raise ValueError("is damaged; copy it again" if header is not None else reason)
    if upright and header is not None:
        pixels = turn_upright(pixels, header.orientation)
    return pixels


def turn_upright(image: NDArray[T], orientation: int) -> NDArray[T]:
    """Turns and mirrors an image [H, W, ...] as an EXIF orientation of 1 to 8 says."""
    if orientation >= 5:  # the first row of the file is a column of the scene
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def read_header(source: str | Path | bytes) -> ImageHeader:
    """Reads size, orientation and completeness of an image file.

    Of JPEG, PNG and extended WebP files only the structure is read; others are decoded.

    Args:
        source: the file, or its content.

    Raises:
        ValueError: the file is missing or no image. It names the path if one was given.
    """
    if isinstance(source, bytes):
        return parse_header(io.BytesIO(source)) or _header_of_pixels(source)
    path = Path(source)
    try:
        _check_file(path)
        with path.open("rb") as file:
            header = parse_header(file)
        return header or _header_of_pixels(_file_bytes(path))
    except OSError as error:
        raise ValueError(f"image {str(path)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"image {str(path)!r} {error}") from error


def _file_bytes(path: Path) -> bytes:
    try:
        _check_file(path)
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError("is a folder; give a file")
    if path.is_symlink() and not path.exists():
        raise ValueError(f"is a link to {os.readlink(path)!r}, which does not exist; fetch that")
    if not path.exists():
        raise ValueError("does not exist; check the path")
    if not path.stat().st_size:
        raise ValueError("cannot be read: the file is empty")


def _check(header: ImageHeader) -> None:
    """Raises ValueError if an image must not be decoded."""
    if header.height * header.width > MAX_PIXELS:
        raise ValueError(
            f"claims {header.width} x {header.height} px; at most {MAX_PIXELS} px are read"
        )
    if header.truncated:
        raise ValueError("is truncated or damaged: it ends before its image does; copy it again")


def _decode(content: bytes) -> NDArray[Any] | None:
    """Values as they are stored, colours in OpenCV's order; None where OpenCV reads none."""
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with quiet_codecs():
            return cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except (cv2.error, MemoryError) as error:
        reason = " ".join(str(error).split()) or "out of memory"
        if "CV_IO_MAX_IMAGE" in reason:
            raise ValueError(f"is too large; at most {MAX_PIXELS} px are read") from error
        raise ValueError(f"cannot be read: {reason}") from error


def _header_of_pixels(content: bytes) -> ImageHeader:
    height, width = decode_image(content).shape[:2]
    return ImageHeader(height=height, width=width)
