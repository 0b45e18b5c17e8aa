"""Labelled videos for benchmarks/tracks.py, and what a detector might find in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from e2ec_core.contours import Contours
from e2ec_core.geometry import join_polygons, mask_to_polygons, resample_uniform
from street_scenes import Drive

VERTICES = 128  # of a contour
CLASSES = {1: "car", 2: "person"}  # those of KITTI MOTS, which are measured
MISSED, JITTER, FALSE_EVERY = 0.15, 0.05, 5
NOBODY = -1  # the track of a false object


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image of a video with the truth about it.

    Attributes:
        seconds: its time.
        size: (height, width), px.
        masks: COCO run lengths, one an object.
        outlines: float32 [K, VERTICES, 2] (x, y), px.
        class_ids: int64 [K], of `CLASSES`, other numbers for other classes.
        tracks: int64 [K].
    """

    seconds: float
    size: tuple[int, int]
    masks: list[dict[str, Any]]
    outlines: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    tracks: NDArray[np.int64]


Video = list[Image]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a detector finds in an image, and the tracks it belongs to, int64 [K]."""

    contours: Contours
    tracks: NDArray[np.int64]


def read_mots(path: Path) -> Video:
    """A sequence of KITTI MOTS: a line is frame, track, class, height, width, run lengths."""
    lines = [line.split() for line in path.read_text().splitlines()]
    size = int(lines[0][3]), int(lines[0][4])
    images: list[list[Any]] = [[] for _ in range(max(int(line[0]) for line in lines) + 1)]
    for frame, track, class_id, height, width, counts in lines:
        if int(class_id) in CLASSES:
            mask = {"size": [int(height), int(width)], "counts": counts.encode()}
            images[int(frame)].append((mask, int(class_id), int(track)))
    return [_image(i / 10, size, objects) for i, objects in enumerate(images)]


def drive(seed: int, length: int, fps: float = 10.0) -> Video:
    """A synthetic drive, 640 x 384 px, of `length` images."""
    names = {name: number for number, name in CLASSES.items()}
    scenes = Drive(seed, fps=fps)
    video = []
    for index in range(length):
        objects = []
        for one in scenes.frame(index).instances:
            mask = coco_mask.encode(np.asfortranarray(one.full_mask(384, 640)))
            class_id = names.get(one.class_name, 10 + one.category_id)
            objects.append((mask, class_id, one.track_id))
        video.append(_image(index / fps, (384, 640), objects))
    return video


def _image(seconds: float, size: tuple[int, int], objects: list[Any]) -> Image:
    kept = [one for one in objects if coco_mask.area(one[0]) >= 4]
    outlines = [
        resample_uniform(join_polygons(mask_to_polygons(coco_mask.decode(mask))), VERTICES)
        for mask, _, _ in kept
    ]
    return Image(
        seconds=seconds,
        size=size,
        masks=[mask for mask, _, _ in kept],
        outlines=np.array(outlines, np.float32).reshape(-1, VERTICES, 2),
        class_ids=np.array([class_id for _, class_id, _ in kept], np.int64),
        tracks=np.array([track for _, _, track in kept], np.int64),
    )


def exact(video: Video) -> list[Found]:
    """A detector without any fault."""
    return [_found(image, image.outlines, image.class_ids, image.tracks) for image in video]


def disturbed(video: Video, seed: int) -> list[Found]:
    """A detector that misses objects, invents some and shifts and scales their boxes.

    A miss has a chance of `MISSED` each time. Centre and size of each box change by at most
    `JITTER` of the size, evenly, in x and y. Every `FALSE_EVERY`th image has an outline of the
    video more, in a place of its own.
    """
    rng = np.random.default_rng(seed)
    return [_disturb(image, index, video, rng) for index, image in enumerate(video)]


def _disturb(image: Image, index: int, video: Video, rng: np.random.Generator) -> Found:
    seen = rng.random(len(image.tracks)) >= MISSED
    low, high = image.outlines.min(axis=1), image.outlines.max(axis=1)
    centre, size = (low + high)[:, None] / 2, (high - low)[:, None]
    shift, scale = rng.uniform(-JITTER, JITTER, (2, len(image.tracks), 1, 2))
    moved = ((image.outlines - centre) * (1 + scale) + centre + shift * size)[seen]
    class_ids, tracks = image.class_ids[seen], image.tracks[seen]
    if index % FALSE_EVERY == 0:
        outline, class_id = _invented(video, rng)
        moved = np.concatenate([moved, outline[None]])
        class_ids, tracks = np.append(class_ids, class_id), np.append(tracks, NOBODY)
    height, width = image.size
    inside = np.clip(moved, -0.5, (width - 0.5, height - 0.5)).astype(np.float32)
    return _found(image, inside, class_ids, tracks)


def _invented(video: Video, rng: np.random.Generator) -> tuple[NDArray[np.float32], int]:
    """An outline of some object of the video, anywhere, and its class."""
    choices = [(image, number) for image in video for number in range(len(image.tracks))]
    image, number = choices[rng.integers(len(choices))]
    outline = image.outlines[number] - image.outlines[number].min(axis=0)
    room = np.maximum(image.size[::-1] - outline.max(axis=0), 0)
    return (outline + room * rng.random(2)).astype(np.float32), int(image.class_ids[number])


def _found(
    image: Image,
    outlines: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    tracks: NDArray[np.int64],
) -> Found:
    contours = Contours(
        vertices=outlines,
        scores=np.ones(len(outlines), np.float32),
        class_ids=class_ids,
        stage="final",
        image_size=image.size,
    )
    return Found(contours=contours, tracks=tracks)


def crowd(objects: int, length: int, seed: int = 0) -> Iterator[Contours]:
    """Ellipses of 128 vertices that move through each other, for the time that a tracker takes."""
    rng = np.random.default_rng(seed)
    place = rng.uniform((0, 100), (1242, 300), (objects, 2))
    speed = rng.normal(0, 3, (objects, 2))
    size = rng.uniform(20, 60, (objects, 1)) * (1, 2)
    angles = -np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    outline = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    for step in range(length):
        vertices = (place + step * speed)[:, None] + outline * size[:, None]
        yield Contours(
            vertices=vertices.astype(np.float32),
            scores=np.ones(objects, np.float32),
            class_ids=np.arange(objects) % 2 + 1,
            stage="final",
            image_size=(375, 1242),
        )
