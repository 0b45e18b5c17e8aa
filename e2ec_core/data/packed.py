"""Labelled images in one buffer, which processes share."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data.labelled import Instance, LabelledImage, Truth
from e2ec_core.geometry import Polygon
from e2ec_core.value_range import FULL, ValueRange

Arrays = Mapping[str, NDArray[Any]]
_MAGIC = b"e2ec labels 2\n\0\0"
_ALIGNED = 64


class Buffer:
    """Named arrays in one piece of memory, or in a file that is mapped into it.

    A copy in another process maps the same file, so that it costs no memory of its own.

    Args:
        data: the arrays as `pack_arrays` lays them out.
        path: the file that holds them; None for memory alone.

    Raises:
        ValueError: the data is no such buffer or is damaged.
    """

    def __init__(self, data: bytes | mmap.mmap, path: Path | None = None) -> None:
        self._data, self.path = data, path
        try:
            if data[: len(_MAGIC)] != _MAGIC:
                raise ValueError("another format")
            length, self.checksum = struct.unpack_from("<QI", data, len(_MAGIC))
            start = len(_MAGIC) + 12
            header = json.loads(data[start : start + length])
            self.arrays: dict[str, NDArray[Any]] = {
                name: np.frombuffer(
                    data, np.dtype(kind), math.prod(shape), header["start"] + offset
                ).reshape(shape)
                for name, (kind, shape, offset) in header["arrays"].items()
            }
            self.notes: dict[str, Any] = header["notes"]
            self._start = int(header["start"])
        except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"damaged labels: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            return _reopen, (self.path, self.checksum)
        return Buffer, (bytes(self._data),)

    def check(self) -> None:
        """Raises ValueError if the content has changed since it was written."""
        if zlib.crc32(memoryview(self._data)[self._start :]) != self.checksum:
            raise ValueError("damaged labels: wrong checksum")


def open_buffer(path: Path) -> Buffer:
    """Maps a file that holds a buffer.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is empty, damaged or of another version.
    """
    with path.open("rb") as file:
        return Buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), path)


def _reopen(path: Path, checksum: int) -> Buffer:
    buffer = open_buffer(path)
    if buffer.checksum != checksum:
        raise ValueError(f"{str(path)!r} was replaced while it was used; start again")
    return buffer


def pack_arrays(arrays: Arrays, notes: Mapping[str, Any]) -> bytes:
    """Lays arrays out one behind the other, with a header that tells where they are."""
    places, offset, checksum = {}, 0, 0
    pieces: list[Any] = []
    for name, array in arrays.items():
        places[name] = (array.dtype.str, array.shape, offset)
        padding = bytes(-array.nbytes % _ALIGNED)
        offset += array.nbytes + len(padding)
        for piece in (np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, padding):
            checksum = zlib.crc32(piece, checksum)
            pieces.append(piece)

    def header(start: int) -> bytes:
        return json.dumps({"arrays": places, "notes": notes, "start": start}).encode()

    # The header tells its own end, which has at most 24 digits.
    start = len(_MAGIC) + 12 + len(header(0)) + 24
    start += -start % _ALIGNED
    text = header(start)
    head = _MAGIC + struct.pack("<QI", len(text), checksum) + text
    return b"".join([head.ljust(start, b"\0"), *pieces])


class PackedImages(Sequence[LabelledImage]):
    """Labelled images that are unpacked when they are asked for.

    Args:
        buffer: as `pack_images` makes it.
        chosen: numbers of the images in the buffer; default all.
        values: which values of images with 16 bits become black and white.
    """

    def __init__(
        self,
        buffer: Buffer,
        chosen: NDArray[np.int64] | None = None,
        values: ValueRange = FULL,
    ) -> None:
        self.buffer, self.values = buffer, values
        self._all = buffer.arrays
        self.chosen = np.arange(len(self._all["image_id"])) if chosen is None else chosen

    def __reduce__(self) -> tuple[Any, ...]:
        everything = len(self.chosen) == len(self._all["image_id"])
        return PackedImages, (self.buffer, None if everything else self.chosen, self.values)

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, index: slice) -> PackedImages: ...
    def __getitem__(self, index: int | slice) -> LabelledImage | PackedImages:
        if isinstance(index, slice):
            return PackedImages(self.buffer, self.chosen[index], self.values)
        number, values = int(self.chosen[index]), self._all
        first, behind = values["instances"][number : number + 2].tolist()
        return LabelledImage(
            image_id=int(values["image_id"][number]),
            path=Path(_text(values, "path", number)),
            height=int(values["size"][number, 0]),
            width=int(values["size"][number, 1]),
            instances=tuple(self._instance(i) for i in range(first, behind)),
            name=_text(values, "name", number),
            upright=bool(values["upright"][number]),
            position=int(values["position"][number]),
            values=self.values,
        )

    def __iter__(self) -> Iterator[LabelledImage]:
        return (self[i] for i in range(len(self)))

    def _instance(self, number: int) -> Instance:
        values = self._all
        area, bbox = float(values["area"][number]), values["bbox"][number].tolist()
        given = _text(values, "given", number)
        return Instance(
            class_id=int(values["class_id"][number]),
            parts=_polygons(values, "", number),
            crowd=bool(values["crowd"][number]),
            whole=_polygons(values, "whole_", number) or None,
            truth=Truth(
                segmentation=json.loads(given) if given else None,
                area=None if math.isnan(area) else area,
                bbox=None if math.isnan(bbox[0]) else tuple(bbox),
            ),
        )

    def hold_out(self, every: int, *, held_out: bool) -> PackedImages:
        """Every n-th image by its position in the label file, or all others."""
        positions = self._all["position"][self.chosen]
        wanted = self.chosen[(positions % every == 0) == held_out]
        return PackedImages(self.buffer, wanted, self.values)

    def target_classes(self) -> list[int]:
        """Classes that have objects other than crowds."""
        owner = np.repeat(np.arange(len(self._all["image_id"])), np.diff(self._all["instances"]))
        wanted = np.isin(owner, self.chosen) & (self._all["crowd"] == 0)
        return np.unique(self._all["class_id"][wanted]).tolist()

    def digest(self) -> str:
        """Digest of names, sizes and labels, wherever the files lie."""
        digest = hashlib.blake2b(self.chosen.tobytes(), digest_size=16)
        polygons = [
            f"{kind}{n}" for kind in ("", "whole_") for n in ("parts", "vertices", "points")
        ]
        for name in ("size", "instances", "class_id", "crowd", *polygons):
            digest.update(self._all[name].data)
        digest.update(self._all["name"].data)
        return digest.hexdigest()


def pack_images(
    images: Sequence[LabelledImage],
    more: Arrays | None = None,
    notes: Mapping[str, Any] | None = None,
) -> bytes:
    """Lays labelled images out in one buffer.

    Args:
        images: to be packed.
        more: other arrays to lay beside them.
        notes: what JSON can hold, to be kept with them.
    """
    objects = [instance for image in images for instance in image.instances]
    truths = [instance.truth for instance in objects]
    given = ("" if t.segmentation is None else json.dumps(t.segmentation) for t in truths)
    nothing = (math.nan,) * 4
    arrays: dict[str, NDArray[Any]] = {
        "image_id": np.array([i.image_id for i in images], np.int64),
        "size": np.array([(i.height, i.width) for i in images], np.int32).reshape(-1, 2),
        "upright": np.array([i.upright for i in images], np.uint8),
        "position": np.array([i.position for i in images], np.int64),
        "instances": _ends([len(i.instances) for i in images]),
        "class_id": np.array([o.class_id for o in objects], np.int32),
        "crowd": np.array([o.crowd for o in objects], np.uint8),
        "area": np.array([math.nan if t.area is None else t.area for t in truths], np.float64),
        "bbox": np.array([t.bbox or nothing for t in truths], np.float64).reshape(-1, 4),
        **_pack_polygons("", [o.parts for o in objects]),
        **_pack_polygons("whole_", [o.whole or () for o in objects]),
        **pack_texts("name", [i.name for i in images]),
        **pack_texts("path", [str(i.path) for i in images]),
        **pack_texts("given", list(given)),
        **(more or {}),
    }
    return pack_arrays(arrays, notes or {})


def _ends(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Where each of consecutive pieces begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))]).astype(np.int64)


def _pack_polygons(kind: str, polygons: Sequence[tuple[Polygon, ...]]) -> dict[str, NDArray[Any]]:
    """The polygons of every object: their points, and where those of each and of objects begin."""
    parts = [part for own in polygons for part in own]
    points = np.concatenate(parts) if parts else np.zeros((0, 2))
    return {
        f"{kind}parts": _ends([len(own) for own in polygons]),
        f"{kind}vertices": _ends([len(part) for part in parts]),
        f"{kind}points": points.astype(np.float64, copy=False),
    }


def _polygons(arrays: Arrays, kind: str, number: int) -> tuple[Polygon, ...]:
    first, behind = arrays[f"{kind}parts"][number : number + 2].tolist()
    ends = arrays[f"{kind}vertices"][first : behind + 1].tolist()
    return tuple(arrays[f"{kind}points"][a:b] for a, b in pairwise(ends))


def pack_texts(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Texts as two arrays: their bytes, and where each begins."""
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    joined = np.frombuffer(b"".join(encoded), np.uint8)
    return {name: joined, f"{name}_ends": _ends([len(e) for e in encoded])}


def _text(arrays: Arrays, name: str, number: int) -> str:
    first, behind = arrays[f"{name}_ends"][number : number + 2].tolist()
    return arrays[name][first:behind].tobytes().decode("utf-8", "surrogateescape")


def unpack_texts(arrays: Arrays, name: str) -> list[str]:
    """All texts of a name."""
    return [_text(arrays, name, i) for i in range(len(arrays[f"{name}_ends"]) - 1)]
