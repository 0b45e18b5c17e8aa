"""Measured points with the pixels at which a camera sees them.

Frames: the cloud's own frame is that of the lidar; the camera frame is the optical one (x right,
y down, z forward). Lengths are in m. Pixels (x, y) have (0, 0) at the centre of the top-left
pixel; a projection matrix is that of the rectified image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

NEAREST = 0.05  # m along the optical axis; nearer points are on the robot itself
ROTATION_TOLERANCE = 1e-3  # of the entries of R times its transpose; calibrations are rounded


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Points that the camera sees.

    Attributes:
        points: float64 [n, 3], camera frame, m.
        pixels: float64 [n, 2] (x, y), px of the image that the outlines are in.
        rows: int64 [n], the positions of the points in what they were made of: rows of the
            cloud, or pixels of the depth image counted row by row.
    """

    points: Matrix
    pixels: Matrix
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


def check_projection(projection: Matrix) -> Matrix:
    """Returns a projection as float64 [3, 4].

    Args:
        projection: P [3, 4], or K [3, 3], px.

    Raises:
        ValueError: it is no matrix of a calibrated pinhole camera.
    """
    p = np.asarray(projection, np.float64)
    if p.shape == (3, 3):
        p = np.c_[p, np.zeros(3)]
    if p.shape != (3, 4):
        raise ValueError(f"the projection has shape {p.shape}; give P [3, 4] or K [3, 3]")
    if not np.isfinite(p).all() or p[0, 0] <= 0 or p[1, 1] <= 0 or p[2, 2] <= 0:
        raise ValueError(
            f"the projection is {p.reshape(-1).tolist()}, which is no calibrated camera's"
        )
    return p


def check_extrinsic(extrinsic: Matrix) -> Matrix:
    """Returns a pose as float64 [4, 4].

    Args:
        extrinsic: [4, 4] or [3, 4]; maps points of the cloud's frame to the camera frame, m.

    Raises:
        ValueError: it is not a rotation and a translation.
    """
    pose = np.asarray(extrinsic, np.float64)
    if pose.shape == (3, 4):
        pose = np.r_[pose, [[0.0, 0.0, 0.0, 1.0]]]
    if pose.shape != (4, 4):
        raise ValueError(f"the extrinsic has shape {pose.shape}; give [4, 4] or [3, 4]")
    r = pose[:3, :3]
    rigid = (
        np.isfinite(pose).all()
        and np.allclose(r @ r.T, np.eye(3), atol=ROTATION_TOLERANCE)
        and np.linalg.det(r) > 0
        and np.array_equal(pose[3], [0.0, 0.0, 0.0, 1.0])
    )
    if not rigid:
        raise ValueError(
            f"the extrinsic is {pose.reshape(-1).tolist()}; its left 3 x 3 numbers must be a "
            "rotation and its last row 0, 0, 0, 1"
        )
    return pose


def project_cloud(
    cloud: NDArray[Any],
    projection: Matrix,
    extrinsic: Matrix,
    image_size: tuple[int, int],
) -> Samples:
    """Finds the points of a cloud that lie in front of the camera and in its image.

    Args:
        cloud: [n, 3 or more] (x, y, z, ...), lidar frame, m; rows with NaN are left out.
        projection: P [3, 4] or K [3, 3] of the rectified image, px.
        extrinsic: [4, 4] or [3, 4], lidar frame to camera frame.
        image_size: (height, width), px.

    Raises:
        ValueError: the calibration is impossible.
    """
    p, pose = check_projection(projection), check_extrinsic(extrinsic)
    height, width = image_size
    with np.errstate(all="ignore"):  # NaN and infinity fail every comparison below
        points = pose[:3, :3] @ np.asarray(cloud[:, :3], np.float64).T + pose[:3, 3:]
        x, y, w = p[:, :3] @ points + p[:, 3:]
        x, y = x / w, y / w
        ahead = (points[2] > NEAREST) & (w > 0)
        within = ahead & (x > -0.5) & (y > -0.5) & (x < width - 0.5) & (y < height - 0.5)
    rows = np.flatnonzero(within)
    pixels = np.stack([x[rows], y[rows]], axis=1)
    return Samples(points=points.T[rows], pixels=pixels, rows=rows)


def lift_depth(
    depth: NDArray[Any],
    projection: Matrix,
    step: int = 1,
    wanted: NDArray[Any] | None = None,
    rectify: Callable[[Matrix], Matrix] | None = None,
) -> Samples:
    """Makes points of a depth image that is registered to the camera's image.

    Args:
        depth: [H, W], z of each pixel, m; 0, NaN and infinity are holes.
        projection: P [3, 4] or K [3, 3] of the rectified image, px.
        step: every `step`-th pixel of each row and column is taken.
        wanted: [H, W]; where it is 0, no point is made. None: everywhere.
        rectify: moves pixels [n, 2] of this image to where the rectified image has them, NaN
            where it does not; None: this image is rectified.

    Returns:
        the points, with their pixels in this image.

    Raises:
        ValueError: the calibration is impossible.
    """
    p = check_projection(projection)
    z = np.asarray(depth, np.float64)[::step, ::step]
    valid = np.isfinite(z) & (z > NEAREST)
    if wanted is not None:
        valid &= wanted[::step, ::step] != 0
    y, x = np.nonzero(valid)
    pixels = np.stack([x, y], axis=1).astype(np.float64) * step
    points = rays_at(pixels if rectify is None else rectify(pixels), p, z[y, x])
    rows = y * step * depth.shape[1] + x * step
    known = np.isfinite(points[:, 0])
    return Samples(points=points[known], pixels=pixels[known], rows=rows[known])


def rays_at(pixels: Matrix, projection: Matrix, z: Matrix) -> Matrix:
    """The points at `z` [n], m, that P [3, 4] maps onto pixels [n, 2]; float64 [n, 3]."""
    p = projection
    w = p[2, 2] * z + p[2, 3]
    y = (pixels[:, 1] * w - p[1, 2] * z - p[1, 3]) / p[1, 1]
    x = (pixels[:, 0] * w - p[0, 1] * y - p[0, 2] * z - p[0, 3]) / p[0, 0]
    return np.stack([x, y, z], axis=1)
