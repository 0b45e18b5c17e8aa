"""Calibrations: whether a CameraInfo belongs to an image, and pixels without distortion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
AnyCameraInfo = Any  # `sensor_msgs/CameraInfo` of ROS 1 or 2, of rclpy or of rosbags

POLYNOMIAL_MODELS = ("plumb_bob", "rational_polynomial")
POLYNOMIAL_LENGTHS = (4, 5, 8, 12, 14)  # coefficients, as OpenCV takes them
FISHEYE_MODELS = ("equidistant", "fisheye")
FISHEYE_LENGTH = 4
# The iteration that inverts a distortion ends below this error, px, or after so many steps.
INVERSION = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-6)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The calibration of a camera for images of one size, px of these images.

    Attributes:
        size: (height, width).
        model: distortion model, as CameraInfo names it.
        d: float64 [N], coefficients of the model.
        k: float64 [3, 3], intrinsics of the raw image; zeros when unknown.
        r: float64 [3, 3], rotation of the rectification; zeros when unknown.
        p: float64 [3, 4], projection of the rectified image; zeros when unknown.
    """

    size: tuple[int, int]
    model: str = ""
    d: Matrix = field(default_factory=lambda: np.zeros(0))
    k: Matrix = field(default_factory=lambda: np.zeros((3, 3)))
    r: Matrix = field(default_factory=lambda: np.zeros((3, 3)))
    p: Matrix = field(default_factory=lambda: np.zeros((3, 4)))

    @property
    def known(self) -> bool:
        """Whether the camera is calibrated at all."""
        return _has_focal_lengths(self.p) or _has_focal_lengths(self.k)

    @property
    def projection(self) -> Matrix:
        """P, float64 [3, 4]; made of K where P is unknown."""
        return self.p if _has_focal_lengths(self.p) else np.c_[self.k, np.zeros(3)]

    def rectified(self, pixels: NDArray[Any]) -> Matrix:
        """Moves pixels of the raw image to where `projection` maps their rays.

        Args:
            pixels: [..., 2] (x, y), px of the raw image.

        Returns:
            float64 [..., 2] (x, y), px of the rectified image; NaN where a pixel has no ray.

        Raises:
            ValueError: the distortion model is unknown, or its coefficients do not fit it.
        """
        points = np.asarray(pixels, np.float64)
        fisheye = self.model in FISHEYE_MODELS
        self._check_model()
        if not _has_focal_lengths(self.k) or not points.size:
            return points
        rotation = self.r if np.any(self.r) and _has_focal_lengths(self.p) else np.eye(3)
        undistort = cv2.fisheye.undistortPoints if fisheye else _undistort_points
        moved = undistort(
            points.reshape(1, -1, 2),
            self.k,
            self.d if np.any(self.d) else np.zeros(FISHEYE_LENGTH),
            R=rotation,
            P=self.projection,
            criteria=INVERSION,
        )
        moved = np.asarray(moved, np.float64).reshape(points.shape)
        farthest = 100.0 * max(self.size)  # OpenCV gives -1e6 for a ray that it did not find
        return np.where(np.abs(moved) < farthest, moved, np.nan)

    def _check_model(self) -> None:
        fisheye = self.model in FISHEYE_MODELS
        if not np.any(self.d) and (not fisheye or self.d.size in (0, FISHEYE_LENGTH)):
            return
        if not fisheye and self.model not in POLYNOMIAL_MODELS:
            known = ", ".join((*POLYNOMIAL_MODELS, *FISHEYE_MODELS))
            raise ValueError(f"distortion model {self.model!r} is unknown; known are {known}")
        if self.d.size not in ((FISHEYE_LENGTH,) if fisheye else POLYNOMIAL_LENGTHS):
            raise ValueError(f"distortion model {self.model!r} has {self.d.size} coefficients")
        if not np.isfinite(self.d).all():
            raise ValueError(f"distortion coefficients are {self.d.tolist()}")

    def fill(self, info: AnyCameraInfo) -> AnyCameraInfo:
        """Writes everything but the header into a `sensor_msgs/CameraInfo` and returns it."""
        info.height, info.width = self.size
        info.distortion_model, info.d = self.model, self.d.tolist()
        for name in ("k", "r", "p"):
            setattr(info, name, getattr(self, name).reshape(-1).tolist())
        return info


def pinhole(size: tuple[int, int], fx: float, fy: float, cx: float, cy: float) -> Calibration:
    """Builds the calibration of a camera without distortion; all in px."""
    k = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    p = np.c_[k, np.zeros(3)]
    return Calibration(size=size, model="plumb_bob", d=np.zeros(5), k=k, r=np.eye(3), p=p)


def fit_calibration(info: AnyCameraInfo, size: tuple[int, int], frame_id: str = "") -> Calibration:
    """Reads a CameraInfo for an image.

    The image may be the one that the CameraInfo's binning and region of interest tell, or a
    scaled one of the same aspect ratio; K and P follow it, as in image_geometry and image_proc.

    Args:
        info: the CameraInfo.
        size: (height, width) of the image, px.
        frame_id: of the image; empty when unknown.

    Raises:
        ValueError: the CameraInfo belongs to another camera or to images of another size.
    """
    theirs = info.header.frame_id
    if frame_id and theirs and frame_id.lstrip("/") != theirs.lstrip("/"):
        raise ValueError(f"it belongs to frame {theirs!r}, the image to {frame_id!r}")
    values = {name: _numbers(info, name) for name in ("d", "k", "r", "p")}
    k, r, p = (values[n].reshape(3, -1) for n in ("k", "r", "p"))
    if not (np.isfinite(k).all() and np.isfinite(p).all()):
        raise ValueError("K or P holds values that are not numbers")
    if not _has_focal_lengths(k) and not _has_focal_lengths(p):
        return Calibration(size=size)
    scale = _scale(info, size)
    return Calibration(
        size=size, model=info.distortion_model, d=values["d"], k=scale @ k, r=r, p=scale @ p
    )


def _scale(info: AnyCameraInfo, size: tuple[int, int]) -> Matrix:
    """The matrix [3, 3] from px of the whole sensor, in which K and P are given, to the image."""
    height, width = size
    full = (info.height, info.width)
    if full == size:
        return np.eye(3)
    if 0 in full:
        raise ValueError("it gives no size")
    roi = info.roi
    region = (roi.height, roi.width) if roi.height and roi.width else full
    binning_y, binning_x = max(info.binning_y, 1), max(info.binning_x, 1)
    left, top = (roi.x_offset, roi.y_offset) if region != full else (0, 0)
    if (region[0] // binning_y, region[1] // binning_x) == size:
        x, y = 1.0 / binning_x, 1.0 / binning_y
    elif region == full and abs(width * full[0] - height * full[1]) < max(full):  # rounded sizes
        x, y = width / full[1], height / full[0]
    else:
        raise ValueError(f"it belongs to {full[1]}x{full[0]} px, the image has {width}x{height}")
    return np.array([[x, 0.0, -left * x], [0.0, y, -top * y], [0.0, 0.0, 1.0]])


def _numbers(info: AnyCameraInfo, name: str) -> Matrix:
    values = getattr(info, name, None)
    return np.array(getattr(info, name.upper()) if values is None else values, np.float64)


def _has_focal_lengths(matrix: Matrix) -> bool:
    return bool(matrix[0, 0] > 0.0 and matrix[1, 1] > 0.0)


def _undistort_points(points: Matrix, k: Matrix, d: Matrix, **settings: object) -> NDArray[Any]:
    iterate = getattr(cv2, "undistortPointsIter", None)
    if iterate is not None:  # OpenCV 4, whose undistortPoints takes no criteria
        return np.asarray(iterate(points, k, d, *settings.values()))
    return np.asarray(cv2.undistortPoints(points, k, d, **settings))
