"""Contours as RViz markers."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from e2ec_core.contours import Contours
from e2ec_ros.calibration import Calibration
from e2ec_ros.markers import contour_markers, project_to_depth
from e2ec_ros.messages import ModelDescription

# KITTI, camera 2.
P = np.array([[721.5, 0.0, 609.6, 44.9], [0.0, 721.5, 172.9, 0.2], [0.0, 0.0, 1.0, 0.003]])
KITTI = Calibration(size=(375, 1242), p=P)
MODEL = ModelDescription(
    name="tiny",
    weights_sha256="",
    device="cpu",
    precision="fp32",
    class_names=("car",),
    colors=((255, 0, 0),),
    vertices=128,
    amodal=False,
)


def circle(count: int = 128) -> Contours:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points = np.stack([600 + 90 * np.sin(angles), 180 + 50 * np.cos(angles)], axis=1)
    return Contours(
        vertices=points[None].astype(np.float32),
        scores=np.ones(1, np.float32),
        class_ids=np.zeros(1, np.int64),
        stage="final",
        image_size=(375, 1242),
    )


@pytest.mark.parametrize("depth", [0.1, 1.0, 25.0])
def test_projecting_the_points_gives_the_pixels_back(depth: float) -> None:
    pixels = circle().vertices
    points = project_to_depth(pixels, P, depth)
    homogeneous = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)
    image = homogeneous @ P.T
    np.testing.assert_allclose(image[..., :2] / image[..., 2:], pixels, atol=1e-3)
    assert (points[..., 2] == depth).all()


def markers(
    contours: Contours, calibration: Calibration, header: Header | None = None, **changes: object
) -> list[Marker]:
    settings: dict[str, object] = {
        "rectified": True,
        "depth": 2.0,
        "line_width": 3.0,
        "max_vertices": 50,
        "lifetime": 0.0,
    }
    made = contour_markers(
        contours, MODEL, header or Header(), calibration, **{**settings, **changes}
    )  # type: ignore[arg-type]
    return list(made.markers)


def test_old_markers_go_and_each_contour_is_a_closed_line() -> None:
    header = Header(frame_id="camera_optical_frame")
    first, strip = markers(circle(), KITTI, header)
    assert first.action == Marker.DELETEALL
    assert strip.type == Marker.LINE_STRIP
    assert strip.header == header
    assert strip.ns == "car"
    assert strip.points[0] == strip.points[-1]
    assert len(strip.points) == 128 // 3 + 1 + 1  # every third vertex, and the first again
    assert strip.scale.x == pytest.approx(2.0 * 3.0 / 721.5)
    assert strip.pose.orientation.w == 1.0
    assert strip.color.a == 1.0


@pytest.mark.parametrize("lifetime", [0.0, 0.25, 12.5])
def test_markers_live_as_long_as_they_are_told(lifetime: float) -> None:
    """A lifetime of zero means for ever to RViz: until the DELETEALL of the next message."""
    _, strip = markers(circle(), KITTI, lifetime=lifetime)
    assert strip.lifetime.sec + strip.lifetime.nanosec / 1e9 == lifetime


def test_nothing_found_still_removes_the_old_markers() -> None:
    assert [marker.action for marker in markers(circle()[:0], KITTI)] == [Marker.DELETEALL]


def test_tracked_objects_have_their_number_above_them() -> None:
    tracked = replace(circle(), track_ids=np.array([7]))
    _, strip, text = markers(tracked, KITTI, lifetime=1.5)
    assert (text.type, text.ns, text.text) == (Marker.TEXT_VIEW_FACING, "car/text", "#7")
    assert text.pose.position.y < min(point.y for point in strip.points)
    assert text.pose.position.z == strip.points[0].z
    assert (text.lifetime, text.color) == (strip.lifetime, strip.color)
    assert text.scale.z == pytest.approx(2.0 * 14 / 721.5)


def distorted() -> Calibration:
    k = np.array([[600.0, 0.0, 620.0], [0.0, 600.0, 190.0], [0.0, 0.0, 1.0]])
    d = np.array([-0.36, 0.14, 0.001, -0.0006, -0.02])
    return Calibration(
        size=(375, 1242), model="plumb_bob", d=d, k=k, r=np.eye(3), p=np.c_[k, np.zeros(3)]
    )


def seen(strip: Marker, calibration: Calibration) -> NDArray[np.float64]:
    """Where the camera, with its lens, sees the points of a marker, px."""
    points = np.array([[p.x, p.y, p.z] for p in strip.points])
    still = np.zeros(3)
    return cv2.projectPoints(points, still, still, calibration.k, calibration.d)[0][:, 0]


def test_markers_of_raw_images_honour_the_distortion() -> None:
    contours = replace(circle(), vertices=circle().vertices + np.float32([420, 60]))
    corrected = markers(contours, distorted(), rectified=False, max_vertices=128)[1]
    plain = markers(contours, distorted(), rectified=True, max_vertices=128)[1]
    np.testing.assert_allclose(seen(corrected, distorted())[:-1], contours.vertices[0], atol=0.01)
    assert np.abs(seen(plain, distorted())[:-1] - contours.vertices[0]).max() > 30


def test_contours_beyond_the_lens_are_left_out() -> None:
    fisheye = replace(distorted(), model="equidistant", d=np.zeros(4))
    outside = replace(circle(), vertices=circle().vertices + np.float32([960, 0]))  # 90 degrees
    both = Contours(
        vertices=np.concatenate([outside.vertices, circle().vertices]),
        scores=np.ones(2, np.float32),
        class_ids=np.zeros(2, np.int64),
        stage="final",
        image_size=(375, 1242),
    )
    assert [m.id for m in markers(both, fisheye, rectified=False)[1:]] == [1]
