"""The benchmark of messages: its forms hold the same contours; and the node adds little."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is missing: run `make test`")

from sensor_msgs.msg import Image

from e2ec_core.contours import Contours
from e2ec_ros.images import fill_image
from street_scenes import make_scene

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench


@pytest.mark.parametrize("name", ["our contours", "nested points", "mask images"])
def test_every_form_holds_the_same_contours(
    load_benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    messages = load_benchmark("peer_messages")
    if name != messages.FLAT:
        # Not by import: the folder of the sources has the same name.
        if not (messages.FOLDER / "python/peer_msgs").is_dir():
            pytest.skip("no peer_msgs: benchmarks/ros_overhead.py compiles it")
        monkeypatch.syspath_prepend(messages.FOLDER / "python")
    shape = np.array([[10, 30], [40, 30], [40, 5.25], [10, 5.25]], np.float32)
    contours = Contours(
        vertices=np.stack([shape, shape + 7]),
        scores=np.array([0.75, 0.5], np.float32),
        class_ids=np.array([1, 0]),
        stage="final",
        image_size=(60, 80),
    )
    form = messages.form(name, contours, ("car", "person"))
    found = form.read(form.write())
    expected = contours.vertices
    if name == messages.MASKS:
        expected = 255 * contours.masks()
    np.testing.assert_array_equal(np.array(found), expected)


def test_the_node_adds_little_to_the_inference(
    bench: Bench,
    make_node: Callable[..., SegmentationNode],
    load_benchmark: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gross check, of CPU time: ten times the 3 ms that the benchmark looks for."""
    from e2ec_core.inference import Predictor
    from e2ec_ros.pipeline import Pipeline
    from ros_bench import Stream

    overhead = load_benchmark("node_overhead")
    whole: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    monkeypatch.setattr(Pipeline, "process", overhead.timed(Pipeline.process, whole))
    monkeypatch.setattr(Predictor, "__call__", overhead.timed(Predictor.__call__, bare))
    make_node(max_instances=30, score_threshold=0.0, nms_iou=1.0)
    assert bench.transition("configure")
    assert bench.transition("activate")
    stream = Stream(bench).ready()
    bare.clear()
    for stamp in range(1, 12):
        message = fill_image(Image(), make_scene(7, 1242, 375).image_rgb[..., ::-1])
        message.encoding, message.header.stamp.sec = "bgr8", stamp
        assert len(stream.ask(message).instances) == 30
    bench.wait(lambda: len(whole) == len(bare))
    wall, cpu_time = np.median(np.subtract(whole, bare), axis=0)
    assert 0 < cpu_time < 0.03
    assert wall > 0
