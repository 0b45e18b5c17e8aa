"""The ROS parameters of the distance node: declared here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2ec_core.distance import check_extrinsic
from e2ec_ros.parameter_specs import Value, parameter

_MADE_ONCE = "the subscriptions are made once"


def check_pose(value: Value) -> None:
    """Raises ValueError unless the 16 numbers are zeros or a rotation and a translation."""
    assert isinstance(value, tuple)
    if any(value):
        try:
            check_extrinsic(np.array(value, np.float64).reshape(4, 4))
        except ValueError:
            raise ValueError(
                f"{list(value)}; give a 4 x 4 matrix row by row, whose left 3 x 3 numbers are a "
                "rotation and whose last row is 0, 0, 0, 1, or 16 zeros for TF"
            ) from None


@dataclass(frozen=True, kw_only=True)
class DistanceParameters:
    """Parameters of the distance node, one immutable snapshot."""

    source: str = parameter(
        "source",
        "points",
        "points: lidar, a PointCloud2 on `points`; depth: an image registered to the camera's on "
        "`depth`, 16UC1 in mm or 32FC1 in m.",
        change="start",
        reason=_MADE_ONCE,
        choices=("points", "depth"),
    )
    extrinsic: tuple[float, ...] = parameter(
        "extrinsic",
        (0.0,) * 16,
        "4 x 4 matrix row by row from the cloud's frame to the camera's optical frame, m; "
        "zeros: from TF, which needs tf2_ros.",
        check=check_pose,
    )
    rectified: bool = parameter(
        "rectified",
        False,
        "The contours are of a rectified image; else their vertices are undistorted.",
    )
    tolerance: float = parameter(
        "sync.tolerance",
        0.05,
        "Largest difference of the stamps of contours and points, s; 0: equal stamps only.",
        minimum=0.0,
        maximum=10.0,
    )
    wait: float = parameter(
        "sync.wait",
        0.2,
        "How long contours wait for points that are nearer in time, s.",
        minimum=0.0,
        maximum=10.0,
    )
    keep: int = parameter(
        "sync.keep",
        20,
        "Clouds or depth images that are kept until their contours come.",
        change="start",
        reason=_MADE_ONCE,
        minimum=1,
        maximum=200,
    )
    qos: str = parameter(
        "qos",
        "auto",
        "Reliability of the subscription to points or depth; auto follows the publishers.",
        change="start",
        reason=_MADE_ONCE,
        choices=("auto", "reliable", "best_effort"),
    )
    lifetime: float = parameter(
        "markers.lifetime",
        0.0,
        "Seconds after which RViz removes markers; 0: when the next ones replace them.",
        minimum=0.0,
        maximum=3600.0,
    )
