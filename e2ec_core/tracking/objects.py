"""The objects of an image as a tracker sees them: class, box and a coarse shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from e2ec_core.contours import Contours

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
R = TypeVar("R", bound="Objects")

CELLS = 8  # a shape is kept as 8 x 8 cells of its box


@dataclass(kw_only=True)
class Objects:
    """Objects, one a row.

    Attributes:
        class_ids: int64 [K].
        scores: float64 [K], the best of their contours'.
        place: float64 [K, 4]: centre x and y of the box, px, and the logarithms of its width and
            height.
        shapes: bool [K, CELLS, CELLS] (row, column), the cells of the box that are inside.
    """

    class_ids: Ints
    scores: Floats
    place: Floats
    shapes: Bools

    def take(self: R, index: Ints | Bools) -> R:
        """Some of the rows."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def join(self: R, more: R) -> R:
        """The rows and then some more."""
        names = [f.name for f in fields(self)]
        both = {n: np.concatenate([getattr(self, n), getattr(more, n)]) for n in names}
        return type(self)(**both)

    def rows(self: R) -> Iterator[R]:
        """Each row alone."""
        return (self.take(np.array([row])) for row in range(len(self.class_ids)))

    @property
    def size(self) -> Floats:
        """Width and height, px, float64 [K, 2]."""
        return np.exp(self.place[:, 2:])

    @property
    def boxes_xyxy(self) -> Floats:
        """Boxes (x_min, y_min, x_max, y_max), px, float64 [K, 4]."""
        half = self.size / 2
        return np.concatenate([self.place[:, :2] - half, self.place[:, :2] + half], axis=1)


NOTHING = Objects(
    class_ids=np.zeros(0, np.int64),
    scores=np.zeros(0),
    place=np.zeros((0, 4)),
    shapes=np.zeros((0, CELLS, CELLS), np.bool_),
)


def objects_of(contours: Contours, groups: list[Ints]) -> Objects:
    """The objects of an image; `groups` has the indices of the contours of each."""
    if not groups:
        return NOTHING
    order = np.concatenate(groups)
    first = np.cumsum([0, *map(len, groups[:-1])])  # of each object, in that order
    of_contour = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    vertices = np.moveaxis(contours.vertices[order], 2, 0)
    xy = np.ascontiguousarray(vertices)  # [2, K, N]; NumPy is slow along short last axes
    low = np.minimum.reduceat(xy.min(axis=2), first, axis=1).astype(np.float64)
    high = np.maximum.reduceat(xy.max(axis=2), first, axis=1).astype(np.float64)
    size = np.maximum(high - low, 1.0)
    scale = CELLS / size[:, of_contour, None]
    in_cells = (xy - low[:, of_contour, None]) * scale - 0.5
    return Objects(
        class_ids=contours.class_ids[order[first]],
        scores=np.maximum.reduceat(contours.scores[order].astype(np.float64), first),
        place=np.concatenate([low + size / 2, np.log(size)]).T.copy(),
        shapes=np.logical_or.reduceat(_fill(*in_cells), first),
    )


def _fill(x: Floats, y: Floats) -> Bools:
    """Which cells K contours enclose, by the even-odd rule.

    Args:
        x: [K, N], in cells; 0 is the centre of the first column.
        y: [K, N], the same for rows.

    Returns:
        [K, CELLS, CELLS] (row, column).
    """
    above = y <= np.arange(CELLS)[:, None, None]
    row, k, edge = np.nonzero(above != np.roll(above, -1, axis=2))
    x0, y0 = x[k, edge], y[k, edge]
    x1, y1 = x[k, edge - x.shape[1] + 1], y[k, edge - x.shape[1] + 1]  # the next vertex
    crossing = x0 + (row - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(np.ceil(crossing), 0, CELLS).astype(np.int64)
    flips = np.bincount(
        (k * CELLS + row) * (CELLS + 1) + column, minlength=len(x) * CELLS * (CELLS + 1)
    ).reshape(-1, CELLS, CELLS + 1)
    return np.cumsum(flips, axis=2)[..., :CELLS] % 2 == 1


def share_inside(boxes_xyxy: Floats, image_size: tuple[int, int]) -> Floats:
    """How much of each box lies in an image of (height, width) px, 0 to 1, [K]."""
    height, width = image_size
    inside = np.clip(boxes_xyxy, -0.5, np.array([width, height] * 2) - 0.5)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (inside, boxes_xyxy)]
    return areas[0] / np.maximum(areas[1], 1e-9)
