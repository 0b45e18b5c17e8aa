"""The files in config/ fit the node."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rclpy
import yaml
from rclpy.qos import (
    QoSCompatibility,
    QoSDurabilityPolicy,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import Image

from e2ec_ros.distance_parameters import DistanceParameters
from e2ec_ros.distro import FAST_DDS_PROFILE
from e2ec_ros.parameter_specs import specs
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.point_clouds import INSTANCE_FIELD

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench


LAYOUTS = ("e2ec", "e2ec_distance")
IMAGE = "/camera/image"  # what launch/e2ec.launch.py calls the camera's images
SHOWN = {
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/Camera": "sensor_msgs/msg/Image",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/PointCloud2": "sensor_msgs/msg/PointCloud2",
}


def displays(repo_dir: Path, layout: str) -> dict[str, dict[str, Any]]:
    content = yaml.safe_load((repo_dir / f"config/{layout}.rviz").read_text())
    return {item["Name"]: item for item in content["Visualization Manager"]["Displays"]}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rviz_shows_what_the_nodes_publish(
    repo_dir: Path, bench: Bench, make_node: Callable[..., SegmentationNode], layout: str
) -> None:
    from e2ec_ros.distance_node import DistanceNode

    make_node()
    bench.spin(DistanceNode())
    images = bench.node.create_publisher(Image, IMAGE, 1)
    assert bench.transition("configure")
    shown = {
        name: (item["Topic"], SHOWN[item["Class"]])
        for name, item in displays(repo_dir, layout).items()
        if "Topic" in item
    }
    expected = {"Overlay": "/e2ec/overlay/image", "Camera": images.topic_name}
    if layout == "e2ec":
        expected |= {"Contours": "/e2ec/markers"}
    else:
        expected |= {"Distances": "/distance/markers", "Points": "/distance/points"}
    assert {name: topic["Value"] for name, (topic, _) in shown.items()} == expected
    for topic, kind in shown.values():
        bench.wait(lambda t=topic: bench.node.count_publishers(t["Value"]) == 1)
        (publisher,) = bench.node.get_publishers_info_by_topic(topic["Value"])
        assert publisher.topic_type == kind
        reader = QoSProfile(
            depth=topic["Depth"],
            reliability=QoSReliabilityPolicy[topic["Reliability Policy"].upper()],
            durability=QoSDurabilityPolicy[topic["Durability Policy"].upper()],
        )
        assert qos_check_compatible(publisher.qos_profile, reader)[0] != QoSCompatibility.ERROR


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rviz_loses_no_large_image_of_a_publisher_without_the_dds_profile(
    repo_dir: Path, layout: str
) -> None:
    for name in ("Overlay", "Camera"):
        topic = displays(repo_dir, layout)[name]["Topic"]
        assert topic["Reliability Policy"] == "Reliable"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_camera_shows_the_markers_over_the_image(repo_dir: Path, layout: str) -> None:
    shown = displays(repo_dir, layout)
    visible = shown["Camera"]["Visibility"]
    assert set(visible) == {*shown, "Value"} - {"Camera"}
    markers = {name for name, item in shown.items() if item["Class"].endswith("MarkerArray")}
    assert {name for name, on in visible.items() if on} == {*markers, "Overlay", "Value"}


def test_rviz_colours_the_points_by_their_instance(repo_dir: Path) -> None:
    points = displays(repo_dir, "e2ec_distance")["Points"]
    assert points["Color Transformer"] == "Intensity"
    assert points["Channel Name"] == INSTANCE_FIELD


def test_markers_stay_until_the_next_however_slow_the_model_is() -> None:
    assert NodeParameters().markers_lifetime == 0.0  # never, to RViz
    assert DistanceParameters().lifetime == 0.0


@pytest.mark.parametrize("name", ["cpu", "gpu", "jetson"])
def test_presets_hold_values_that_the_node_takes(
    repo_dir: Path, make_node: Callable[..., SegmentationNode], name: str
) -> None:
    content = yaml.safe_load((repo_dir / f"config/presets/{name}.yaml").read_text())
    flat = {}
    for key, value in content["/**"]["ros__parameters"].items():
        flat |= (
            {f"{key}.{k}": v for k, v in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
    node = make_node(**flat)
    node.declared.require_possible()
    known = {spec.name: field for field, spec in specs(NodeParameters).items()}
    assert {key: getattr(node.declared.value, known[key]) for key in flat} == flat


def test_the_dds_profile_gives_images_enough_shared_memory(repo_dir: Path) -> None:
    root = ET.parse(repo_dir / "config/fastdds_shm.xml").getroot()
    space = root.tag.removesuffix("dds")
    (size,) = (int(item.text or 0) for item in root.iter(f"{space}segment_size"))
    assert size >= 4 * 3840 * 2160 * 3 // 2  # several 4K images


def test_fast_dds_reads_the_variable_that_names_the_profile(tmp_path: Path) -> None:
    """It says that it cannot read this one; with the name of another release it says nothing."""
    if "fastrtps" not in rclpy.get_rmw_implementation_identifier():
        pytest.skip("another DDS than Fast DDS is in use")
    broken = tmp_path / "broken.xml"
    broken.write_text("<broken")
    code = "import rclpy\nrclpy.init(args=[])\nrclpy.create_node('reader')"
    reply = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, FAST_DDS_PROFILE: str(broken)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert str(broken) in reply.stdout + reply.stderr


def test_messages_can_be_used_without_torch_and_model() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'cv_bridge', 'vision_msgs'): sys.modules[name] = None\n"
        "import e2ec_ros.msg, e2ec_ros.srv, e2ec_ros.messages, e2ec_ros.playback.camera_node\n"
        "import e2ec_ros.node\n"
        "print(e2ec_ros.msg.InstanceContour().track_id)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "-1", done.stderr
