"""Labels in one buffer: nothing is lost, and processes share it."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2ec_core.data.labelled import Instance, LabelledImage, Truth
from e2ec_core.data.packed import Buffer, PackedImages, open_buffer, pack_images

SQUARE = np.array([[1.5, 2], [9, 2], [9, 8.25], [1.5, 8.25]])


def _images() -> list[LabelledImage]:
    """Three images: one with every kind of object, one empty, one with a crowd."""
    rle = {"size": [40, 60], "counts": [0, 2400]}
    objects = (
        Instance(class_id=2, parts=(SQUARE, SQUARE + 20), whole=(SQUARE[:3] * 2,)),
        Instance(class_id=0, parts=(SQUARE[:3],), truth=Truth(area=7.5, bbox=(1, 2, 3, 4.5))),
        Instance(class_id=1, parts=(SQUARE,), crowd=True, truth=Truth(segmentation=rle)),
    )
    size: dict[str, Any] = {"height": 40, "width": 60}
    return [
        LabelledImage(
            image_id=10**12,
            path=Path("/a/vélo 1.png"),
            instances=objects,
            name="vélo 1.png",
            **size,
        ),
        LabelledImage(
            image_id=7, path=Path("b.png"), instances=(), upright=True, position=1, **size
        ),
        LabelledImage(image_id=8, path=Path("c.png"), instances=objects[2:], position=3, **size),
    ]


def _same(a: LabelledImage, b: LabelledImage) -> bool:
    parts = [
        [p.tolist() for i in image.instances for p in (*i.parts, *(i.whole or ()))]
        for image in (a, b)
    ]
    bare = [
        replace(image, instances=tuple(replace(i, parts=(), whole=None) for i in image.instances))
        for image in (a, b)
    ]
    return parts[0] == parts[1] and bare[0] == bare[1]


def test_images_come_out_as_they_went_in() -> None:
    images = _images()
    packed = PackedImages(Buffer(pack_images(images)))
    assert len(packed) == 3
    assert all(map(_same, packed, images))
    assert _same(packed[-1], images[2])
    assert [image.image_id for image in packed[1:]] == [7, 8]
    with pytest.raises(IndexError):
        packed[3]
    assert len(PackedImages(Buffer(pack_images([])))) == 0


def test_images_are_held_out_by_their_position_and_classes_are_found() -> None:
    packed = PackedImages(Buffer(pack_images(_images())))
    assert [i.image_id for i in packed.hold_out(3, held_out=True)] == [10**12, 8]
    rest = packed.hold_out(3, held_out=False)
    assert [i.image_id for i in rest] == [7]
    assert packed.target_classes() == [0, 2]
    assert rest.target_classes() == []
    assert [i.image_id for i in pickle.loads(pickle.dumps(rest))] == [7]


def test_the_digest_knows_labels_but_not_places() -> None:
    images = _images()
    moved = [replace(image, path=Path("/elsewhere") / image.path.name) for image in images]
    changed = [replace(images[0], instances=images[0].instances[::-1]), *images[1:]]

    def digest(images: list[LabelledImage]) -> str:
        return PackedImages(Buffer(pack_images(images))).digest()

    assert digest(images) == digest(moved) != digest(changed)


def test_a_spawned_process_maps_the_file(tmp_path: Path) -> None:
    many = [replace(image, image_id=n) for n, image in enumerate(_images() * 2000)]
    path = tmp_path / "many.labels"
    path.write_bytes(pack_images(many))
    images = PackedImages(open_buffer(path))
    assert path.stat().st_size > 1_000_000
    assert len(pickle.dumps(images)) < 2000
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(list, images).result(timeout=120)
    assert all(map(_same, there, many))


def test_a_file_that_was_replaced_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.labels"
    path.write_bytes(pack_images(_images()))
    pickled = pickle.dumps(PackedImages(open_buffer(path)))
    path.unlink()
    path.write_bytes(pack_images(_images()[:2]))
    with pytest.raises(ValueError, match="was replaced while it was used"):
        pickle.loads(pickled)


def test_damaged_buffers_are_refused() -> None:
    data = pack_images(_images())
    for wrong in (b"", b"e2ec", data[:100], data[: len(data) // 2], b"x" + data[1:]):
        with pytest.raises(ValueError, match="damaged labels"):
            Buffer(wrong)
    flipped = bytearray(data)
    flipped[-100] ^= 1
    with pytest.raises(ValueError, match="wrong checksum"):
        Buffer(bytes(flipped)).check()
    Buffer(data).check()
