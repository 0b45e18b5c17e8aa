"""Pinhole camera over a flat street."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A distortion-free pinhole camera.

    The world is x forward along the street, y left, z up, in metres, with the ground at z = 0.
    The camera's optical frame is x right, y down, z forward.

    Attributes:
        width: Image width in px.
        height: Image height in px.
        focal_px: Focal length in px, the same for both axes.
        position: Optical centre `(x, y, z)` in the world, m.
        yaw: Heading in rad, counter-clockwise seen from above; 0 looks along world x.
        pitch: Downward tilt in rad.
        horizon: Row of the principal point as a fraction of the image height.
    """

    width: int
    height: int
    focal_px: float
    position: tuple[float, float, float]
    yaw: float = 0.0
    pitch: float = 0.0
    horizon: float = 0.5

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """Intrinsics `K`, float64 `[3, 3]`, for pixels whose centres are integers."""
        center_x, center_y = (self.width - 1) / 2, self.height * self.horizon - 0.5
        return np.array([[self.focal_px, 0, center_x], [0, self.focal_px, center_y], [0, 0, 1.0]])

    @cached_property
    def rotation(self) -> NDArray[np.float64]:
        """Rotation from world axes to optical axes, float64 `[3, 3]`."""
        cos_yaw, sin_yaw = np.cos(self.yaw), np.sin(self.yaw)
        cos_pitch, sin_pitch = np.cos(self.pitch), np.sin(self.pitch)
        forward = np.array([cos_yaw * cos_pitch, sin_yaw * cos_pitch, -sin_pitch])
        right = np.array([sin_yaw, -cos_yaw, 0.0])
        return np.stack([right, np.cross(forward, right), forward])

    def project(
        self, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project world points.

        Args:
            points: `[..., 3]`, world frame, m.

        Returns:
            Image px `[..., 2]` (x, y) and depth along the optical axis `[...]` in m. Pixels of
            points with a depth below 1 cm are meaningless.
        """
        optical = (points - np.asarray(self.position)) @ self.rotation.T
        depth = optical[..., 2]
        safe = np.where(depth > 0.01, depth, 0.01)
        principal = self.matrix[:2, 2]
        return optical[..., :2] / safe[..., None] * self.focal_px + principal, depth

    @cached_property
    def rays(self) -> NDArray[np.float32]:
        """World direction through every pixel with unit depth, float32 `[height, width, 3]`."""
        columns = (np.arange(self.width) - self.matrix[0, 2]) / self.focal_px
        rows = (np.arange(self.height) - self.matrix[1, 2]) / self.focal_px
        right, down, forward = self.rotation.astype(np.float32)
        across = columns.astype(np.float32)[:, None] * right + forward
        below = rows.astype(np.float32)[:, None] * down
        return np.asarray(across[None] + below[:, None], np.float32)
