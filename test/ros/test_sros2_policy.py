"""The SROS2 policy allows what the nodes do, and nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rclpy.node import NodeNameNonExistentError
from sensor_msgs.msg import Image, PointCloud2

if TYPE_CHECKING:
    from rclpy.node import Node

    from ros_bench import Bench

# Only with a parameter, a package or a listener that the nodes here do not have.
ON_DEMAND = {
    ("subscribe", "/clock"),
    ("publish", "/bond"),
    ("subscribe", "/bond"),
    ("publish", "/e2ec/label_info"),
    ("publish", "/e2ec/detections"),
    ("publish", "/e2ec/annotations"),
    ("publish", "/e2ec/labels/image"),
    ("subscribe", "/image/compressed"),
    ("subscribe", "/e2ec/contours"),
    ("subscribe", "/depth"),
    ("subscribe", "/tf"),
    ("subscribe", "/tf_static"),
    ("publish", "/distance/points"),
    ("publish", "/distance/markers"),
    ("publish", "/distance/detections"),
}


def allowed(repo_dir: Path, name: str) -> set[tuple[str, str]]:
    """(what, name) that the policy allows a node."""
    (profile,) = ET.parse(repo_dir / "config/sros2/policy.xml").findall(
        f".//profile[@node='{name}']"
    )
    assert profile.get("ns") == "/"
    found = set()
    for group in profile:
        for what, value in group.attrib.items():
            assert value == "ALLOW"
            for entry in group:
                assert entry.text
                relative = entry.text.replace("~", f"/{name}", 1)
                found.add((what, relative if relative[0] == "/" else f"/{relative}"))
    return found


def used(observer: Node, name: str) -> set[tuple[str, str]]:
    """(what, name) that a running node uses."""
    return {
        (what, entry)
        for what, look in (
            ("publish", observer.get_publisher_names_and_types_by_node),
            ("subscribe", observer.get_subscriber_names_and_types_by_node),
            ("reply", observer.get_service_names_and_types_by_node),
            ("request", observer.get_client_names_and_types_by_node),
        )
        for entry, _ in look(name, "/")
    }


@pytest.mark.parametrize(
    ("name", "module", "arguments"),
    [
        ("e2ec", "e2ec_ros.node", ["tracks:=true", "autostart:=true", "short_side:=64"]),
        ("distance", "e2ec_ros.distance_node", []),
        ("camera", "e2ec_ros.playback.camera_node", ["rate:=5.0"]),
    ],
)
def test_the_policy_fits_the_node(
    repo_dir: Path, bench: Bench, name: str, module: str, arguments: list[str]
) -> None:
    given = [word for argument in arguments for word in ("-p", argument)]
    bench.start(module, ["--ros-args", *given])
    may = allowed(repo_dir, name)
    bench.listen(Image, "/e2ec/classes/image")  # made when somebody listens
    # Subscribed to when somebody publishes.
    bench.node.create_publisher(Image, "/image", 1)
    bench.node.create_publisher(PointCloud2, "/points", 1)

    def fits() -> bool:
        try:
            does = used(bench.node, name)
        except NodeNameNonExistentError:  # not there yet
            return False
        assert does <= may, does - may
        return may - does <= ON_DEMAND

    bench.wait(fits)
