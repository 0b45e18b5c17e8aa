"""The node runs the model that ships where PyTorch is missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray

if TYPE_CHECKING:
    from ros_bench import Bench


def test_a_node_without_pytorch_finds_people(bench: Bench, tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    (tmp_path / "torch.py").write_text("raise ImportError('blocked', name='torch')")
    path = os.pathsep.join([str(tmp_path), bench.environment["PYTHONPATH"]])
    bench.environment = {**bench.environment, "PYTHONPATH": path}
    bench.start("e2ec_ros.node", ["--ros-args", "-p", "threads:=1"])
    assert bench.transition("configure")
    assert bench.transition("activate")
    answers = bench.listen(InstanceContourArray, "/e2ec/contours")
    publisher = bench.node.create_publisher(Image, "/image", 1)
    bench.wait(lambda: publisher.get_subscription_count() > 0)
    message = fill_image(Image(), np.ascontiguousarray(cv2.resize(data.astronaut(), (256, 256))))
    bench.node.create_timer(0.2, lambda: publisher.publish(message))
    bench.wait(lambda: len(answers) > 0)
    assert "person" in [instance.class_name for instance in answers[0].instances]
