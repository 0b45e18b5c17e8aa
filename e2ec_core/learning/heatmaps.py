"""Ground-truth heatmaps of object centres: a Gaussian for every instance."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def gaussian_radius(height: float, width: float, min_overlap: float = 0.7) -> float:
    """Radius within which a shifted box still overlaps its original by `min_overlap` IoU.

    CornerNet's historical formula, whose first two roots are not the exact ones (that would divide
    by 2a); published models are trained with it. `height` and `width` in heatmap cells, as the
    result.

    Raises:
        ValueError: a side is not positive or min_overlap is outside (0, 1).
    """
    if height <= 0 or width <= 0 or not 0 < min_overlap < 1:
        raise ValueError(
            "height and width must be positive and min_overlap within (0, 1), "
            f"received {height}, {width}, {min_overlap}"
        )
    total, area = height + width, height * width
    shifted = _root(1.0, total, area * (1 - min_overlap) / (1 + min_overlap))
    inside = _root(4.0, 2 * total, area * (1 - min_overlap))
    around = _root(4 * min_overlap, -2 * min_overlap * total, area * (min_overlap - 1))
    return min(shifted, inside, around)


def _root(a: float, b: float, c: float) -> float:
    return (b + math.sqrt(b * b - 4 * a * c)) / 2


def draw_gaussian(
    heatmap: NDArray[np.float32], cell: tuple[int, int], radius: int
) -> NDArray[np.float32]:
    """Raises one class's heatmap, in place, to a Gaussian that is exactly 1 at a cell.

    Args:
        heatmap: float32 [h, w]; overlapping Gaussians keep the larger value.
        cell: (x, y) of the centre, inside the map.
        radius: cells around the centre that are touched; the standard deviation is
            (2 radius + 1) / 6.

    Returns:
        The same array.

    Raises:
        ValueError: the cell is outside the map or the radius negative.
    """
    (x, y), (height, width) = cell, heatmap.shape
    if not (0 <= x < width and 0 <= y < height) or radius < 0:
        raise ValueError(
            f"cell must be inside the {width} x {height} map and radius at least 0, "
            f"received {cell}, {radius}"
        )
    left, right = min(x, radius), min(width - x, radius + 1)
    top, bottom = min(y, radius), min(height - y, radius + 1)
    region = heatmap[y - top : y + bottom, x - left : x + right]
    patch = _gaussian(radius)[radius - top : radius + bottom, radius - left : radius + right]
    np.maximum(region, patch, out=region)
    return heatmap


@lru_cache(maxsize=256)
def _gaussian(radius: int) -> NDArray[np.float32]:
    sigma = (2 * radius + 1) / 6
    offset = np.arange(-radius, radius + 1, dtype=np.float64)
    squared = offset[:, None] ** 2 + offset[None, :] ** 2
    patch: NDArray[np.float32] = np.exp(-squared / (2 * sigma * sigma)).astype(np.float32)
    patch.flags.writeable = False  # shared by every caller through the cache
    return patch
