"""Video files for tests, and damage to them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_film(
    path: Path, frames: Iterable[NDArray[np.uint8]], codec: str = "MJPG", rate: float = 12.0
) -> Path:
    """Writes RGB frames, uint8 [H, W, 3], of one size."""
    writer: cv2.VideoWriter | None = None
    for frame in frames:
        size = frame.shape[1], frame.shape[0]
        writer = writer or cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, size)
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    assert writer is not None
    writer.release()
    return path


def frames_of(data: bytes) -> list[tuple[int, int]]:
    """Begin and length of the pictures in an AVI file of codec MJPG."""
    places = [i for i in range(len(data) - 4) if data[i : i + 4] == b"00dc"]
    movie = [(i + 8, struct.unpack_from("<I", data, i + 4)[0]) for i in places]
    return [(begin, length) for begin, length in movie if data[begin : begin + 2] == b"\xff\xd8"]


def damage(path: Path, frames: Iterable[int]) -> None:
    """Overwrites frames of an AVI file with zeros."""
    data = bytearray(path.read_bytes())
    places = frames_of(data)
    for index in frames:
        begin, length = places[index]
        data[begin : begin + length] = bytes(length)
    path.write_bytes(data)
