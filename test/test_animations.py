"""Images of several frames: none is passed over in silence."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from image_bytes import picture

from e2ec_core.animations import frame_count, open_animation
from e2ec_core.recordings.recording import frames_of, kind_of, open_recording
from e2ec_core.value_range import FULL, parse_range

COUNT = 37  # more than are decoded at once
PICTURES = [np.roll(picture(), i, axis=1) for i in range(COUNT)]
modern = pytest.mark.skipif(
    not hasattr(cv2, "imwriteanimation"), reason="this OpenCV writes no animations"
)


def write_animation(path: Path, count: int = COUNT) -> Path:
    """Writes the first pictures, 50 ms each."""
    stored = [image[..., ::-1].copy() for image in PICTURES[:count]]
    if path.suffix == ".tif":
        cv2.imwritemulti(str(path), stored)
    else:
        film = cv2.Animation()
        film.frames, film.durations = stored, [50] * count
        assert cv2.imwriteanimation(str(path), film, (cv2.IMWRITE_WEBP_QUALITY, 101))
    return path


def read(path: Path, begin: int = 0, end: int = 99) -> list[Any]:
    """The frames, or why there is none."""
    frames = frames_of(open_recording(path, "", FULL), FULL, begin)
    return [f.error if f.rgb is None else f.rgb for f in frames if f.index < end]


@pytest.mark.parametrize(
    "name",
    ["a.tif", *(pytest.param(name, marks=modern) for name in ("a.png", "a.webp", "a.gif"))],
)
def test_every_frame_is_read_from_any_on(tmp_path: Path, name: str) -> None:
    path = write_animation(tmp_path / name)
    recording = open_recording(path, "", FULL)
    assert (recording.kind, recording.length) == ("video", COUNT)
    assert recording.rate == (1.0 if name == "a.tif" else 20.0)
    whole = read(path)
    limit = 30 if name == "a.gif" else 0  # it has few colours
    for image, want in zip(whole, PICTURES, strict=True):
        assert np.abs(image.astype(int) - want).mean() <= limit
    for begin in (5, 16, 32, 36):
        np.testing.assert_array_equal(read(path, begin), whole[begin:])
    assert read(path, COUNT) == []


@modern
def test_a_gif_without_delays_keeps_its_frames(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "a.gif", 3)
    whole, content = read(path), path.read_bytes()
    path.write_bytes(re.sub(rb"\x21\xf9\x04.{5}", b"", content, flags=re.DOTALL))
    assert len(path.read_bytes()) == len(content) - 3 * 8
    np.testing.assert_array_equal(read(path), whole)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.gif"])
@modern
def test_lost_frames_are_told_once(tmp_path: Path, name: str) -> None:
    path = write_animation(tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    if name == "a.webp":
        with pytest.raises(ValueError, match=r"'.*a\.webp' cannot be read"):
            read(path)
        return
    *frames, said = read(path)
    assert 16 < len(frames) < COUNT - 5
    assert f"reads {len(frames)} of the " in said
    assert str(path) in said
    for middle in (4, 16, len(frames), len(frames) + 1):
        parts = [*read(path, 0, middle), *read(path, middle)]
        assert [isinstance(one, str) for one in parts] == [*[False] * len(frames), True]


@pytest.mark.parametrize("order", ["<", ">"])
def test_previews_and_masks_are_no_frames(tmp_path: Path, order: str) -> None:
    """Each page is 1 px, its tags: kind, width, height, bits, compression, colours, strip."""
    data = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    for level, kind in enumerate((0, 1, 2, 4, 5)):
        tags = {254: kind, 256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1, 279: 1}
        behind = len(data) + 2 + 12 * (len(tags) + 1) + 4
        tags[273] = behind
        data += struct.pack(f"{order}H", len(tags))
        for tag, value in sorted(tags.items()):
            data += struct.pack(f"{order}HHII", tag, 4, 1, value)
        data += struct.pack(f"{order}IBx", behind + 2 if level < 4 else 0, 50 * level)
    (tmp_path / "pyramid.tif").write_bytes(data)
    assert [int(frame.max()) for frame in read(tmp_path / "pyramid.tif")] == [0, 100]


def test_pages_of_16_bits_are_shown_in_their_range(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    cv2.imwritemulti(str(path), [np.full((4, 6), 2048, np.uint16)] * 2)
    shown = [np.asarray(f).max() for f in open_animation(path, parse_range("0..4095")).frames()]
    assert shown == [128, 128]


@modern
def test_a_wrong_number_of_frames_is_bounded_by_the_size(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "a.png", 3)
    content = path.read_bytes()
    position = content.index(b"acTL") + 4
    path.write_bytes(content[:position] + b"\xff" * 4 + content[position + 4 :])
    assert 3 < frame_count(path) < len(content) / 20
    assert kind_of(path) == "video"


def test_single_images_stay_images(tmp_path: Path) -> None:
    for ending in (".png", ".webp", ".tif"):
        path = tmp_path / f"one{ending}"
        cv2.imwrite(str(path), PICTURES[0])
        assert (kind_of(path), frame_count(path)) == ("image", 1)
    (tmp_path / "text.tif").write_bytes(b"II*\0text")
    assert kind_of(tmp_path / "text.tif") == kind_of(tmp_path / "none.webp") == "image"
