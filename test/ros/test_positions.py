"""Positions from messages, and as messages, markers and detections."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, Vector3
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import Marker

STALE = "the compiled messages are older than the source: run `make env`"
positions = pytest.importorskip("e2ec_ros.positions", reason=STALE, exc_type=ImportError)

import ros_positions as scene  # noqa: E402

from e2ec_ros.distance_outputs import labelled_cloud  # noqa: E402
from e2ec_ros.msg import InstancePositionArray  # noqa: E402
from e2ec_ros.point_clouds import read_points  # noqa: E402
from e2ec_ros.position_markers import position_markers  # noqa: E402
from e2ec_ros.transforms import matrix_of  # noqa: E402

POSE = np.array(scene.EXTRINSIC).reshape(4, 4)
EMPTY = (2, 2, 4, 4)  # px; a contour too small for any point


def measured(*boxes: tuple[float, ...]) -> positions.Measured:
    contours = scene.contours(5.0, *boxes)
    return positions.measure_cloud(contours, scene.cloud(4.9), scene.CAMERA, POSE, rectified=False)


def test_a_cloud_in_the_lidar_s_frame_gives_positions_in_the_camera_s() -> None:
    found = measured(scene.BOARD, EMPTY).message
    again = deserialize_message(serialize_message(found), InstancePositionArray)
    assert again.header == scene.header(5.0)
    assert again.source == scene.header(4.9, "lidar")
    board, nothing = again.instances
    assert (board.index, board.track_id, board.class_id) == (0, 7, 2)
    assert (board.class_name, board.score) == ("car", pytest.approx(0.75))
    assert board.position.z == pytest.approx(10)
    assert board.position.x == pytest.approx(0, abs=0.1)
    assert board.near == pytest.approx(10, abs=0.05)
    assert board.low.z == pytest.approx(board.high.z)
    assert board.high.x - board.low.x == pytest.approx(60 / 150 * 10, rel=0.25)
    assert board.points > 100
    assert (nothing.index, nothing.points) == (1, 0)
    assert math.isnan(nothing.position.x)
    assert math.isnan(nothing.near)


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_a_depth_image_gives_the_same(encoding: str) -> None:
    contours = scene.contours(5.0)
    image = scene.depth_image(5.0, encoding)
    found = positions.measure_depth(contours, image, scene.CAMERA, rectified=True)
    (board,) = found.message.instances
    (lidar,) = measured().message.instances
    for name in ("position", "low", "high"):
        one, other = getattr(board, name), getattr(lidar, name)
        assert [one.x, one.y, one.z] == pytest.approx([other.x, other.y, other.z], abs=0.2)
    image.height //= 2
    with pytest.raises(ValueError, match=r"has 200x60 px, the contours are of 200x120; give the"):
        positions.measure_depth(contours, image, scene.CAMERA, rectified=True)


def test_outlines_of_a_raw_image_find_the_points_of_their_rays() -> None:
    lens = replace(scene.CAMERA, d=np.array([-0.3, 0.1, 0.0, 0.0, 0.0]))
    box = (85, 5, 115, 50)  # px of the raw image, at its top, where the lens bends most
    low, high = lens.rectified(np.array([[box[:2], box[2:]]], float))[0]
    assert low[1] < box[1] - 1
    limits = []
    for rectified in (False, True):
        found = positions.measure_cloud(
            scene.contours(5.0, box), scene.cloud(5.0), lens, POSE, rectified=rectified
        )
        limits.append(found.samples.pixels[found.labels == 0, 1])
    assert limits[0].min() >= low[1]
    assert limits[0].max() <= high[1]
    assert len(limits[0]) != len(limits[1])


def test_objects_of_several_contours_are_one() -> None:
    contours = scene.contours(5.0, (70, 30, 98, 90), (102, 30, 130, 90), EMPTY)
    contours.instances[1].instance_id = 0
    found = positions.measure_cloud(contours, scene.cloud(5.0), scene.CAMERA, POSE, rectified=True)
    assert [one.index for one in found.message.instances] == [0, 2]
    assert found.message.instances[0].high.x > 1.5
    assert set(found.labels.tolist()) == {-1, 0}


def test_the_labelled_cloud_is_the_lidar_s_own() -> None:
    cloud = scene.cloud(4.9)
    found = measured(EMPTY, scene.BOARD)
    labelled = labelled_cloud(found, cloud)
    assert labelled.header == cloud.header
    assert [field.name for field in labelled.fields] == ["x", "y", "z", "ring", "instance"]
    rows = np.frombuffer(labelled.data, np.int32).reshape(-1, 5)
    assert set(rows[:, 4].tolist()) == {-1, 1}
    np.testing.assert_allclose(read_points(labelled)[rows[:, 4] == 1, 0], 10, atol=1e-5)
    assert np.count_nonzero(rows[:, 4] == 1) == found.message.instances[1].points


def test_markers_show_what_was_located() -> None:
    found = measured(scene.BOARD, EMPTY).message
    remove, box, text = position_markers(found, 1.5).markers
    assert remove.action == Marker.DELETEALL
    assert (box.type, text.type) == (Marker.CUBE, Marker.TEXT_VIEW_FACING)
    assert box.header == found.header
    assert (box.lifetime.sec, box.lifetime.nanosec) == (1, 500_000_000)
    assert box.pose.position.z == pytest.approx(10)
    assert box.scale.z == pytest.approx(0.05)
    assert text.text == "car 7 10.0 m"
    assert position_markers(InstancePositionArray(), 0.0).markers[1:] == []


def test_detections_have_box_pose_and_spread() -> None:
    pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")
    from e2ec_ros.position_detections import Detection3DArray, detection_array_3d

    found = measured(scene.BOARD, EMPTY).message
    sent = serialize_message(detection_array_3d(found))
    message = deserialize_message(sent, Detection3DArray)
    (detection,) = message.detections
    (board, _) = found.instances
    assert message.header == detection.header == found.header
    assert detection.id == "7"
    (result,) = detection.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ("car", pytest.approx(0.75))
    assert result.pose.pose.position == board.position
    assert result.pose.covariance[0] == pytest.approx(board.spread.x**2)
    assert detection.bbox.size.x == pytest.approx(board.high.x - board.low.x)
    assert detection.bbox.center.position.z == pytest.approx(10)


def test_calibrations_that_do_not_fit_are_refused_in_one_line() -> None:
    contours = scene.contours(1.0)
    assert positions.require_calibration(scene.info(), contours).known
    other = scene.info()
    other.header.frame_id = "rear"
    for info, words in (
        (None, "no CameraInfo came yet; remap `camera_info`"),
        (other, "CameraInfo is not used: it belongs to frame 'rear'"),
        (CameraInfo(header=contours.header), "the camera is not calibrated"),
    ):
        with pytest.raises(ValueError, match=words) as refused:
            positions.require_calibration(info, contours)
        assert "\n" not in str(refused.value)


def test_a_transform_is_a_matrix() -> None:
    half = math.sqrt(0.5)
    turn = Transform(
        translation=Vector3(x=1.0, y=2.0, z=3.0),
        rotation=Quaternion(z=2 * half, w=2 * half),  # not normalised
    )
    np.testing.assert_allclose(matrix_of(turn) @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
