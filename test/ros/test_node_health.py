"""The node under load and with long inferences: the stream goes on, and it never looks healthy
while nothing comes out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.srv import SegmentImage
from e2ec_ros.statistics import FrameCounts

if TYPE_CHECKING:
    from rclpy.publisher import Publisher

    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]

MESSAGE = fill_image(Image(), np.full((64, 96, 3), 90, np.uint8))


def activate(bench: Bench) -> None:
    assert bench.transition("configure")
    assert bench.transition("activate")


def camera(bench: Bench) -> Publisher[Image]:
    """A publisher that the node listens to."""
    publisher = bench.node.create_publisher(Image, "/image", 1)
    bench.wait(lambda: publisher.get_subscription_count() > 0)
    return publisher


def settled(totals: FrameCounts) -> bool:
    return totals.received == totals.published + totals.dropped + totals.failed


def test_old_frames_are_dropped_and_counted_and_services_answer(
    bench: Bench, make_node: MakeNode
) -> None:
    # Large for the network, so that 30 images per second are too many for any CPU.
    node = make_node(short_side=640, long_side=0)
    activate(bench)
    answers = bench.listen(InstanceContourArray, "/e2ec/contours")
    publisher = camera(bench)
    bench.wait(lambda: bench.node.count_publishers("/e2ec/contours") > 0)
    timer = bench.node.create_timer(1 / 30, lambda: publisher.publish(MESSAGE))
    get_state = bench.node.create_client(GetState, "/e2ec/get_state")
    assert get_state.wait_for_service(20.0)
    waits = []
    while len(answers) < 8:
        asked = time.monotonic()
        bench.wait(get_state.call_async(GetState.Request()).done)
        waits.append(time.monotonic() - asked)
        time.sleep(0.02)
    bench.node.destroy_timer(timer)
    assert node.engine is not None
    statistics = node.engine.streams[0].statistics
    bench.wait(lambda: settled(statistics.totals) and len(answers) == statistics.totals.published)
    totals = statistics.totals
    assert totals.dropped > 0
    assert sum(answer.timing.dropped for answer in answers) == totals.dropped
    # The mailbox holds one frame: it waits for the one in work, then it is in work itself.
    timings = [answer.timing for answer in answers]
    slowest = max(timing.total - timing.queue for timing in timings)
    assert np.percentile([timing.total for timing in timings], 95) < 2.2 * slowest
    # In the executor's thread, inferences would hold services up. 20 ms, and ten times as much
    # where other processes are busy.
    inference = np.median([timing.inference for timing in timings])
    assert np.percentile(waits, 95) < max(0.2, 0.5 * inference)


def test_a_held_inference_thread_shows_in_the_diagnostics_and_blocks_no_service(
    bench: Bench, make_node: MakeNode
) -> None:
    node = make_node()
    activate(bench)
    diagnostics = bench.listen(DiagnosticArray, "/diagnostics")
    publisher = camera(bench)
    bench.node.create_timer(0.1, lambda: publisher.publish(MESSAGE))

    def says(level: bytes, words: str) -> bool:
        status = diagnostics[-1].status[0] if diagnostics else None
        return status is not None and status.level == level and words in status.message

    bench.wait(lambda: says(DiagnosticStatus.OK, "images per second"))
    assert node.engine is not None
    gate = threading.Event()
    node.engine.worker.call(lambda: gate.wait(60.0))
    bench.call(GetParameters, "/e2ec/get_parameters", GetParameters.Request(names=["stage"]))
    bench.wait(lambda: says(DiagnosticStatus.WARN, "a call of ~/segment has taken"))
    diagnostics.clear()
    bench.wait(lambda: len(diagnostics) >= 2)
    assert all(one.status[0].level != DiagnosticStatus.OK for one in diagnostics)
    gate.set()
    bench.wait(lambda: says(DiagnosticStatus.OK, "images per second"))


def test_service_calls_take_turns_with_the_stream(bench: Bench, make_node: MakeNode) -> None:
    make_node(short_side=256, long_side=0)
    activate(bench)
    answers = bench.listen(InstanceContourArray, "/e2ec/contours")
    publisher = camera(bench)
    bench.node.create_timer(0.02, lambda: publisher.publish(MESSAGE))
    bench.wait(lambda: answers)
    client = bench.node.create_client(
        SegmentImage, "/e2ec/segment", qos_profile=QoSProfile(depth=100)
    )
    assert client.wait_for_service(20.0)
    before = len(answers)
    calls = [client.call_async(SegmentImage.Request(image=MESSAGE)) for _ in range(60)]
    bench.wait(lambda: all(call.done() for call in calls))
    replies = [call.result() for call in calls]
    served = sum(reply.success for reply in replies)
    refusals = {reply.message for reply in replies if not reply.success}
    assert refusals == {"busy: another request waits already; ask again later"}
    assert served >= 1
    bench.wait(lambda: len(answers) - before >= served - 2, 10)


def test_a_frame_that_outlives_its_activation_or_its_model_counts_once(
    bench: Bench, make_node: MakeNode, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2ec_ros.node.JOIN_TIMEOUT", 0.05)
    node = make_node(short_side=1600, long_side=0)  # one inference takes seconds
    answers = bench.listen(InstanceContourArray, "/e2ec/contours")
    activate(bench)
    assert node.engine is not None
    old = node.engine
    camera(bench).publish(MESSAGE)
    bench.wait(lambda: not old.worker.wait_until_idle(0.0))
    assert bench.transition("deactivate")
    assert "the image in work takes longer than 0.05 s" in console()
    bench.wait(lambda: old.worker.wait_until_idle(0.0))
    totals = old.streams[0].statistics.totals
    assert (totals.received, totals.dropped) == (1, 1)

    assert bench.transition("activate")
    camera(bench).publish(MESSAGE)
    bench.wait(lambda: not old.worker.wait_until_idle(0.0))
    assert bench.transition("deactivate")
    assert bench.transition("cleanup")
    assert "the inference thread did not end in 0.05 s" in console()
    assert bench.set("short_side", 64) == ""
    activate(bench)
    assert node.engine is not old
    bench.wait(lambda: old.worker.wait_until_idle(0.0))
    assert node.engine is not None
    assert node.engine.streams[0].statistics.totals == FrameCounts()
    assert answers == []
    camera(bench).publish(MESSAGE)
    bench.wait(lambda: len(answers) == 1)
    assert node.engine.streams[0].statistics.totals.published == 1


def test_an_overlay_too_wide_for_jpeg_costs_the_overlay_only(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    node = make_node(short_side=32, long_side=0)
    activate(bench)
    answers = bench.listen(InstanceContourArray, "/e2ec/contours")
    jpegs = bench.listen(CompressedImage, "/e2ec/overlay/image/compressed")
    publisher = camera(bench)
    assert node.engine is not None
    outputs, statistics = node.engine.streams[0].outputs, node.engine.streams[0].statistics
    bench.wait(lambda: outputs.compressed.get_subscription_count() > 0)
    wide = fill_image(Image(), np.zeros((1, 65_600, 3), np.uint8))
    for count in (1, 2):
        publisher.publish(wide)
        bench.wait(lambda count=count: statistics.totals.overlays == count)
    publisher.publish(MESSAGE)
    bench.wait(lambda: jpegs)
    bench.wait(lambda: len(answers) == 3)
    totals = statistics.totals
    assert (totals.received, totals.published, totals.failed) == (3, 3, 0)
    warnings = [line for line in console() if line.startswith("no compressed overlay")]
    assert len(warnings) == 1
    assert "65600 x 1 px" in warnings[0]


def test_weights_that_are_not_numbers_end_in_one_line_or_an_error_in_the_diagnostics(
    bench: Bench, make_node: MakeNode, console: Console, repo_dir: Path, tmp_path: Path
) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(repo_dir / "weights/e2ec_lite.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    for tensor in tensors.values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
    path = tmp_path / "nan.safetensors"
    save_file(tensors, path, metadata)
    node = make_node(weights=str(path))
    assert not bench.transition("configure")
    (line,) = (line for line in console() if line.startswith("configure failed"))
    assert "NaN" in line
    assert "Traceback" not in line

    # The same on a frame: a model that breaks after its warm-up.
    assert bench.set("weights", str(repo_dir / "weights/e2ec_lite.safetensors")) == ""
    activate(bench)
    diagnostics = bench.listen(DiagnosticArray, "/diagnostics")
    publisher = camera(bench)
    assert node.engine is not None
    with torch.no_grad():
        for parameter in node.engine.predictor.model.parameters():
            parameter.fill_(float("nan"))
    publisher.publish(MESSAGE)
    bench.wait(lambda: any(d.status[0].level == DiagnosticStatus.ERROR for d in diagnostics))
    totals = node.engine.streams[0].statistics.totals
    assert (totals.received, totals.published, totals.failed) == (1, 0, 1)
