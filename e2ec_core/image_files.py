"""The one way to read image files: folders, headers, pixels. Needs NumPy and OpenCV alone."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.opencv import MAX_PIXELS as MAX_PIXELS
from e2ec_core.opencv import quiet_codecs
from e2ec_core.value_range import FULL, ValueRange

T = TypeVar("T", bound=np.generic)

IMAGE_ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
)
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_JPEG_TAIL = 1 << 16
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """What an image file says of itself.

    Attributes:
        height: rows as they are stored, px.
        width: columns as they are stored, px.
        orientation: EXIF orientation, 1 to 8; 1 where the file has none.
        truncated: the file ends before its image does, or a part of its structure is damaged.
    """

    height: int
    width: int
    orientation: int = 1
    truncated: bool = False

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) after the image is turned as the orientation says, px."""
        size = self.height, self.width
        return size if self.orientation < 5 else size[::-1]


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
    """Lists the image files of a folder, not of folders in it.

    Raises:
        ValueError: the folder does not exist or cannot be read.
    """
    try:
        files = sorted((f for f in Path(folder).iterdir() if f.is_file()), key=natural_key)
    except OSError as error:
        raise ValueError(f"folder {str(folder)!r} cannot be read: {error.strerror}") from error
    images = [f for f in files if f.suffix.lower() in IMAGE_ENDINGS and f.name[0] != "."]
    chosen = set(images)
    return ImageList(images, [f for f in files if f not in chosen])


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
    header = _parse(io.BytesIO(content))
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

    Of JPEG and PNG files only the structure is read; other formats are decoded.

    Args:
        source: the file, or its content.

    Raises:
        ValueError: the file is missing or no image. It names the path if one was given.
    """
    if isinstance(source, bytes):
        return _parse(io.BytesIO(source)) or _header_of_pixels(source)
    path = Path(source)
    try:
        _check_file(path)
        with path.open("rb") as file:
            header = _parse(file)
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


def _parse(file: BinaryIO) -> ImageHeader | None:
    """Header of a JPEG or PNG file; None for other formats.

    Raises:
        ValueError: the file ends or is damaged before it tells its size.
    """
    start = file.read(len(_PNG))
    if start != _PNG and start[:3] != _JPEG:
        return None
    size = file.seek(0, os.SEEK_END)
    try:
        header = _parse_png(file, size) if start == _PNG else _parse_jpeg(file, size)
    except struct.error as error:  # from reading behind the end
        raise ValueError("is truncated: it ends within its header; copy it again") from error
    if not header.height or not header.width:
        raise ValueError("cannot be read: its header gives no size")
    return header


def _parse_png(file: BinaryIO, size: int) -> ImageHeader:
    """Walks over the chunks; a length counts only as far as the file reaches."""
    file.seek(len(_PNG))
    first = file.read(25)
    length, kind, width, height = struct.unpack_from(">I4sII", first)
    (checksum,) = struct.unpack_from(">I", first, 21)
    if (length, kind) != (13, b"IHDR") or zlib.crc32(first[4:21]) != checksum:
        raise ValueError("cannot be read: the header of the PNG is damaged")
    orientation, position, complete = 1, len(_PNG) + 25, False
    while not complete and position + 12 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        position += 12 + length
        if position > size or not kind.isalpha():
            break
        if kind == b"eXIf":
            orientation = _exif_orientation(file.read(length))
        complete = kind == b"IEND"
    return ImageHeader(height=height, width=width, orientation=orientation, truncated=not complete)


def _parse_jpeg(file: BinaryIO, size: int) -> ImageHeader:
    """Walks over the segments up to the compressed data, then looks for the end marker."""
    file.seek(2)
    height = width = 0
    orientation = 1
    while (marker := _next_marker(file)) != 0xDA:  # start of scan
        if marker == 0xD9:
            raise ValueError("cannot be read: the JPEG ends before its image")
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without content
            continue
        (length,) = struct.unpack(">H", file.read(2))
        behind = file.tell() + max(length - 2, 0)
        if marker in _JPEG_SIZES:
            _, height, width = struct.unpack(">BHH", file.read(5))
        elif marker == 0xE1 and orientation == 1:
            segment = file.read(max(length - 2, 0))
            if segment[:6] == b"Exif\0\0":
                orientation = _exif_orientation(segment[6:])
        file.seek(behind)
    return ImageHeader(
        height=height,
        width=width,
        orientation=orientation,
        truncated=not _has_end_marker(file, file.tell(), size),
    )


def _next_marker(file: BinaryIO) -> int:
    """Code of the next marker; bytes before it are skipped, as libjpeg does."""
    byte, before = 0, 0
    while before != 0xFF or byte in (0, 0xFF):
        before, (byte,) = byte, struct.unpack("B", file.read(1))
    return byte


def _has_end_marker(file: BinaryIO, scan: int, size: int) -> bool:
    """Whether a JPEG's end marker comes behind its start of scan.

    Compressed data never holds the marker's bytes. It mostly stands at the end; cameras pad their
    files, and phones append films to them.
    """
    file.seek(max(scan, size - _JPEG_TAIL))
    if b"\xff\xd9" in file.read():
        return True
    file.seek(scan)
    return b"\xff\xd9" in file.read()


def _exif_orientation(tiff: bytes) -> int:
    """Orientation of an EXIF block, 1 where it has none or is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG and kind == 3 and 1 <= value <= 8:
                return int(value)
    except struct.error:
        pass
    return 1
