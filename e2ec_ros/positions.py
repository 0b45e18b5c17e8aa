"""From messages of contours and of points to the objects' positions. Needs no running node."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from e2ec_core.distance import Location, Samples, lift_depth, locate, project_cloud
from e2ec_ros.calibration import Calibration, fit_calibration
from e2ec_ros.contour_messages import groups_of, label_image_of, vertices_of
from e2ec_ros.msg import InstanceContourArray, InstancePosition, InstancePositionArray
from e2ec_ros.point_clouds import read_depth, read_points

MOST_PIXELS = 100_000  # of a depth image; where outlines enclose more, pixels are left out


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What points tell of the objects of one image.

    Attributes:
        message: the positions.
        samples: the points in the image.
        labels: int32 [n], for each sample the position in the contours of its object's first
            contour, -1 for none.
    """

    message: InstancePositionArray
    samples: Samples
    labels: NDArray[np.int32]


def require_calibration(info: CameraInfo | None, contours: InstanceContourArray) -> Calibration:
    """The calibration of the image that the contours are of.

    Raises:
        ValueError: there is none; one line.
    """
    if info is None:
        raise ValueError("no CameraInfo came yet; remap `camera_info` to the camera's")
    size = (contours.height, contours.width)
    try:
        calibration = fit_calibration(info, size, contours.header.frame_id)
    except ValueError as error:
        raise ValueError(f"CameraInfo is not used: {error}") from None
    if not calibration.known:
        raise ValueError("CameraInfo is not used: the camera is not calibrated, K and P are 0")
    return calibration


def measure_cloud(
    contours: InstanceContourArray,
    cloud: PointCloud2,
    calibration: Calibration,
    extrinsic: NDArray[np.float64],
    *,
    rectified: bool,
) -> Measured:
    """Measures the objects with a cloud.

    Args:
        contours: of one image.
        cloud: of the same moment, in whatever frame.
        calibration: of the camera, for images of this size.
        extrinsic: [4, 4], from the cloud's frame to the optical frame of the contours, m.
        rectified: the image is free of distortion; else the outlines are undistorted.

    Raises:
        ValueError: cloud or calibration cannot be used; one line.
    """
    size = (contours.height, contours.width)
    samples = project_cloud(read_points(cloud), calibration.projection, extrinsic, size)
    outlines: list[NDArray[np.floating]] = [vertices_of(one) for one in contours.instances]
    if not rectified:
        outlines = [calibration.rectified(outline) for outline in outlines]
    return _measure(contours, samples, outlines, cloud.header)


def measure_depth(
    contours: InstanceContourArray, image: Image, calibration: Calibration, *, rectified: bool
) -> Measured:
    """Measures the objects with a depth image that is registered to the image of the contours.

    Args:
        contours: of one image.
        image: of the same moment and size.
        calibration: of the camera, for images of this size.
        rectified: the images are free of distortion; else the rays of pixels are undistorted.

    Raises:
        ValueError: image or calibration cannot be used; one line.
    """
    depth = read_depth(image)
    height, width = depth.shape
    if (height, width) != (contours.height, contours.width):
        raise ValueError(
            f"the depth image has {width}x{height} px, the contours are of "
            f"{contours.width}x{contours.height}; give the depth registered to their image"
        )
    wanted = label_image_of(contours)
    step = max(math.ceil(math.sqrt(np.count_nonzero(wanted) / MOST_PIXELS)), 1)
    samples = lift_depth(
        depth,
        calibration.projection,
        step,
        wanted,
        rectify=None if rectified or not np.any(calibration.d) else calibration.rectified,
    )
    outlines = [vertices_of(one) for one in contours.instances]
    return _measure(contours, samples, outlines, image.header)


def _measure(
    contours: InstanceContourArray,
    samples: Samples,
    outlines: list[NDArray[np.floating]],
    source: Header,
) -> Measured:
    groups = groups_of(contours)
    size = (contours.height, contours.width)
    amodal = any(instance.amodal for instance in contours.instances)
    locations, labels = locate(samples, outlines, size, groups, amodal=amodal)
    first = np.array([group[0] for group in groups] + [-1], np.int32)
    message = InstancePositionArray(
        header=contours.header,
        source=source,
        instances=[
            position_message(contours, group[0], location)
            for group, location in zip(groups, locations, strict=True)
        ],
    )
    return Measured(message=message, samples=samples, labels=first[labels])


def position_message(
    contours: InstanceContourArray, index: int, location: Location
) -> InstancePosition:
    """The message for the object whose first contour has this index."""
    instance = contours.instances[index]
    x, y, z = location.spread.tolist()
    return InstancePosition(
        index=index,
        track_id=instance.track_id,
        class_id=instance.class_id,
        class_name=instance.class_name,
        score=instance.score,
        points=location.points,
        position=_point(location.position),
        low=_point(location.low),
        high=_point(location.high),
        spread=Vector3(x=x, y=y, z=z),
        near=location.near,
    )


def _point(values: NDArray[np.float64]) -> Point:
    x, y, z = values.tolist()
    return Point(x=x, y=y, z=z)
