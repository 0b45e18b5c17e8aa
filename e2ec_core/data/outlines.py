"""Usable outlines from the polygons and masks of annotation files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data import problems as defects
from e2ec_core.data.problems import Problems
from e2ec_core.geometry import (
    Polygon,
    clean_polygon,
    clip_polygon,
    mask_to_polygons,
    signed_area,
)

MOST_CROSSINGS = 1000
"""Of one polygon, beyond which it is no outline (and its repair takes minutes)."""
LEAST_AREA = 1e-3
"""Square px below which an outline counts as having no area."""
FARTHEST = 1e6
"""Px from the image's corner beyond which a coordinate is a mistake (and products overflow)."""
_BLOCK = 512


UNITS: Mapping[str, float] = MappingProxyType({defects.SHARES: 1.0, defects.PERCENT: 100.0})
"""What the width and the height of an image count in units other than px, by name."""


def read_parts(
    segmentation: Any,
    size: tuple[int, int],
    problems: Problems,
    place: str,
    repair: str | None = None,
) -> tuple[Polygon, ...]:
    """Reads the outlines of COCO's `segmentation`, polygons or run lengths.

    Args:
        segmentation: lists of x0, y0, x1, y1, ... or of pairs, a single such list, or a run-length
            dict.
        size: (height, width) of the image, px.
        problems: where defects are counted.
        place: what to call the annotation there.
        repair: `SHARES` or `PERCENT`, for polygons in such a unit; `EXCHANGED`, for polygons that
            give y first, or run lengths row by row.

    Returns:
        Polygons as `sound_outlines` gives them.
    """
    if not segmentation:
        problems.note(defects.NO_SEGMENTATION, place)
        return ()
    if repair and isinstance(segmentation, (dict, list)):
        problems.note(repair, place)
    if isinstance(segmentation, dict):
        by_rows = repair == defects.EXCHANGED
        mask = decode_run_lengths(segmentation, size, problems, place, by_rows=by_rows)
        outlines = [] if mask is None else mask_outlines(mask)
        if mask is not None and not outlines:
            problems.note(defects.EMPTY_MASK, place)
        return tuple(outlines)
    if not isinstance(segmentation, list):
        problems.note(defects.NO_NUMBERS, place)
        return ()
    found: list[Polygon] = []
    for flat in as_polygons(segmentation):
        points = as_points(flat) if repair else None
        if points is not None and repair == defects.EXCHANGED:
            flat = points[:, ::-1]
        elif points is not None and repair:
            unit = UNITS[repair]
            if np.abs(points - unit / 2).max() > 1.5 * unit:
                problems.note(defects.OTHER_UNIT, place)
                continue
            flat = points * (size[1] / unit, size[0] / unit)
        found += sound_outlines(flat, size, problems, place)
    return tuple(found)


def as_polygons(segmentation: Sequence[Any]) -> Sequence[Any]:
    """Wraps a single polygon, of numbers or of pairs, that was not put into a list."""
    return [segmentation] if segmentation and _is_polygon(segmentation) else segmentation


def _is_polygon(values: Sequence[Any]) -> bool:
    if isinstance(values[0], (int, float)):
        return True
    if isinstance(values[0], str):
        return all(isinstance(value, (str, int, float)) for value in values)
    return all(
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and not isinstance(pair[0], (list, tuple))
        for pair in values
    )


def as_points(flat: Any) -> Polygon | None:
    """Vertices [P, 2] of a polygon of a label file; None where it is no usable list."""
    try:
        values = np.ravel(np.asarray(flat, np.float64))
    except (ValueError, TypeError):
        return None
    sound = values.size >= 6 and values.size % 2 == 0 and bool((np.abs(values) <= FARTHEST).all())
    return values.reshape(-1, 2) if sound else None


def sound_outlines(
    flat: Any, size: tuple[int, int], problems: Problems, place: str
) -> list[Polygon]:
    """Checks one polygon of an annotation file and repairs what can be repaired.

    Repeated vertices are dropped; a polygon that crosses itself becomes the simple polygons that
    COCO's even-odd rule fills. One that reaches outside the image is kept as it is: views cut it.

    Args:
        flat: COCO's x0, y0, x1, y1, ..., px with edges at the integers.
        size: (height, width) of the image, px.
        problems: where defects are counted.
        place: what to call this polygon there.

    Returns:
        No, one or (after repair) several polygons [P, 2].
    """
    try:
        values = np.asarray(flat, np.float64).reshape(-1)
    except (ValueError, TypeError):
        problems.note(defects.NO_NUMBERS, place)
        return []
    if values.size < 6 or values.size % 2:
        problems.note(defects.FEW_POINTS, place)
        return []
    if not np.isfinite(values).all():
        problems.note(defects.NOT_FINITE, place)
        return []
    if np.abs(values).max() > FARTHEST:
        problems.note(defects.TOO_FAR, place)
        return []
    points = _without_repeats(values.reshape(-1, 2), problems, place)
    if len(points) < 3:
        problems.note(defects.FEW_POINTS, place)
        return []
    pieces = [points]
    crossings = count_crossings(points)
    if crossings > MOST_CROSSINGS:
        problems.note(defects.TANGLED, place)
        return []
    if crossings:
        problems.note(defects.CROSSING, place)
        pieces = untangle(points)
    if not pieces or max(abs(signed_area(p)) for p in pieces) < LEAST_AREA:
        problems.note(defects.NO_AREA, place)
        return []
    if min(size) > 1 and values.min() >= 0 and values.max() <= 1:
        problems.note(defects.TINY, place)
        return []
    return _inside(pieces, size, problems, place)


def _without_repeats(points: Polygon, problems: Problems, place: str) -> Polygon:
    """Drops repeated neighbours; a last vertex that closes the ring is custom, no defect."""
    cleaned = clean_polygon(points)
    closing = len(points) > 1 and bool((points[0] == points[-1]).all())
    if len(cleaned) < len(points) - closing:
        problems.note(defects.REPEATED, place)
    return cleaned


def _inside(
    pieces: list[Polygon], size: tuple[int, int], problems: Problems, place: str
) -> list[Polygon]:
    """Pieces of which something lies in the image."""
    limit = np.array([size[1], size[0]], np.float64)
    points = np.concatenate(pieces)
    beyond = max(float(-points.min()), float((points - limit).max()))
    if beyond <= 1.0:  # rounding in the file
        return pieces
    inside = [
        piece
        for piece in pieces
        if abs(signed_area(clip_polygon(piece, size[1] + 1, size[0] + 1))) >= LEAST_AREA
    ]
    problems.note(defects.LEAVING if inside else defects.OUTSIDE, place)
    return inside


def count_crossings(points: Polygon) -> int:
    """Counts edges that cross properly; touching vertices and shared lines do not count.

    Args:
        points: [P, 2], closed implicitly.
    """
    following, ordered = np.concatenate([points[1:], points[:1]]), 0
    edges = following - points
    for start in range(0, len(points), _BLOCK):  # bounds the memory of outlines of masks
        rows = slice(start, start + _BLOCK)
        gap = points[None] - points[rows, None]
        ahead = _cross(edges[rows, None], gap)
        straddles = ahead * np.concatenate([ahead[:, 1:], ahead[:, :1]], axis=1) < 0
        if not straddles.any():
            continue
        back = _cross(edges[None], -gap)
        ends = _cross(edges[None], following[rows, None] - points[None])
        ordered += int((straddles & (back * ends < 0)).sum())
    return ordered // 2


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return product


def untangle(points: Polygon) -> list[Polygon]:
    """The simple polygons that the even-odd rule fills, largest first; holes are filled.

    Raises:
        ImportError: shapely is not installed.
    """
    try:
        import shapely
    except ImportError as error:
        raise ImportError(
            "polygons that cross themselves are repaired with shapely: pip install shapely"
        ) from error
    # A repaired polygon may be a collection of polygons in collections, and stray lines.
    shapes = shapely.get_parts(shapely.get_parts(shapely.make_valid(shapely.Polygon(points))))
    rings = [
        np.asarray(shape.exterior.coords, np.float64)[:-1]
        for shape in shapes
        if shape.geom_type == "Polygon"
    ]
    rings.sort(key=lambda ring: -abs(signed_area(ring)))
    return [ring for ring in rings if abs(signed_area(ring)) >= LEAST_AREA]


def mask_outlines(mask: NDArray[Any], min_area: float = 0.0) -> list[Polygon]:
    """Outlines of a mask's connected parts in px with edges at the integers, largest first.

    Args:
        mask: [H, W]; non-zero is inside. Only the box around it is traced.
        min_area: smaller outlines (px^2) are left out.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    window = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    corner = np.array([columns[0], rows[0]], np.float64)
    return [outline + corner + 0.5 for outline in mask_to_polygons(window, min_area)]


def decode_run_lengths(
    rle: dict[str, Any],
    size: tuple[int, int],
    problems: Problems,
    place: str,
    *,
    by_rows: bool = False,
) -> NDArray[np.uint8] | None:
    """Mask uint8 [H, W] of run lengths; None, and a note, if they do not fit.

    COCO's run column by column, others `by_rows`. Not by pycocotools: where runs end early, it
    gives out memory as it finds it.
    """
    counts, given = rle.get("counts"), rle.get("size")
    fits = isinstance(given, (list, tuple)) and [*given] == [*size]
    try:
        runs = _read_runs(counts) if isinstance(counts, (str, bytes)) else np.array(counts)
        fits = fits and runs.ndim == 1 and runs.dtype.kind == "i" and bool((runs >= 0).all())
    except ValueError:
        fits = False
    if not fits or runs.sum() != size[0] * size[1]:
        problems.note(defects.BAD_MASK, place)
        return None
    # They begin with the background.
    flat = np.repeat(np.arange(len(runs), dtype=np.int64) % 2, runs).astype(np.uint8)
    return flat.reshape(size) if by_rows else flat.reshape(size[1], size[0]).T


def _read_runs(text: str | bytes) -> NDArray[np.int64]:
    """Run lengths of COCO's compressed form.

    Each is written in groups of five bits from 48 on, the lowest first; 32 says that more follow,
    and the last one's 16 is the sign. From the fourth on they are differences to the last but one.

    Raises:
        ValueError: the text is no such form.
    """
    data = text.encode("ascii") if isinstance(text, str) else text
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if not ends.size or ends[-1] != len(codes) - 1 or lengths.max() > 8 or codes.min() < 0:
        raise ValueError(f"{text!r} are no run lengths")
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 31) << (5 * places), starts)
    runs -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
