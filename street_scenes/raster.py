"""Painting a mesh into a small supersampled picture of its own."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from street_scenes.camera import Camera
from street_scenes.light import Light, shade
from street_scenes.mesh import OPENING_LAYER, Mesh, face_normals

NEAR_M = 0.3
SUBPIXEL_BITS = 4


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A painted object, cut to the part of the image it can touch, premultiplied by alpha.

    Attributes:
        left: Image column of the patch's first column, px.
        top: Image row of the patch's first row, px.
        scale: Samples per image pixel along each axis.
        rgba: uint8 `[h * scale, w * scale, 4]`, 0 where nothing was painted.
        openings: uint8 `[h * scale, w * scale]`, 255 where one sees through the object but
            which counts as part of it (`mesh.OPENING_LAYER`); None for solid objects.
    """

    left: int
    top: int
    scale: int
    rgba: NDArray[np.uint8]
    openings: NDArray[np.uint8] | None = None

    @property
    def window(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom (exclusive), image px."""
        rows, columns = (size // self.scale for size in self.rgba.shape[:2])
        return self.left, self.top, self.left + columns, self.top + rows


def paint_mesh(mesh: Mesh, camera: Camera, light: Light, *, side: int = 0) -> Patch | None:
    """Paint a mesh given in world coordinates, farthest face first.

    Args:
        mesh: The object.
        camera: The camera.
        light: The weather.
        side: 1 or -1 when the camera stands to the left or right of the object, 0 when it
            stands before or behind it.

    Returns:
        The patch, or None when nothing of the mesh is in the image.
    """
    pixels, depth = camera.project(mesh.vertices)
    corners = pixels[mesh.faces]
    shown = _shown_faces(mesh, side, corners, depth)
    if len(shown) == 0:
        return None
    window = _window(corners[shown], camera)
    if window is None:
        return None
    left, top, right, bottom = window
    scale = _supersampling(right - left, bottom - top)
    order = shown[np.lexsort((-depth[mesh.faces[shown]].mean(1), mesh.layers[shown]))]
    colors = _face_colors(mesh, order, camera, light, float(depth[mesh.faces[order]].mean()))
    rgba = np.zeros(((bottom - top) * scale, (right - left) * scale, 4), np.uint8)
    # Pixel centres are integers, so sample i of a pixel lies at (i + 0.5) / scale - 0.5.
    samples = (corners[order] - (left - 0.5, top - 0.5)) * scale - 0.5
    fixed = np.round(np.clip(samples, -20000, 20000) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    first = int((mesh.layers[order] == OPENING_LAYER).sum())
    openings = np.zeros(rgba.shape[:2], np.uint8) if first else None
    if openings is not None:
        for polygon in fixed[:first]:
            cv2.fillConvexPoly(openings, polygon, 255, cv2.LINE_8, SUBPIXEL_BITS)
    for polygon, color in zip(fixed[first:], colors[first:].tolist(), strict=True):
        cv2.fillConvexPoly(rgba, polygon, color, cv2.LINE_8, SUBPIXEL_BITS)
    return Patch(left=left, top=top, scale=scale, rgba=rgba, openings=openings)


def _shown_faces(
    mesh: Mesh, side: int, corners: NDArray[np.float64], depth: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Indices of the faces that look at the camera and lie in front of it."""
    first, second = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    # With y down, a face that is counter-clockwise from outside has a negative cross product.
    looking = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0
    ahead = depth[mesh.faces].min(1) > NEAR_M
    reachable = (mesh.sides == 0) | (mesh.sides == side)
    return np.flatnonzero(looking & ahead & reachable)


def _window(corners: NDArray[np.float64], camera: Camera) -> tuple[int, int, int, int] | None:
    """Part of the image that the corners reach: left, top, right, bottom (exclusive)."""
    low = np.floor(corners.min((0, 1))) - 1
    high = np.ceil(corners.max((0, 1))) + 2
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    right, bottom = min(int(high[0]), camera.width), min(int(high[1]), camera.height)
    return (left, top, right, bottom) if right > left and bottom > top else None


def _supersampling(width: int, height: int) -> int:
    extent = max(width, height)
    return 4 if extent < 120 else 3 if extent < 260 else 2


def _face_colors(
    mesh: Mesh, faces: NDArray[np.int64], camera: Camera, light: Light, distance: float
) -> NDArray[np.uint8]:
    corners = mesh.vertices[mesh.faces[faces]]
    normals = face_normals(corners)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    centers = corners.mean(1)
    views = np.asarray(camera.position) - centers
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    shaded = shade(
        light, mesh.colors[faces], mesh.gloss[faces], normals, views, centers[:, 2], distance
    )
    opaque = np.full((len(faces), 1), 255.0)
    return np.concatenate([shaded * 255, opaque], 1).astype(np.uint8)


def blend(canvas: NDArray[np.uint8], patch: Patch) -> None:
    """Composite a patch onto an image, uint8 `[H, W, 3]`, in place."""
    height, width = (size // patch.scale for size in patch.rgba.shape[:2])
    small = cv2.resize(patch.rgba, (width, height), interpolation=cv2.INTER_AREA)
    region = canvas[patch.top : patch.top + height, patch.left : patch.left + width]
    alpha = cv2.merge([small[..., 3]] * 3)
    # The patch is premultiplied: transparent samples are black.
    kept = cv2.multiply(region, cv2.bitwise_not(alpha), scale=1 / 255)
    region[:] = cv2.add(kept, cv2.cvtColor(small, cv2.COLOR_RGBA2RGB))
