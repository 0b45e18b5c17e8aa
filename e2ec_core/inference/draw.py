"""Contours drawn over their image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.colors import class_color
from e2ec_core.contours import HARDLY_HIDDEN, Contours

_DASH = 3
"""Length of a dash over the width of the line."""
_SHIFT = 4


def draw_contours(
    image_rgb: NDArray[np.uint8],
    contours: Contours,
    class_names: Sequence[str],
    *,
    line_width: int = 2,
    fill: float = 0.25,
    labels: bool = True,
) -> NDArray[np.uint8]:
    """Draws contours, the weakest first, over a copy of the image.

    Amodal contours are dashed, where an object is hidden by `HARDLY_HIDDEN` or more.

    Args:
        image_rgb: uint8 [H, W, 3].
        contours: in px of this image.
        class_names: names by class id.
        line_width: px.
        fill: opacity of the insides, 0 to 1.
        labels: write class, track and score at the top of each contour.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    drawn = image_rgb.copy()
    order = range(len(contours) - 1, -1, -1)
    rings = [_fixed_point(ring) for ring in contours.vertices]
    colors = [class_color(int(class_id)) for class_id in contours.class_ids]
    if fill > 0 and len(contours):
        filled = drawn.copy()
        for i in order:
            cv2.fillPoly(filled, [rings[i]], colors[i], cv2.LINE_AA, _SHIFT)
        drawn = np.asarray(cv2.addWeighted(filled, fill, drawn, 1 - fill, 0), np.uint8)
    for i in order:
        cv2.polylines(drawn, [rings[i]], True, colors[i], line_width, cv2.LINE_AA, _SHIFT)
    for i in _hidden(contours):
        assert contours.amodal_vertices is not None
        for dash in dashes(contours.amodal_vertices[i], _DASH * line_width):
            line = [_fixed_point(dash)]
            cv2.polylines(drawn, line, False, colors[i], line_width, cv2.LINE_AA, _SHIFT)
    if labels:
        for i in order:
            top = contours.vertices[i][contours.vertices[i, :, 1].argmin()]
            _write(drawn, contours.label(i, class_names), top, colors[i])
    return drawn


def _hidden(contours: Contours) -> list[int]:
    if contours.hidden is None:
        return []
    return np.flatnonzero(contours.hidden >= HARDLY_HIDDEN).tolist()


def dashes(ring: NDArray[np.float32], length: float) -> list[NDArray[np.float32]]:
    """Every other piece of a closed contour [N, 2], cut into pieces of about `length` px.

    Returns:
        polylines, each [P, 2].
    """
    closed = np.concatenate([ring, ring[:1]])
    along = np.concatenate([[0.0], np.hypot(*np.diff(closed, axis=0).T).cumsum()])
    pieces = max(2, 2 * round(along[-1] / (2 * length)))
    ends = np.linspace(0.0, along[-1], pieces + 1)
    result = []
    for start, end in zip(ends[:-1:2], ends[1::2], strict=True):
        at = [start, *along[(along > start) & (along < end)], end]
        piece = np.stack([np.interp(at, along, closed[:, axis]) for axis in range(2)], axis=1)
        result.append(piece.astype(np.float32))
    return result


def _fixed_point(ring: NDArray[np.float32]) -> NDArray[np.int32]:
    limit = np.float32(2**26)
    return np.asarray(np.round(ring * 2**_SHIFT).clip(-limit, limit), np.int32)


def _write(
    image: NDArray[np.uint8],
    text: str,
    at: NDArray[np.float32],
    color: tuple[int, int, int],
) -> None:
    scale = max(0.35, min(image.shape[:2]) / 1200)
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    left = int(np.clip(at[0] - width / 2, 0, max(0, image.shape[1] - width)))
    bottom = int(np.clip(at[1] - 3, height + base, image.shape[0] - 1))
    corner, opposite = (left - 1, bottom - height - base), (left + width + 1, bottom + 2)
    cv2.rectangle(image, corner, opposite, (0, 0, 0), cv2.FILLED)
    origin = (left, bottom - base // 2)
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
