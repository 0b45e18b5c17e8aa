"""The launch files, run by the real launch system with the real node.

PyPI has no `launch`, so these tests need a ROS installation (or a workspace with launch_ros).
RViz opens windows, so a program that takes its place tells what it was started with.
"""

from __future__ import annotations

import itertools
import json
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

from e2ec_ros.demo.domains import own_domain  # noqa: E402
from e2ec_ros.msg import InstanceContourArray  # noqa: E402

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


TOPICS = ("e2ec/overlay/image", "e2ec/markers", "distance/markers", "distance/points")
# Takes the place of RViz, which cannot be asked what it was started with.
WRITE_ARGUMENTS = """#!/usr/bin/env python3
import json, os, sys, time
files = [b for a, b in zip(sys.argv, sys.argv[1:]) if a == "--params-file"]
said = {"arguments": sys.argv[1:], "parameters": "".join(open(f).read() for f in files)}
with open(__file__ + ".part", "w") as file:
    json.dump(said, file)
os.rename(__file__ + ".part", __file__ + ".json")
time.sleep(600)
"""


class Launched:
    """A running launch file and a node that looks at it from outside."""

    def __init__(
        self, launch_file: Path, log: Path, domain: int, arguments: dict[str, str]
    ) -> None:
        self.log = log
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node("observer", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.contours = self.listen("/e2ec/contours")
        given = [f"{name}:={value}" for name, value in arguments.items()]
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(domain),
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

    def change_state(self, transition: str) -> bool:
        """Asks for a transition of the segmentation node. Returns whether it succeeded."""
        request = ChangeState.Request()
        request.transition.label = transition
        return bool(self.call(ChangeState, "/e2ec/change_state", request).success)

    def activate(self, *topics: str) -> None:
        """Activates the node once its contours reach the observer, who then hears all."""
        assert self.change_state("configure")
        assert self.wait_for(lambda: all(self.node.count_publishers(t) for t in topics))
        assert self.change_state("activate")

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
    with own_domain() as domain:

        def launch(file: str = "e2ec.launch.py", **arguments: str) -> Launched:
            log = tmp_path / "launch.log"
            launched = Launched(repo_dir / "launch" / file, log, domain, arguments)
            running.append(launched)
            return launched

        yield launch
        for launched in running:
            launched.close()


class StandInForRViz:
    """A package `rviz2` whose program writes down what it is started with."""

    def __init__(self, folder: Path) -> None:
        index = folder / "share/ament_index/resource_index/packages/rviz2"
        self._program = folder / "lib/rviz2/rviz2"
        for path in (index, self._program):
            path.parent.mkdir(parents=True)
            path.write_text(WRITE_ARGUMENTS)
        self._program.chmod(0o755)

    def started(self, launched: Launched) -> dict[str, str]:
        """Waits until it runs. Returns what follows -d and -f, its topics and its parameters."""
        file = self._program.with_name("rviz2.json")
        assert launched.wait_for(file.is_file), launched.log.read_text()
        said = json.loads(file.read_text())
        words = said["arguments"]
        options = {a: b for a, b in itertools.pairwise(words) if a in ("-d", "-f")}
        topics = dict(word.split(":=") for word in words if word.startswith("/") and ":=" in word)
        return options | topics | {"parameters": said["parameters"]}


@pytest.fixture
def rviz2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandInForRViz:
    """Is found in place of RViz."""
    prefix = tmp_path / "prefix"
    monkeypatch.setenv(
        "AMENT_PREFIX_PATH", f"{prefix}{os.pathsep}{os.environ['AMENT_PREFIX_PATH']}"
    )
    return StandInForRViz(prefix)


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
    assert launched.change_state("configure")
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
    assert "rviz2 is not installed, which rviz:=true needs: apt install ros-" in said
    assert "Traceback" not in said


def test_rviz_shows_the_image_and_the_results_in_the_frame_that_is_asked_for(
    launch_e2ec: Callable[..., Launched], rviz2: StandInForRViz, repo_dir: Path
) -> None:
    launched = launch_e2ec(
        rviz="true", image="/zed/image_raw", fixed_frame="zed_optical", autostart="false"
    )
    assert rviz2.started(launched) == {
        "-d": str(repo_dir / "config/e2ec.rviz"),
        "-f": "zed_optical",
        "/camera/image": "/zed/image_raw",
        "/camera/camera_info": "e2ec/overlay/camera_info",
        **{f"/{topic}": topic for topic in TOPICS},
        "parameters": "/**:\n  ros__parameters:\n    use_sim_time: false\n",
    }


def test_rviz_follows_namespace_cameras_input_and_clock(
    launch_e2ec: Callable[..., Launched], rviz2: StandInForRViz, repo_dir: Path
) -> None:
    launched = launch_e2ec(
        "three_cameras.launch.py",
        rviz="true",
        namespace="robot",
        distance="points",
        use_sim_time="true",
        autostart="false",
    )
    started = rviz2.started(launched)
    assert "use_sim_time: true" in started.pop("parameters")
    assert started == {
        "-d": str(repo_dir / "config/e2ec_distance.rviz"),
        "-f": "front_optical_frame",  # of what is played as the camera front
        "/camera/image": "robot/front/image",
        "/camera/camera_info": "robot/front/e2ec/overlay/camera_info",
        **{f"/{topic}": f"robot/front/{topic}" for topic in TOPICS},
    }


def test_rviz_can_be_launched_alone(
    launch_e2ec: Callable[..., Launched], rviz2: StandInForRViz
) -> None:
    started = rviz2.started(launch_e2ec("rviz.launch.py", fixed_frame="map", distance="true"))
    assert started["-f"] == "map"
    assert started["-d"].endswith("e2ec_distance.rviz")
    assert started["/camera/image"] == "camera/image"  # of RViz's namespace, which is empty


@pytest.mark.parametrize("source", ["points", "depth"])
def test_the_distance_node_listens_to_contours_camera_and_sensor(
    launch_e2ec: Callable[..., Launched], tmp_path: Path, source: str
) -> None:
    params = tmp_path / "distance.yaml"
    params.write_text("/**:\n  ros__parameters:\n    sync: {tolerance: 0.5}\n")
    topic = {"distance_topic": "/lidar/points"} if source == "points" else {}
    launched = launch_e2ec(
        distance=source, distance_params=str(params), namespace="front", autostart="false", **topic
    )
    sensor = "/lidar/points" if source == "points" else "/front/depth"
    words = f"listening to /front/e2ec/contours and {sensor}"
    assert launched.wait_for(lambda: words in launched.log.read_text()), launched.log.read_text()
    assert launched.wait_for(
        lambda: launched.node.count_subscribers("/front/camera/camera_info") == 1
    )
    request = GetParameters.Request(names=["source", "sync.tolerance"])
    reply = launched.call(GetParameters, "/front/distance/get_parameters", request)
    assert reply.values[0].string_value == source
    assert reply.values[1].double_value == 0.5


def test_rate_intrinsics_and_tracks_are_arguments(
    launch_e2ec: Callable[..., Launched], tmp_path: Path
) -> None:
    params = tmp_path / "player.yaml"
    params.write_text("/**:\n  ros__parameters:\n    rate: 1.0\n")
    launched = launch_e2ec(
        input="photographs",
        rate="12",
        intrinsics="700,701.5,320,240",
        tracks="true",
        player_params=str(params),
        autostart="false",
    )
    request = GetParameters.Request(names=["rate", "intrinsics"])
    rate, intrinsics = launched.call(GetParameters, "/camera/get_parameters", request).values
    assert rate.double_value == 12.0
    assert list(intrinsics.double_array_value) == [700.0, 701.5, 320.0, 240.0]
    request = GetParameters.Request(names=["tracks"])
    assert launched.call(GetParameters, "/e2ec/get_parameters", request).values[0].bool_value


def test_in_lock_step_no_image_is_dropped_and_everything_ends_with_the_input(
    launch_e2ec: Callable[..., Launched],
) -> None:
    launched = launch_e2ec(
        input="photographs",
        lock_step="true",
        end_with_input="true",
        params="cpu",
        autostart="false",
    )
    launched.activate("/e2ec/contours")
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


def test_none_is_played_for_a_real_camera(launch_e2ec: Callable[..., Launched]) -> None:
    launched = launch_e2ec("three_cameras.launch.py", rear="none", device="cpu")
    heard = {c: launched.listen(f"/{c}/e2ec/contours") for c in ("front", "left")}
    assert launched.wait_for(lambda: all(heard.values())), launched.log.read_text()
    assert launched.node.count_publishers("/rear/e2ec/contours") == 1
    assert launched.node.count_publishers("/rear/image") == 0
    assert launched.log.read_text().count("process started") == 3


def test_each_of_three_cameras_gets_every_image_in_lock_step(
    launch_e2ec: Callable[..., Launched],
) -> None:
    sources = dict.fromkeys(("front", "left", "rear"), "photographs")
    launched = launch_e2ec(
        "three_cameras.launch.py",
        lock_step="true",
        end_with_input="true",
        params="cpu",
        autostart="false",
        **sources,
    )
    heard = {camera: launched.listen(f"/{camera}/e2ec/contours") for camera in sources}
    launched.activate(*(f"/{camera}/e2ec/contours" for camera in sources))
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
            {"input": "photographs", "intrinsics": "700,700"},
            "intrinsics is '700,700'; give fx,fy,cx,cy in px",
        ),
        (
            {"input": "photographs", "rate": "slow"},
            "rate is 'slow'; give images per second",
        ),
        (
            {"distance": "points", "distance_params": "lidar.yaml"},
            "distance_params is 'lidar.yaml', which is no file",
        ),
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
