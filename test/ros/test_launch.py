"""The launch files, run by the real launch system with the real node.

PyPI has no `launch`, so these tests need a ROS installation (or a workspace with launch_ros).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("launch_ros", reason="launch_ros is not on PyPI; it comes with ROS 2")
rclpy = pytest.importorskip("rclpy", reason="rclpy is missing: run `make test`")

from ament_index_python.packages import (  # noqa: E402
    PackageNotFoundError,
    get_package_prefix,
)
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.srv import GetParameters  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402

from e2ec_ros.msg import InstanceContourArray  # noqa: E402

DOMAIN = 83
TIMEOUT = 90.0  # s; loading torch on a busy machine
RUN_LAUNCH_FILE = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
arguments = [a.split(":=", 1) for a in sys.argv[2:]]
service = LaunchService()
service.include_launch_description(LaunchDescription([
    IncludeLaunchDescription(sys.argv[1], launch_arguments=arguments)]))
sys.exit(service.run())
"""


class Launched:
    """A running launch file and a node that looks at it from outside."""

    def __init__(self, launch_file: Path, log: Path, arguments: dict[str, str]) -> None:
        self.log = log
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = Node("observer", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.contours = self.listen("/e2ec/contours")
        given = [f"{name}:={value}" for name, value in arguments.items()]
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(DOMAIN),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(log.parent),
        }
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN_LAUNCH_FILE, str(launch_file), *given],
                stdout=stream,
                stderr=stream,
                env=environment,
            )

    def listen(self, topic: str) -> list[InstanceContourArray]:
        """Returns the list that grows with every message of contours."""
        heard: list[InstanceContourArray] = []
        self.node.create_subscription(InstanceContourArray, topic, heard.append, 100)
        return heard

    def wait_for(self, condition: Callable[[], bool], seconds: float = TIMEOUT) -> bool:
        """Spins until the condition holds; returns whether it came to hold in time."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            self.executor.spin_once(timeout_sec=0.1)
        return condition()

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Calls a service and returns its response."""
        client = self.node.create_client(kind, name)
        try:
            assert self.wait_for(client.service_is_ready), self.log.read_text()
            future = client.call_async(request)
            assert self.wait_for(future.done), self.log.read_text()
            return future.result()
        finally:
            self.node.destroy_client(client)

    def state(self) -> str:
        """Returns the lifecycle state of the segmentation node."""
        reply: GetState.Response = self.call(GetState, "/e2ec/get_state", GetState.Request())
        return str(reply.current_state.label)

    def stop(self) -> str:
        """Interrupts the launch as Ctrl-C does; returns what it and its nodes wrote."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return self.log.read_text()

    def close(self) -> None:
        """Ends the launch and the observer."""
        self.stop()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def launch_e2ec(repo_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """A function that launches a file of launch/ with the given launch arguments."""
    running: list[Launched] = []

    def launch(file: str = "e2ec.launch.py", **arguments: str) -> Launched:
        launched = Launched(repo_dir / "launch" / file, tmp_path / "launch.log", arguments)
        running.append(launched)
        return launched

    yield launch
    for launched in running:
        launched.close()


def test_plays_an_input_to_contours_and_ends_cleanly(
    launch_e2ec: Callable[..., Launched],
) -> None:
    launched = launch_e2ec(input="photographs", image="/front/image", device="cpu", loop="true")
    assert launched.wait_for(lambda: len(launched.contours) >= 2), launched.log.read_text()
    assert launched.state() == "active"
    assert launched.node.count_publishers("/front/image") == 1
    assert launched.contours[0].header.frame_id == "camera_optical_frame"
    output = launched.stop()
    assert output.count("process has finished cleanly") == 2, output
    assert "Traceback" not in output


def test_without_autostart_the_node_waits_for_its_manager(
    launch_e2ec: Callable[..., Launched],
) -> None:
    launched = launch_e2ec(autostart="false", device="cpu")
    assert launched.state() == "unconfigured"
    request = ChangeState.Request()
    request.transition.label = "configure"
    assert launched.call(ChangeState, "/e2ec/change_state", request).success
    # Configured by hand it must not go on to active by itself.
    assert not launched.wait_for(lambda: launched.state() != "inactive", seconds=2.0)


def test_arguments_win_over_the_parameter_file(
    launch_e2ec: Callable[..., Launched], tmp_path: Path
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(
        "/**:\n  ros__parameters:\n    score_threshold: 0.77\n    device: cpu\n"
        "    weights: from_the_file.safetensors\n"
    )
    launched = launch_e2ec(params=str(params), weights="1234")
    request = GetParameters.Request(names=["score_threshold", "device", "weights"])
    reply = launched.call(GetParameters, "/e2ec/get_parameters", request)
    threshold, device, weights = reply.values
    assert threshold.double_value == pytest.approx(0.77)
    assert device.string_value == "cpu"
    assert weights.string_value == "1234"  # stays a text
    assert launched.wait_for(lambda: "1234" in launched.log.read_text()), "no word of the failure"
    assert launched.wait_for(lambda: launched.state() == "unconfigured")


def test_namespace_and_parameter_file_reach_the_player(
    launch_e2ec: Callable[..., Launched], tmp_path: Path
) -> None:
    params = tmp_path / "player.yaml"
    params.write_text("/**:\n  ros__parameters:\n    frame_id: front_optical\n")
    launched = launch_e2ec(
        input="photographs", namespace="front", player_params=str(params), use_sim_time="true"
    )
    assert launched.wait_for(lambda: launched.node.count_publishers("/front/camera/image") == 1)
    request = GetParameters.Request(names=["frame_id", "use_sim_time"])
    reply = launched.call(GetParameters, "/front/camera/get_parameters", request)
    assert reply.values[0].string_value == "front_optical"
    assert reply.values[1].bool_value


def test_a_missing_rviz_is_named_in_one_line(launch_e2ec: Callable[..., Launched]) -> None:
    try:
        get_package_prefix("rviz2")
        pytest.skip("rviz2 is installed here")
    except PackageNotFoundError:
        launched = launch_e2ec(rviz="true", autostart="false")
    assert launched.process.wait(TIMEOUT) != 0
    said = launched.stop()
    assert "rviz2 is not installed: apt install ros-" in said
    assert "Traceback" not in said


def test_in_lock_step_no_image_is_dropped_and_everything_ends_with_the_input(
    launch_e2ec: Callable[..., Launched],
) -> None:
    launched = launch_e2ec(
        input="photographs", lock_step="true", end_with_input="true", params="cpu"
    )
    end = time.monotonic() + TIMEOUT
    while launched.process.poll() is None and time.monotonic() < end:
        launched.executor.spin_once(timeout_sec=0.1)
    output = launched.stop()
    assert launched.process.returncode == 0, output
    assert len(launched.contours) == 4, output
    assert not any(message.timing.dropped for message in launched.contours)
    assert output.count("process has finished cleanly") == 2, output


def test_three_cameras_share_one_node(launch_e2ec: Callable[..., Launched]) -> None:
    launched = launch_e2ec("three_cameras.launch.py", rear="photographs", device="cpu")
    heard = {c: launched.listen(f"/{c}/e2ec/contours") for c in ("front", "left", "rear")}
    assert launched.wait_for(lambda: all(heard.values())), launched.log.read_text()
    for camera, messages in heard.items():
        assert messages[0].header.frame_id == f"{camera}_optical_frame"
    assert heard["front"][0].width == heard["left"][0].width != heard["rear"][0].width
    assert launched.state() == "active"
    assert launched.node.get_node_names().count("e2ec") == 1


def test_each_of_three_cameras_gets_every_image_in_lock_step(
    launch_e2ec: Callable[..., Launched],
) -> None:
    sources = dict.fromkeys(("front", "left", "rear"), "photographs")
    launched = launch_e2ec(
        "three_cameras.launch.py", lock_step="true", end_with_input="true", params="cpu", **sources
    )
    heard = {camera: launched.listen(f"/{camera}/e2ec/contours") for camera in sources}
    end = time.monotonic() + TIMEOUT
    while launched.process.poll() is None and time.monotonic() < end:
        launched.executor.spin_once(timeout_sec=0.1)
    output = launched.stop()
    assert {camera: len(messages) for camera, messages in heard.items()} == dict.fromkeys(
        sources, 4
    ), output
    assert not any(m.timing.dropped for messages in heard.values() for m in messages)
    assert launched.process.returncode == 0, output


def test_a_node_that_dies_is_brought_up_again(launch_e2ec: Callable[..., Launched]) -> None:
    launched = launch_e2ec(
        input="photographs", loop="true", respawn="true", device="cpu", image="image"
    )
    assert launched.wait_for(lambda: bool(launched.contours)), launched.log.read_text()
    started = [
        line for line in launched.log.read_text().splitlines() if "started with pid" in line
    ]
    (node,) = (line for line in started if "e2ec_node" in line)
    os.kill(int(node.rpartition("[")[2].rstrip("]")), signal.SIGKILL)
    launched.contours.clear()
    time.sleep(1.0)
    launched.contours.clear()
    assert launched.wait_for(lambda: bool(launched.contours)), launched.log.read_text()
    assert launched.state() == "active"


def test_a_preset_is_given_by_its_name(launch_e2ec: Callable[..., Launched]) -> None:
    launched = launch_e2ec(params="jetson", autostart="false")
    request = GetParameters.Request(names=["precision", "lazy"])
    reply = launched.call(GetParameters, "/e2ec/get_parameters", request)
    assert reply.values[0].string_value == "fp16"
    assert reply.values[1].bool_value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"params": "cpv"}, "params is 'cpv', which is no file and none of cpu, gpu, jetson"),
        (
            {"cameras": "front,left", "image": "/camera/image"},
            "image is '/camera/image', but each of the cameras front, left needs a topic",
        ),
        (
            {"cameras": "front,left", "input": "a.mp4,b.mp4,c.mp4"},
            "input is 'a.mp4,b.mp4,c.mp4', which is for 3 cameras, and cameras are front, left",
        ),
    ],
)
def test_impossible_arguments_are_named_in_one_line(
    launch_e2ec: Callable[..., Launched], arguments: dict[str, str], words: str
) -> None:
    launched = launch_e2ec(**arguments)
    assert launched.process.wait(TIMEOUT) != 0
    said = launched.stop()
    assert words in said
    assert "Traceback" not in said
