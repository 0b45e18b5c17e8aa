"""What image files say of themselves: size, orientation, whether they are whole."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_JPEG_TAIL = 1 << 16
EXTENDED_WEBP = b"RIFFWEBPVP8X"
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


def parse_header(file: BinaryIO) -> ImageHeader | None:
    """Header of a JPEG, PNG or extended WebP file; None for other formats.

    Raises:
        ValueError: the file ends or is damaged before it tells its size.
    """
    start = file.read(16)
    if start.startswith(PNG):
        parse = _parse_png
    elif start.startswith(_JPEG):
        parse = _parse_jpeg
    elif start[:4] + start[8:] == EXTENDED_WEBP:
        parse = _parse_webp
    else:
        return None
    size = file.seek(0, os.SEEK_END)
    try:
        header = parse(file, size)
    except struct.error as error:  # from reading behind the end
        raise ValueError("is truncated: it ends within its header; copy it again") from error
    if not header.height or not header.width:
        raise ValueError("cannot be read: its header gives no size")
    return header


def _parse_png(file: BinaryIO, size: int) -> ImageHeader:
    """Walks over the chunks; a length counts only as far as the file reaches."""
    file.seek(len(PNG))
    first = file.read(25)
    length, kind, width, height = struct.unpack_from(">I4sII", first)
    (checksum,) = struct.unpack_from(">I", first, 21)
    if (length, kind) != (13, b"IHDR") or zlib.crc32(first[4:21]) != checksum:
        raise ValueError("cannot be read: the header of the PNG is damaged")
    orientation, position, complete = 1, len(PNG) + 25, False
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


def _parse_webp(file: BinaryIO, size: int) -> ImageHeader:
    """Reads the canvas and walks over the chunks; only an extended file can hold EXIF."""
    file.seek(4)
    (length,) = struct.unpack("<I", file.read(4))
    file.seek(24)
    sides = struct.unpack("<HBHB", file.read(6))
    width, height = (low + (high << 16) + 1 for low, high in (sides[:2], sides[2:]))
    orientation = 1
    for kind, content in webp_chunks(file, size):
        if kind == b"EXIF":
            file.seek(content.start)
            orientation = _exif_orientation(file.read(len(content)).removeprefix(b"Exif\0\0"))
    return ImageHeader(
        height=height, width=width, orientation=orientation, truncated=length + 8 > size
    )


def webp_chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, range]]:
    """Kind and place of each chunk."""
    position = 12
    while position + 8 <= size:
        file.seek(position)
        kind, length = struct.unpack("<4sI", file.read(8))
        yield kind, range(position + 8, position + 8 + length)
        position += 8 + length + length % 2


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
