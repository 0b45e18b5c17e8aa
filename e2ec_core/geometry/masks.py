"""Contours to masks and back.

A mask pixel (column x, row y) is the sample at its centre, the point (x, y): it is set if that
point lies inside the contour. COCO's polygons and RLE count from the corner of the top-left pixel
instead; `contours_to_rle` adds the half pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2ec_core.geometry.polygon import Polygon, as_polygon, clip_polygon, orient, signed_area

_UPSAMPLING = 2


def contour_to_mask(contour: ArrayLike, height: int, width: int) -> NDArray[np.uint8]:
    """Fills a closed contour by the even-odd rule, exact to the sub-pixel.

    `cv2.fillPoly` also sets every pixel the outline touches, half a pixel too many all around;
    hence this scan over the edges' crossings with the pixel rows.

    Args:
        contour: points (x, y) in image px, [P, 2]; may leave the image.
        height: rows of the mask, px.
        width: columns of the mask, px.

    Returns:
        uint8 [height, width] of 0 and 1.
    """
    mask = np.zeros((height, width), np.uint8)
    rows, columns, inside = _filled_part(contour, height, width)
    mask[rows, columns] = inside
    return mask


def contours_to_masks(contours: Iterable[ArrayLike], height: int, width: int) -> NDArray[np.bool_]:
    """Masks of several contours, bool [K, height, width]; each as `contour_to_mask` makes it."""
    parts = [_filled_part(contour, height, width) for contour in contours]
    masks = np.zeros((len(parts), height, width), np.bool_)
    for mask, (rows, columns, inside) in zip(masks, parts, strict=True):
        mask[rows, columns] = inside
    return masks


def paint_contours(
    image: NDArray[np.integer], contours: Sequence[ArrayLike], values: Sequence[int]
) -> None:
    """Writes a value into every pixel inside each contour, the first contour in front.

    Args:
        image: [H, W], changed in place.
        contours: points (x, y) in image px, [P, 2] each.
        values: one for each contour.
    """
    for contour, value in reversed(list(zip(contours, values, strict=True))):
        rows, columns, inside = _filled_part(contour, *image.shape)
        image[rows, columns][inside] = value


def _filled_part(
    contour: ArrayLike, height: int, width: int
) -> tuple[slice, slice, NDArray[np.bool_]]:
    """The smallest part of a contour's mask that holds all its pixels: rows, columns, bool."""
    x, row = _row_crossings(as_polygon(contour), height)
    if not len(x):
        return slice(0), slice(0), np.zeros((0, 0), np.bool_)
    column = np.clip(np.ceil(x), 0, width).astype(np.int64)
    top, bottom, left, right = row.min(), row.max() + 1, column.min(), column.max()
    shape = bottom - top, right - left
    # Row by row, pixels outside and inside take turns at the crossings, of which a row has an
    # even number.
    turns = np.sort((row - top) * shape[1] + column - left)
    lengths = np.diff(turns, prepend=0, append=shape[0] * shape[1])
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(shape)
    return slice(top, bottom), slice(left, right), inside


def _row_crossings(points: Polygon, height: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Where edges cross the rows y = 0..height-1: x positions and row numbers."""
    start, end = points, np.roll(points, -1, axis=0)
    upper = np.where((start[:, 1] <= end[:, 1])[:, None], start, end)
    lower = np.where((start[:, 1] <= end[:, 1])[:, None], end, start)
    # Rows from ceil(y_upper) up to, not including, ceil(y_lower): a shared vertex counts once.
    first = np.clip(np.ceil(upper[:, 1]), 0, height).astype(np.int64)
    count = np.clip(np.ceil(lower[:, 1]), 0, height).astype(np.int64) - first
    edge = np.repeat(np.arange(len(points)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    span = lower - upper
    slope = span[:, 0] / np.where(count > 0, span[:, 1], 1.0)
    return upper[edge, 0] + (row - upper[edge, 1]) * slope[edge], row


def mask_to_polygons(mask: ArrayLike, min_area: float = 0.0) -> list[Polygon]:
    """Outlines of a mask's connected parts, largest first; holes are filled.

    The outline runs a quarter pixel outside the outermost pixel centres, so that
    `contour_to_mask` gives back exactly the same (hole-free) part.

    Args:
        mask: [H, W]; non-zero is inside.
        min_area: smaller outlines (px^2) are left out.

    Returns:
        Polygons (x, y) in image px, counter-clockwise on the screen.
    """
    import cv2

    image = np.ascontiguousarray(np.asarray(mask) != 0).astype(np.uint8)
    if image.ndim != 2:
        raise ValueError(f"a mask must have shape [H, W], received {image.shape}")
    fine = image.repeat(_UPSAMPLING, axis=0).repeat(_UPSAMPLING, axis=1)
    outlines = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    shift = (_UPSAMPLING - 1) / 2
    polygons = [
        (np.asarray(outline, dtype=np.float64).reshape(-1, 2) - shift) / _UPSAMPLING
        for outline in outlines
    ]
    return _largest_first(polygons, min_area)


def _largest_first(polygons: list[Polygon], min_area: float) -> list[Polygon]:
    areas = [abs(signed_area(polygon)) for polygon in polygons]
    order = sorted(range(len(polygons)), key=lambda i: -areas[i])
    return [orient(polygons[i]) for i in order if areas[i] > 0 and areas[i] >= min_area]


def contours_to_rle(contours: ArrayLike, height: int, width: int) -> list[dict[str, Any]]:
    """Encodes contours as COCO run-length masks, one each.

    Args:
        contours: [K, N, 2] points (x, y) in image px, (0, 0) the centre of the top-left pixel.
        height: rows of the image, px.
        width: columns of the image, px.

    Returns:
        K COCO RLE dicts (`size` = [height, width], `counts` bytes).

    Raises:
        ImportError: pycocotools is not installed.
    """
    from pycocotools import mask as coco_mask

    # Half a pixel from pixel centres to COCO's pixel corners.
    corner_based = np.asarray(contours, dtype=np.float64) + 0.5
    flat = [clip_far(contour, height, width).reshape(-1).tolist() for contour in corner_based]
    return cast("list[dict[str, Any]]", coco_mask.frPyObjects(flat, height, width)) if flat else []


def clip_far(polygon: Polygon, height: int, width: int) -> Polygon:
    """Cuts a polygon that reaches farther than an image's own size beyond its border.

    pycocotools walks along the edges in memory and crashes where they are too long. What lies in
    the image stays as it is; the polygon of which nothing does becomes a triangle without area.

    Args:
        polygon: [P, 2], px with edges at the integers.
        height: rows of the image, px.
        width: columns of the image, px.

    Raises:
        ValueError: the image has more pixels than pycocotools can count.
    """
    if height * width >= 2**31:
        raise ValueError(f"an image of {width} x {height} px is too large for a mask")
    size = np.array([width, height], np.float64)
    if (polygon >= -size).all() and (polygon <= 2 * size).all():
        return polygon
    middle = clip_polygon(np.nan_to_num(polygon) + size, 3 * width + 1, 3 * height + 1) - size
    return middle if len(middle) >= 3 else np.zeros((3, 2))
