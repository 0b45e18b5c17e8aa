"""Several cameras and one model: every camera gets its turn, its own topics and its own tracks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from e2ec_ros.calibration import pinhole
from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray, ModelInfo
from e2ec_ros.qos import latched

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]

CAMERAS = ["front", "left", "rear"]


def image(camera: str, stamp: int = 0, size: tuple[int, int] = (48, 64)) -> Image:
    header = Header(frame_id=f"{camera}_optical_frame")
    header.stamp.nanosec = stamp
    return fill_image(Image(header=header), np.full((*size, 3), 90, np.uint8))


def activate(bench: Bench) -> None:
    assert bench.transition("configure")
    assert bench.transition("activate")


@pytest.mark.parametrize("batch_wait", [0.0, 0.05])
def test_a_slow_camera_keeps_its_place_beside_fast_ones(
    bench: Bench, make_node: MakeNode, batch_wait: float
) -> None:
    # Large for the network, so that the fast cameras alone are too much for any CPU.
    node = make_node(cameras=CAMERAS, batch_wait=batch_wait, short_side=640, long_side=0)
    activate(bench)
    answers = {c: bench.listen(InstanceContourArray, f"/{c}/e2ec/contours") for c in CAMERAS}
    publishers = {c: bench.node.create_publisher(Image, f"/{c}/image", 1) for c in CAMERAS}
    bench.wait(lambda: all(p.get_subscription_count() for p in publishers.values()))
    for camera in CAMERAS[:2]:
        publisher, message = publishers[camera], image(camera)
        bench.node.create_timer(0.02, lambda p=publisher, m=message: p.publish(m))  # type: ignore[misc]
    bench.wait(lambda: min(len(answers[c]) for c in CAMERAS[:2]) >= 2)
    for stamp in range(4):  # one image, and the next one when its contours are there
        before = sum(len(answers[c]) for c in CAMERAS[:2])
        publishers["rear"].publish(image("rear", stamp))
        bench.wait(lambda stamp=stamp: len(answers["rear"]) > stamp)
        # The frame in work, or one of each other camera in a batch, one more of each, and what
        # DDS still carries.
        assert sum(len(answers[c]) for c in CAMERAS[:2]) - before <= (6 if batch_wait else 5)
    front, left = (len(answers[c]) for c in CAMERAS[:2])
    assert abs(front - left) <= 2
    assert [answer.timing.dropped for answer in answers["rear"]] == [0] * 4
    assert node.engine is not None
    assert [s.statistics.totals.dropped > 0 for s in node.engine.streams] == [True, True, False]


def test_names_frames_sizes_and_calibration_stay_those_of_the_camera(
    bench: Bench, make_node: MakeNode
) -> None:
    make_node(cameras=CAMERAS)
    activate(bench)
    sizes = {"front": (48, 64), "left": (64, 48), "rear": (40, 40)}
    overlays = {c: bench.listen(Image, f"/{c}/e2ec/overlay/image") for c in CAMERAS}
    infos = {c: bench.listen(CameraInfo, f"/{c}/e2ec/overlay/camera_info") for c in CAMERAS}
    answers = {c: bench.listen(InstanceContourArray, f"/{c}/e2ec/contours") for c in CAMERAS}
    models = [bench.listen(ModelInfo, f"/{c}/e2ec/model_info", latched()) for c in CAMERAS]
    bench.wait(lambda: all(models))
    for number, camera in enumerate(CAMERAS):
        size = sizes[camera]
        info = bench.node.create_publisher(CameraInfo, f"/{camera}/camera_info", latched())
        header = Header(frame_id=f"{camera}_optical_frame")
        calibration = pinhole(size, 50.0 + number, 50.0, 20.0, 20.0)
        info.publish(calibration.fill(CameraInfo(header=header)))
        publisher = bench.node.create_publisher(Image, f"/{camera}/image", 1)
        bench.wait(lambda p=publisher: p.get_subscription_count())  # type: ignore[misc]
        bench.wait(lambda i=info: i.get_subscription_count())  # type: ignore[misc]

        def heard(publisher: object = publisher, camera: str = camera) -> bool:
            publisher.publish(image(camera, size=sizes[camera]))  # type: ignore[attr-defined]
            return bool(infos[camera] and overlays[camera] and answers[camera])

        bench.wait(heard)
    for number, camera in enumerate(CAMERAS):
        frame, size = f"{camera}_optical_frame", sizes[camera]
        for message in answers[camera]:
            assert message.header.frame_id == frame
            assert (message.height, message.width) == size
        assert (overlays[camera][0].height, overlays[camera][0].width) == size
        assert infos[camera][0].header.frame_id == frame
        assert infos[camera][0].k[0] == 50.0 + number
    topics = {name for name, _ in bench.node.get_topic_names_and_types()}
    assert "/image" not in topics
    assert "/e2ec/contours" not in topics


def test_diagnostics_name_the_camera_that_is_missing(bench: Bench, make_node: MakeNode) -> None:
    make_node(cameras=CAMERAS[:2])
    activate(bench)
    diagnostics = bench.listen(DiagnosticArray, "/diagnostics")
    publisher = bench.node.create_publisher(Image, "/front/image", 1)
    bench.node.create_timer(0.02, lambda: publisher.publish(image("front")))

    def judged() -> dict[str, bytes]:
        return {s.name: s.level for s in diagnostics[-1].status} if diagnostics else {}

    want = {
        "e2ec: segmentation of front": DiagnosticStatus.OK,
        "e2ec: segmentation of left": DiagnosticStatus.WARN,
    }
    bench.wait(lambda: judged() == want)


def test_silence_of_one_camera_is_reported_while_another_one_is_busy(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    make_node(cameras=CAMERAS[:2], short_side=320)
    activate(bench)
    publisher = bench.node.create_publisher(Image, "/front/image", 1)
    bench.node.create_timer(0.02, lambda: publisher.publish(image("front")))
    bench.wait(lambda: any("no image on /left/image for" in line for line in console()), 30)
    assert not any("no image on /front/image" in line for line in console())


def test_the_node_without_its_cameras_is_as_before(bench: Bench, make_node: MakeNode) -> None:
    node = make_node(cameras=CAMERAS)
    activate(bench)
    assert "deactivate and clean up" in bench.set("cameras", ["front"])
    assert bench.transition("deactivate")
    assert bench.transition("cleanup")
    assert bench.set("cameras", []) == ""
    activate(bench)
    assert node.engine is not None
    assert len(node.engine.streams) == 1
    assert node.count_publishers("/e2ec/contours") == 1
    assert node.count_publishers("/front/e2ec/contours") == 0


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["front", "2nd"], "'2nd'; give names of letters, digits and _, e.g. [front, left]"),
        (["front", "front"], "with 'front' twice; give each camera its own name"),
        (["/front"], "'/front'; give names"),
    ],
)
def test_impossible_names_are_refused_with_one_line(
    bench: Bench, make_node: MakeNode, names: list[str], reason: str
) -> None:
    node = make_node()
    assert reason in bench.set("cameras", names)
    assert node.declared.value.cameras == ()
