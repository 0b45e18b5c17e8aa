"""Images of several cameras in one batch: the same contours, and all else by camera."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from e2ec_core.contours import clip_to_image
from e2ec_core.inference import Predictor, PredictorSettings
from e2ec_core.inference.network_output import NetworkOutput
from e2ec_ros.contour_messages import vertices_of
from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.playback.sources import open_source

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]

CAMERAS = ["front", "left", "rear"]
LONG = 1.0
"""The greatest `batch_wait`, s: images sent at once hardly come that far apart."""
Answers = dict[str, InstanceContourArray]


@pytest.fixture(scope="module")
def photographs() -> dict[str, NDArray[np.uint8]]:
    """A photograph for each camera, uint8 [256, 320, 3]."""
    pictures = list(open_source("photographs").images())
    return {
        camera: np.ascontiguousarray(picture.rgb[-256:, :320])
        for camera, picture in zip(CAMERAS, pictures, strict=False)
    }


class Rig:
    """Cameras that send images to the node, and what it answers."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.stamps: Iterator[int] = itertools.count(1)
        self.answers = {
            c: bench.listen(InstanceContourArray, f"/{c}/e2ec/contours") for c in CAMERAS
        }
        self.publishers = {
            c: bench.node.create_publisher(Image, f"/{c}/image", 1) for c in CAMERAS
        }
        bench.wait(lambda: all(p.get_subscription_count() for p in self.publishers.values()))
        for camera in CAMERAS:
            bench.wait(lambda c=camera: bench.node.count_publishers(f"/{c}/e2ec/contours"))  # type: ignore[misc]

    def send(self, images: dict[str, Image]) -> int:
        """Sends images with a new stamp, s."""
        stamp = next(self.stamps)
        for camera, message in images.items():
            message.header = Header(stamp=Time(sec=stamp), frame_id=f"{camera}_optical_frame")
            self.publishers[camera].publish(message)
        return stamp

    def ask(self, images: dict[str, Image], answering: list[str]) -> Answers:
        """Sends images; returns the answers of the cameras that shall have one."""
        stamp = self.send(images)
        heard = {}
        for camera in answering:
            self.bench.wait(lambda c=camera: self._answer(c, stamp))  # type: ignore[misc]
            heard[camera] = self._answer(camera, stamp)
        return {camera: answer for camera, answer in heard.items() if answer is not None}

    def ask_until_together(
        self, images: dict[str, Image], answering: list[str] = CAMERAS
    ) -> Answers:
        """Asks until the answers are of one batch, which the first images cannot be."""
        for _ in range(20):
            answers = self.ask(images, answering)
            # The time of a batch is measured once, so equal digits tell one.
            if len({answer.timing.inference for answer in answers.values()}) == 1:
                return answers
        raise AssertionError("no batch in twenty tries")

    def _answer(self, camera: str, stamp: int) -> InstanceContourArray | None:
        heard = self.answers[camera]
        return next((a for a in heard if a.header.stamp.sec == stamp), None)


def activate(bench: Bench) -> None:
    assert bench.transition("configure")
    assert bench.transition("activate")


def messages(pictures: dict[str, NDArray[np.uint8]]) -> dict[str, Image]:
    return {camera: fill_image(Image(), pixels) for camera, pixels in pictures.items()}


@pytest.mark.parametrize("weights", ["e2ec_lite.safetensors", "e2ec_lite.onnx"])
def test_contours_of_a_batch_are_those_of_each_image_alone(
    bench: Bench,
    make_node: MakeNode,
    repo_dir: Path,
    photographs: dict[str, NDArray[np.uint8]],
    weights: str,
) -> None:
    if weights.endswith(".safetensors"):
        pytest.importorskip("torch", reason="PyTorch is not installed")
    path = repo_dir / "weights" / weights
    node = make_node(
        cameras=CAMERAS, batch_wait=LONG, weights=str(path), short_side=256, tracks=True
    )
    activate(bench)
    rig = Rig(bench)
    answers = rig.ask_until_together(messages(photographs))
    alone = Predictor.from_checkpoint(path, device="cpu")
    alone.settings = node.declared.value.predictor_settings()
    seen = set()
    for camera, pixels in photographs.items():
        answer, expected = answers[camera], clip_to_image(alone(pixels).contours)
        assert answer.header.frame_id == f"{camera}_optical_frame"
        assert len(answer.instances) == len(expected)
        seen |= {instance.class_name for instance in answer.instances}
        for instance in answer.instances:
            # Matched by score: equal ones may change places.
            near = np.abs(expected.scores - instance.score) < 1e-4
            near &= expected.class_ids == instance.class_id
            distances = np.abs(expected.vertices[near] - vertices_of(instance)).max(axis=(1, 2))
            assert distances.min() < 0.01
    assert len(seen) > 1
    again = rig.ask_until_together(messages(photographs))
    for camera in CAMERAS:  # ids count by camera, and stay
        ids = [instance.track_id for instance in answers[camera].instances]
        assert sorted(set(ids) - {0}) == list(range(1, max(ids) + 1))
        assert [instance.track_id for instance in again[camera].instances] == ids


def test_a_bad_image_costs_itself_and_no_other_of_the_batch(
    bench: Bench, make_node: MakeNode, console: Console, photographs: dict[str, NDArray[np.uint8]]
) -> None:
    node = make_node(cameras=CAMERAS, batch_wait=LONG)
    activate(bench)
    rig, images = Rig(bench), messages(photographs)
    rig.ask(images, CAMERAS)
    bad = images | {"left": fill_image(Image(), photographs["left"])}
    bad["left"].encoding = "thermal"
    rig.ask_until_together(bad, ["front", "rear"])
    assert node.engine is not None
    front, left, rear = (stream.statistics for stream in node.engine.streams)
    bench.wait(lambda: left.totals.failed >= 1)
    assert front.totals.failed == rear.totals.failed == 0
    assert any("image of left skipped: image encoding 'thermal'" in line for line in console())
    diagnostics = bench.listen(DiagnosticArray, "/diagnostics")
    bench.wait(lambda: diagnostics)
    failed = {
        status.name: next(int(v.value) for v in status.values if v.key == "images failed")
        for status in diagnostics[0].status
    }
    assert failed == {
        "e2ec: segmentation of front": 0,
        "e2ec: segmentation of left": left.totals.failed,
        "e2ec: segmentation of rear": 0,
    }
    rig.ask_until_together(images)  # and left is back


def test_where_a_batch_is_too_large_each_image_goes_alone(
    bench: Bench,
    make_node: MakeNode,
    photographs: dict[str, NDArray[np.uint8]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU's memory may do for one image and not for three; here the error is brought in."""
    node = make_node(cameras=CAMERAS, batch_wait=LONG)
    activate(bench)
    rig, images = Rig(bench), messages(photographs)
    expected = rig.ask_until_together(images)
    assert node.engine is not None
    predictor = node.engine.predictor
    infer, sizes = predictor.infer, []

    def scarce(placed: NDArray[np.uint8], settings: PredictorSettings) -> list[NetworkOutput]:
        sizes.append(len(placed))
        if len(placed) > 1:
            raise MemoryError("out of memory")
        return infer(placed, settings)

    monkeypatch.setattr(predictor, "infer", scarce)
    answers = rig.ask(images, CAMERAS)
    for camera in CAMERAS:
        assert len(answers[camera].instances) == len(expected[camera].instances)
    assert max(sizes) > 1
    assert not any(stream.statistics.totals.failed for stream in node.engine.streams)


def test_images_of_several_sizes_go_in_batches_of_one_size(
    bench: Bench, make_node: MakeNode, photographs: dict[str, NDArray[np.uint8]]
) -> None:
    make_node(cameras=CAMERAS, batch_wait=LONG)
    activate(bench)
    rig = Rig(bench)
    smaller = np.ascontiguousarray(photographs["left"][:200])
    images = messages(photographs | {"left": smaller})
    rig.ask(images, CAMERAS)
    answers = rig.ask_until_together(images, ["front", "rear"])
    assert rig.ask(images, ["left"])["left"].height == 200
    assert {answer.height for answer in answers.values()} == {256}


def test_a_camera_that_is_off_holds_nobody_up(
    bench: Bench, make_node: MakeNode, photographs: dict[str, NDArray[np.uint8]]
) -> None:
    """The others are a batch, though the third was heard before; later nobody waits for it."""
    node = make_node(cameras=CAMERAS, batch_wait=LONG)
    activate(bench)
    rig, images = Rig(bench), messages(photographs)
    rig.ask(images, CAMERAS)
    del images["rear"]
    rig.ask_until_together(images, CAMERAS[:2])
    for _ in range(3):
        answers = rig.ask({"front": images["front"]}, ["front"])
    assert answers["front"].timing.queue < LONG  # but for what the machine does meanwhile
    assert node.engine is not None
    for stream in node.engine.streams:
        totals = stream.statistics.totals
        assert totals.received == totals.published
        assert totals.dropped == 0


def test_batches_begin_and_end_while_images_come(
    bench: Bench, make_node: MakeNode, photographs: dict[str, NDArray[np.uint8]]
) -> None:
    """Off they are by themselves, and each image then has a time of its own."""
    make_node(cameras=CAMERAS)
    activate(bench)
    rig, images = Rig(bench), messages(photographs)
    for _ in range(3):
        answers = rig.ask(images, CAMERAS)
        assert len({answer.timing.inference for answer in answers.values()}) == 3
    assert bench.set("batch_wait", LONG) == ""
    rig.ask_until_together(images)
    assert bench.set("batch_wait", 0.0) == ""
    answers = rig.ask(images, CAMERAS)
    assert len({answer.timing.inference for answer in answers.values()}) == 3
    assert "1.5" in bench.set("batch_wait", 1.5)


def test_the_node_stops_in_the_middle_of_a_batch(
    bench: Bench, make_node: MakeNode, photographs: dict[str, NDArray[np.uint8]]
) -> None:
    node = make_node(cameras=CAMERAS, batch_wait=LONG)
    activate(bench)
    rig, images = Rig(bench), messages(photographs)
    rig.ask_until_together(images)
    rig.send(images)
    assert bench.transition("deactivate")
    assert node.engine is not None
    for stream in node.engine.streams:
        totals = stream.statistics.totals
        assert totals.received >= totals.published
        assert totals.failed == 0
    assert bench.transition("activate")
    bench.wait(lambda: all(p.get_subscription_count() for p in rig.publishers.values()))
    rig.ask_until_together(images)
    assert bench.transition("deactivate")
    assert bench.transition("cleanup")
