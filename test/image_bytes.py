"""Image files for tests, as bytes."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray


def picture(height: int = 40, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth picture of random colours, uint8 RGB."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)


def encoded(image: NDArray[np.uint8], ending: str = ".jpg", *options: int) -> bytes:
    """The bytes of an RGB image as a file of that ending."""
    return cv2.imencode(ending, image[..., ::-1], options)[1].tobytes()


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF block that holds nothing but an orientation (tag 0x0112)."""
    magic = b"II" if order == "<" else b"MM"
    return struct.pack(f"{order}2sHIHHHIHHI", magic, 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def turned_jpeg(image: NDArray[np.uint8], orientation: int, order: str = "<") -> bytes:
    """A JPEG of an RGB image with an EXIF orientation of 1 to 8."""
    block = b"Exif\0\0" + exif(orientation, order)
    jpeg = encoded(image)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with its length and checksum."""
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def turned_webp(image: NDArray[np.uint8], orientation: int, order: str = "<") -> bytes:
    """An extended WebP of an RGB image with an EXIF orientation of 1 to 8."""
    height, width = image.shape[:2]
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    block = exif(orientation, order)
    chunks = b"VP8X" + struct.pack("<II", 10, 0x08) + sides + encoded(image, ".webp")[12:]
    chunks += b"EXIF" + struct.pack("<I", len(block)) + block
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
