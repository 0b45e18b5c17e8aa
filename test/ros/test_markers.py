"""Contours as RViz markers."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from e2ec_core.contours import Contours
from e2ec_ros.markers import can_project, contour_markers, project_to_depth
from e2ec_ros.messages import ModelDescription

P = [721.5, 0.0, 609.6, 44.9, 0.0, 721.5, 172.9, 0.2, 0.0, 0.0, 1.0, 0.003]  # KITTI, camera 2
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
    image = homogeneous @ np.reshape(P, (3, 4)).T
    np.testing.assert_allclose(image[..., :2] / image[..., 2:], pixels, atol=1e-3)
    assert (points[..., 2] == depth).all()


def test_old_markers_go_and_each_contour_is_a_closed_line() -> None:
    info = CameraInfo(height=375, width=1242, p=P)
    header = Header(frame_id="camera_optical_frame")
    first, strip = contour_markers(
        circle(), MODEL, header, info, depth=2.0, line_width=3.0, max_vertices=50
    ).markers
    assert first.action == Marker.DELETEALL
    assert strip.type == Marker.LINE_STRIP
    assert strip.header == header
    assert strip.ns == "car"
    assert strip.points[0] == strip.points[-1]
    assert len(strip.points) == 128 // 3 + 1 + 1  # every third vertex, and the first again
    assert strip.scale.x == pytest.approx(2.0 * 3.0 / 721.5)
    assert strip.pose.orientation.w == 1.0
    assert strip.color.a == 1.0


def test_nothing_found_still_removes_the_old_markers() -> None:
    info = CameraInfo(height=375, width=1242, p=P)
    message = contour_markers(
        circle()[:0], MODEL, Header(), info, depth=1.0, line_width=1.0, max_vertices=64
    )
    assert [marker.action for marker in message.markers] == [Marker.DELETEALL]


def test_only_a_calibrated_camera_of_the_same_size_can_project() -> None:
    size = (375, 1242)
    assert can_project(CameraInfo(height=375, width=1242, p=P), size)
    assert not can_project(CameraInfo(height=375, width=1242), size)
    assert not can_project(CameraInfo(height=480, width=640, p=P), size)
    assert not can_project(None, size)
