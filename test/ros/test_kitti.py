"""KITTI through the real camera node, real DDS, the real node and the weights that ship."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from e2ec_ros.contour_messages import vertices_of
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.qos import latched

if TYPE_CHECKING:
    from ros_bench import Bench

Box = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max, px

INTRINSICS = "[721.5377, 721.5377, 609.5593, 172.854]"
# Cars that anybody sees in kitti_raw_seq8, measured by eye in its first and its last frame: the
# estate car ahead and the grey one to the left, which leaves the image while we overtake it.
FIRST_FRAME: tuple[Box, ...] = ((556, 189, 700, 310), (62, 181, 414, 374))
LAST_FRAME: tuple[Box, ...] = ((556, 191, 708, 320), (0, 187, 371, 374))
ROAD_VEHICLES = ("car", "truck", "bus")
LEAST_IOU = 0.7  # of the boxes, which were measured to a few px


def play(bench: Bench, folder: Path) -> tuple[list[InstanceContourArray], list[CameraInfo]]:
    """Plays a folder through both nodes, each a process, and returns what they published."""
    contours = bench.listen(InstanceContourArray, "/e2ec/contours")
    infos = bench.listen(CameraInfo, "/camera/camera_info", latched(10))
    node = bench.start("e2ec_ros.node", ["--ros-args", "-r", "image:=/camera/image"])
    assert bench.transition("configure"), node.log.read_text()
    assert bench.transition("activate")
    bench.wait(lambda: bench.node.count_publishers("/e2ec/contours") > 0)
    camera = bench.start(
        "e2ec_ros.playback.camera_node",
        ["--ros-args", "-r", "image:=/camera/image", "-p", f"source:={folder}"]
        + ["-p", "wait_for_subscriber:=true", "-p", "wait_for_contours:=/e2ec/contours"]
        # Not so fast that the camera ends before everybody has discovered it.
        + ["-p", f"intrinsics:={INTRINSICS}", "-p", "frame_id:=image_02", "-p", "rate:=1.0"],
    )
    assert camera.process.wait(360) == 0, camera.log.read_text()
    count = len(list(folder.glob("*.png")))
    bench.wait(lambda: len(contours) == len(infos) == count)
    return contours, infos


def check_frames(contours: list[InstanceContourArray], infos: list[CameraInfo]) -> None:
    """Headers are those of the camera; every contour lies in the image and is what it says."""
    for answer, info in zip(contours, infos, strict=True):
        assert answer.header == info.header
        assert answer.header.frame_id == "image_02"
        assert (answer.width, answer.height) == (info.width, info.height)
        assert answer.timing.dropped == 0
        assert 0 < answer.timing.pipeline < 60
        scores = [instance.score for instance in answer.instances]
        assert scores == sorted(scores, reverse=True)
        for instance in answer.instances:
            vertices = vertices_of(instance)
            assert len(vertices) >= 32
            assert (vertices >= -0.51).all()
            assert (vertices <= [answer.width - 0.49, answer.height - 0.49]).all()
            np.testing.assert_allclose(instance.box[:2], vertices.min(axis=0))
            np.testing.assert_allclose(instance.box[2:], vertices.max(axis=0))
            assert instance.area > 0


def boxes_of(answer: InstanceContourArray) -> list[NDArray[np.float32]]:
    return [i.box for i in answer.instances if i.class_name in ROAD_VEHICLES]


def iou(a: Box | NDArray[np.float32], b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (areas - shared))


def best_iou(answer: InstanceContourArray, box: Box) -> float:
    return max((iou(found, box) for found in boxes_of(answer)), default=0.0)


def test_cars_are_found_in_a_raw_sequence(bench: Bench, shared_dir: Path) -> None:
    contours, infos = play(bench, shared_dir / "data/kitti_raw_seq8/image_02/data")
    assert len(contours) == 8
    check_frames(contours, infos)
    for index, answer in enumerate(contours):
        share = index / 7
        for first, last in zip(FIRST_FRAME, LAST_FRAME, strict=True):
            box = tuple((1 - share) * a + share * b for a, b in zip(first, last, strict=True))
            assert best_iou(answer, box) >= LEAST_IOU, (index, box, boxes_of(answer))  # type: ignore[arg-type]


def labelled_cars(path: Path, frame: int) -> list[Box]:
    """Boxes of cars of a KITTI tracking label file that are large and hardly hidden."""
    boxes = []
    for line in path.read_text().splitlines():
        words = line.split()
        left, top, right, bottom = map(float, words[6:10])
        hidden = int(words[4]) > 1  # 2: largely occluded
        if int(words[0]) == frame and words[2] == "Car" and not hidden and bottom - top >= 40:
            boxes.append((left, top, right, bottom))
    return boxes


def test_labelled_cars_are_found_in_a_tracking_sequence(bench: Bench, shared_dir: Path) -> None:
    folder = shared_dir / "data/kitti_tracking_0001/training"
    contours, infos = play(bench, folder / "image_02/0001")
    check_frames(contours, infos)
    for frame, answer in enumerate(contours):
        labelled = labelled_cars(folder / "label_02/0001.txt", frame)
        assert len(labelled) == 3
        found = [best_iou(answer, box) for box in labelled]
        assert sum(value >= 0.6 for value in found) >= 2, (frame, found)


@pytest.mark.parametrize("box", [FIRST_FRAME[0], LAST_FRAME[1]])
def test_the_overlap_measure(box: Box) -> None:
    assert iou(box, box) == 1.0
    assert iou(box, (box[2], box[1], box[2] + 9, box[3])) == 0.0
    half = (box[0], box[1], (box[0] + box[2]) / 2, box[3])
    assert math.isclose(iou(half, box), 0.5)
