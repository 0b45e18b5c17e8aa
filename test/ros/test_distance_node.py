"""The real distance node on real DDS: pairing, calibration, lazy outputs and refusals."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, TransformStamped
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

STALE = "the compiled messages are older than the source: run `make env`"
module = pytest.importorskip("e2ec_ros.distance_node", reason=STALE, exc_type=ImportError)

import ros_positions as scene  # noqa: E402

from e2ec_ros.msg import InstanceContourArray, InstancePositionArray  # noqa: E402
from e2ec_ros.positions import measure_cloud  # noqa: E402

if TYPE_CHECKING:
    from ros_bench import Bench

    MakeSetup = Callable[..., "Setup"]

BEST_EFFORT = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)


class Setup:
    """The node, and publishers of what it listens to."""

    def __init__(self, bench: Bench, node: Any, source: str, qos: QoSProfile | int) -> None:
        self.bench, self.node = bench, node
        make = bench.node.create_publisher
        self.contours = make(InstanceContourArray, "/e2ec/contours", 10)
        self.info = make(CameraInfo, "/camera_info", 10)
        self.source = make(Image if source == "depth" else PointCloud2, f"/{source}", qos)
        self.answers = bench.listen(InstancePositionArray, "/distance/positions")
        for publisher in (self.contours, self.info, self.source):
            bench.wait(lambda p=publisher: p.get_subscription_count() > 0)
        bench.wait(lambda: bench.node.count_publishers("/distance/positions") > 0)

    def send_info(self) -> None:
        self.info.publish(scene.info())
        self.bench.wait(lambda: self.node.input.camera_info is not None)

    def ask(self, source: Any, stamp: float) -> InstancePositionArray:
        """Sends points and contours and waits for the answer."""
        before = len(self.answers)
        self.source.publish(source)
        self.contours.publish(scene.contours(stamp))
        self.bench.wait(lambda: len(self.answers) > before)
        return self.answers[-1]


@pytest.fixture
def make_setup(bench: Bench) -> MakeSetup:
    """Makes the node in this process with parameters by name, and what it listens to."""
    from rclpy.parameter import Parameter

    def make(qos: QoSProfile | int = 10, **parameters: object) -> Setup:
        given = {"extrinsic": scene.EXTRINSIC} | parameters
        node = module.DistanceNode(
            [Parameter(name.replace("__", "."), value=v) for name, v in given.items()]
        )
        bench.spin(node)
        return Setup(bench, node, node.declared.value.source, qos)

    return make


def lines_with(words: str) -> list[str]:
    """What was logged so far; pytest keeps it in a file."""
    text = Path("/proc/self/fd/2").read_text(errors="replace")
    return [line for line in text.splitlines() if words in line]


def test_contours_and_cloud_become_positions(bench: Bench, make_setup: MakeSetup) -> None:
    setup = make_setup()
    setup.send_info()
    answer = setup.ask(scene.cloud(20.0), 20.0)
    assert answer.header == scene.header(20.0)
    assert answer.source == scene.header(20.0, "lidar")
    (board,) = answer.instances
    assert board.position.z == pytest.approx(10)
    assert board.class_name == "car"
    assert not setup.node.outputs.built

    # A little earlier than the image, as lidars are; a later cloud ends the wait.
    setup.source.publish(scene.cloud(20.98))
    assert setup.ask(scene.cloud(21.08), 21.0).source.stamp == scene.header(20.98).stamp

    empty = scene.contours(22.0)
    empty.instances = []
    setup.source.publish(scene.cloud(22.0))
    setup.contours.publish(empty)
    bench.wait(lambda: setup.answers[-1].header.stamp.sec == 22)
    assert setup.answers[-1].instances == []


def test_cloud_and_markers_are_made_while_somebody_listens(
    bench: Bench, make_setup: MakeSetup
) -> None:
    setup = make_setup(qos=BEST_EFFORT)  # as many lidars publish
    setup.send_info()
    clouds = bench.listen(PointCloud2, "/distance/points", BEST_EFFORT)
    markers = bench.listen(MarkerArray, "/distance/markers")
    for topic in ("/distance/points", "/distance/markers"):
        (publisher,) = (p for p in setup.node.publishers if p.topic_name == topic)
        bench.wait(lambda p=publisher: p.get_subscription_count() > 0)
    answer = setup.ask(scene.cloud(20.0), 20.0)
    bench.wait(lambda: clouds and markers)
    assert setup.node.outputs.built == {"~/points": 1, "~/markers": 1}
    rows = np.frombuffer(clouds[0].data, np.int32).reshape(-1, 5)
    assert np.count_nonzero(rows[:, 4] == 0) == answer.instances[0].points
    assert markers[0].markers[2].text == "car 7 10.0 m"


def test_detections_are_published_where_vision_msgs_is_installed(
    bench: Bench, make_setup: MakeSetup
) -> None:
    messages = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed")
    setup = make_setup()
    setup.send_info()
    heard = bench.listen(messages.Detection3DArray, "/distance/detections")
    (publisher,) = (p for p in setup.node.publishers if p.topic_name == "/distance/detections")
    bench.wait(lambda: publisher.get_subscription_count() > 0)
    answer = setup.ask(scene.cloud(20.0), 20.0)
    bench.wait(lambda: heard)
    assert heard[0].header == answer.header
    assert len(heard[0].detections) == 1


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_contours_and_depth_become_positions(make_setup: MakeSetup, encoding: str) -> None:
    setup = make_setup(source="depth")
    setup.send_info()
    (board,) = setup.ask(scene.depth_image(20.0, encoding), 20.0).instances
    assert board.position.z == pytest.approx(10, abs=0.01)


@pytest.mark.usefixtures("capfd")
def test_what_is_missing_is_named_in_one_line(bench: Bench, make_setup: MakeSetup) -> None:
    setup = make_setup(sync__tolerance=0.0, sync__wait=0.05)
    setup.contours.publish(scene.contours(20.0))
    bench.wait(lambda: lines_with("no positions: nothing came on /points; remap `points`"))
    for stamp, source, words in (
        (21.0, 21.0, "no CameraInfo came yet"),
        (23.0, 22.9, "0.100 s away from the contours, more than sync.tolerance (0 s)"),
    ):
        setup.source.publish(scene.cloud(source))
        bench.wait(lambda: len(setup.node.input._pairing) == 0)
        setup.contours.publish(scene.contours(stamp))
        bench.wait(lambda w=words: lines_with(w))
    assert not setup.answers


@pytest.mark.usefixtures("capfd")
def test_without_extrinsic_and_tf_it_says_what_to_do(bench: Bench, make_setup: MakeSetup) -> None:
    setup = make_setup(extrinsic=[0.0] * 16)
    setup.send_info()
    setup.source.publish(scene.cloud(20.0))
    setup.contours.publish(scene.contours(20.0))
    bench.wait(lambda: lines_with("set the parameter extrinsic"))
    # A cloud in the camera's own frame needs neither.
    setup.ask(scene.cloud(21.0, frame="camera"), 21.0)
    assert bench.set("extrinsic", [2.0] * 16, "/distance").startswith(
        "parameter extrinsic is [2.0"
    )
    assert bench.set("extrinsic", scene.EXTRINSIC, "/distance") == ""
    (board,) = setup.ask(scene.cloud(22.0), 22.0).instances
    assert board.position.z == pytest.approx(10)
    assert "restart" in bench.set("source", "depth", "/distance")


@pytest.mark.usefixtures("capfd")
def test_tf_tells_where_the_lidar_stands(bench: Bench, make_setup: MakeSetup) -> None:
    tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros is not installed")
    setup = make_setup(extrinsic=[0.0] * 16)
    setup.send_info()
    setup.source.publish(scene.cloud(20.0))
    setup.contours.publish(scene.contours(20.0))
    bench.wait(lambda: lines_with("TF does not tell where 'lidar' stands from 'camera'"))
    # Two steps: the axes of an optical frame, then half a metre down, which is its y.
    turn = TransformStamped(header=scene.header(0.0, "lidar"), child_frame_id="base")
    turn.transform.rotation = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
    move = TransformStamped(header=scene.header(0.0, "base"), child_frame_id="camera")
    move.transform.translation.y = 0.5
    move.transform.rotation.w = 1.0
    broadcaster = tf2_ros.StaticTransformBroadcaster(bench.node)
    broadcaster.sendTransform([turn, move])

    def answered() -> bool:
        setup.source.publish(scene.cloud(21.0))
        setup.contours.publish(scene.contours(21.0))
        time.sleep(0.2)
        return bool(setup.answers)

    bench.wait(answered)
    (board,) = setup.answers[0].instances
    expected = measure_cloud(
        scene.contours(21.0),
        scene.cloud(21.0),
        scene.CAMERA,
        np.array(scene.EXTRINSIC).reshape(4, 4),
        rectified=False,
    ).message.instances[0]
    assert board.position.z == pytest.approx(expected.position.z)
    assert board.position.y == pytest.approx(expected.position.y, abs=1e-6)


def test_the_process_ends_with_one_line_for_a_bad_extrinsic(bench: Bench) -> None:
    numbers = "[" + ", ".join(["1.5"] * 16) + "]"
    child = bench.start("e2ec_ros.distance_node", ["--ros-args", "-p", f"extrinsic:={numbers}"])
    assert child.process.wait(60) == 1
    (line,) = child.log.read_text().strip().splitlines()
    assert line.startswith("error: parameter extrinsic is [1.5")
    assert "give a 4 x 4 matrix row by row" in line
