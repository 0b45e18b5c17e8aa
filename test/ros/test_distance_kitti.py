"""KITTI through the real nodes: image and scan in, positions in the labelled 3-D boxes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

STALE = "the compiled messages are older than the source: run `make env`"
pytest.importorskip("e2ec_ros.positions", reason=STALE, exc_type=ImportError)

from ros_positions import header  # noqa: E402

from e2ec_ros.calibration import Calibration  # noqa: E402
from e2ec_ros.contour_messages import boxes_of  # noqa: E402
from e2ec_ros.images import fill_image  # noqa: E402
from e2ec_ros.msg import InstanceContourArray, InstancePositionArray  # noqa: E402
from e2ec_ros.point_clouds import labelled_points  # noqa: E402

if TYPE_CHECKING:
    from ros_bench import Bench


def test_positions_of_both_nodes_lie_in_the_labelled_boxes(
    bench: Bench, shared_dir: Path, load_script: Callable[[str], ModuleType]
) -> None:
    kitti = load_script("benchmarks/distance.py")
    frame = next(kitti.read_frames(shared_dir / "data/kitti_tracking_0001"))
    extrinsic = ", ".join(f"{value!r}" for value in frame.extrinsic.reshape(-1).tolist())
    nodes = [
        bench.start("e2ec_ros.node", ["--ros-args", "-r", "image:=/camera/image"]),
        bench.start(
            "e2ec_ros.distance_node",
            ["--ros-args", "-r", "camera_info:=/camera/camera_info"]
            + ["-p", f"extrinsic:=[{extrinsic}]", "-p", "rectified:=true"],
        ),
    ]
    make = bench.node.create_publisher
    publishers = make(Image, "/camera/image", 5), make(PointCloud2, "/points", 5)
    infos = make(CameraInfo, "/camera/camera_info", 5)
    contours = bench.listen(InstanceContourArray, "/e2ec/contours")
    positions = bench.listen(InstancePositionArray, "/distance/positions")
    assert bench.transition("configure"), nodes[0].log.read_text()
    assert bench.transition("activate")
    bench.wait(lambda: infos.get_subscription_count() == 2)
    bench.wait(lambda: all(p.get_subscription_count() for p in publishers))
    bench.wait(lambda: bench.node.count_subscribers("/e2ec/contours") == 2)

    image = np.ascontiguousarray(cv2.imread(str(frame.image))[..., ::-1])
    camera = Calibration(size=image.shape[:2], k=frame.projection[:, :3], p=frame.projection)
    info = camera.fill(CameraInfo(header=header(5.0, "image_02")))
    nothing = np.full(len(frame.cloud), -1, np.int32)
    scan = labelled_points(frame.cloud[:, :3], nothing, header(5.0, "velo_link"))
    message = fill_image(Image(header=header(5.0, "image_02")), image)

    def send() -> None:  # again: what is sent before a node has discovered us is lost
        infos.publish(info)
        publishers[1].publish(scan)
        publishers[0].publish(message)

    send()
    bench.node.create_timer(5.0, send)
    bench.wait(lambda: contours and positions)
    answer = positions[0]
    assert answer.header == contours[0].header
    assert len(answer.instances) == len(contours[0].instances) > 5
    found = 0
    for instance, box in zip(answer.instances, boxes_of(contours[0]), strict=True):
        label = max(frame.labels, key=lambda one: kitti.ious(box, [one])[0])
        if instance.points >= kitti.LEAST_POINTS and kitti.ious(box, [label])[0] >= 0.5:
            place = instance.position
            assert (label.outside(np.array([place.x, place.y, place.z])) <= 0).all()
            found += 1
    assert found >= 3
