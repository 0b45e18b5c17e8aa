"""The files in config/ fit the node."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2ec_ros.parameter_specs import specs
from e2ec_ros.parameters import NodeParameters

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench


def displays(repo_dir: Path) -> dict[str, dict[str, Any]]:
    content = yaml.safe_load((repo_dir / "config/e2ec.rviz").read_text())
    return {item["Name"]: item for item in content["Visualization Manager"]["Displays"]}


def test_rviz_shows_topics_that_the_node_publishes(
    repo_dir: Path, bench: Bench, make_node: Callable[..., SegmentationNode]
) -> None:
    make_node()
    assert bench.transition("configure")
    shown = {item["Topic"]["Value"] for item in displays(repo_dir).values()}
    assert shown == {"/e2ec/overlay/image", "/e2ec/markers"}

    def published() -> set[str]:
        return {name for name, _ in bench.node.get_topic_names_and_types()}

    bench.wait(lambda: shown <= published(), 20)
    # RViz's Camera takes the calibration from the topic beside the image.
    assert "/e2ec/overlay/camera_info" in published()


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


def test_rviz_subscribes_to_images_so_that_any_publisher_serves(repo_dir: Path) -> None:
    for name in ("Overlay", "Camera"):
        assert displays(repo_dir)[name]["Topic"]["Reliability Policy"] == "Best Effort"


def test_the_dds_profile_gives_images_enough_shared_memory(repo_dir: Path) -> None:
    root = ET.parse(repo_dir / "config/fastdds_shm.xml").getroot()
    space = root.tag.removesuffix("dds")
    (size,) = (int(item.text or 0) for item in root.iter(f"{space}segment_size"))
    assert size >= 4 * 3840 * 2160 * 3 // 2  # several 4K images


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
