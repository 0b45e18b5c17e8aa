"""From a supersampled silhouette to an outline in image pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from street_scenes.raster import Patch

TOLERANCE_SAMPLES = 0.75


@dataclass(frozen=True, kw_only=True)
class Silhouette:
    """The whole outline of an object within the image, before occlusion.

    Attributes:
        polygon: float32 `[P, 2]`, image px, counter-clockwise on the screen, the largest part.
        mask: uint8 `[h, w]` 0/1, filled outline at image resolution.
        left: Image column of the mask, px.
        top: Image row of the mask, px.
        area: Area of the polygon, px^2.
    """

    polygon: NDArray[np.float32]
    mask: NDArray[np.uint8]
    left: int
    top: int
    area: float


def trace(patch: Patch) -> Silhouette | None:
    """Outline of a painted object; None when it covers less than about two pixels.

    Holes (between spokes, under an arm on a hip) belong to the object. An object that the image
    border cuts into several parts keeps its largest.
    """
    samples = cv2.extractChannel(patch.rgba, 3)
    if patch.openings is not None:
        samples = cv2.max(samples, patch.openings)
    found, _ = cv2.findContours(samples, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    chain = max(found, key=len, default=None)
    if chain is None or len(chain) < 8:
        return None
    border = _outer_edge(chain[:, 0].astype(np.float64), samples.shape).astype(np.float32)
    edge = cv2.approxPolyDP(border[:, None], TOLERANCE_SAMPLES, True)[:, 0]
    polygon = (edge + 0.5) / patch.scale - 0.5 + np.array([patch.left, patch.top])
    area = signed_area(polygon)
    if abs(area) < 2 or len(polygon) < 3:
        return None
    polygon = polygon if area < 0 else polygon[::-1]
    filled = np.zeros_like(samples)
    cv2.drawContours(filled, [chain], 0, 255, cv2.FILLED)
    height, width = (size // patch.scale for size in samples.shape)
    coverage = cv2.resize(filled, (width, height), interpolation=cv2.INTER_AREA)
    return Silhouette(
        polygon=np.ascontiguousarray(polygon, np.float32),
        mask=(coverage > 127).astype(np.uint8),
        left=patch.left,
        top=patch.top,
        area=abs(area),
    )


def _outer_edge(chain: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Move a chain through the centres of border samples out to the border of these samples.

    The chain of `findContours` lies half a sample inside the silhouette; without this step
    small objects would shrink by a visible share.
    """
    tangent = np.roll(chain, -1, 0) - np.roll(chain, 1, 0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    outward = normal if signed_area(chain) > 0 else -normal
    edge: NDArray[np.float64] = chain + 0.5 * outward
    return np.clip(edge, -0.5, np.array([shape[1], shape[0]]) - 0.5)


def signed_area(polygon: NDArray[np.float64] | NDArray[np.float32]) -> float:
    """Shoelace sum of `[P, 2]` points; negative when counter-clockwise on the screen (y down)."""
    following = np.roll(polygon, -1, 0)
    cross = polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]
    return float(cross.sum() / 2)
