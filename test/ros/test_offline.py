"""The command line and the node give the same for the same image."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from sensor_msgs.msg import Image

from e2ec_core.image_messages import to_rgb
from e2ec_ros.images import fill_image
from e2ec_ros.playback.sources import open_source
from ros_bench import Stream

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench


def test_the_overlay_is_the_picture_of_the_command_line(
    bench: Bench, make_node: Callable[..., SegmentationNode], tmp_path: Path
) -> None:
    """To the last bit, so the contours are too: their lines are drawn with fractions of pixels."""
    coffee = list(open_source("photographs").images())[2].rgb
    path, folder = tmp_path / "coffee.png", tmp_path / "contours"
    cv2.imwrite(str(path), coffee[..., ::-1])
    options = ["--device=cpu", "--short-side=256", "--long-side=0", "--classes=cup"]
    subprocess.run(
        [sys.executable, "-m", "e2ec_core.commands", "predict", str(path), *options]
        + ["--output", str(folder)],
        check=True,
        timeout=300,
    )
    node = make_node(short_side=256, long_side=0, device="cpu", classes=["cup"])
    assert bench.transition("configure")
    assert bench.transition("activate")
    stream = Stream(bench).ready()
    overlays = bench.listen(Image, "/e2ec/overlay/image")
    assert node.engine is not None
    outputs = node.engine.streams[0].outputs
    bench.wait(lambda: outputs.overlay.get_subscription_count() > 0)
    assert stream.ask(fill_image(Image(), coffee)).instances
    bench.wait(lambda: overlays)
    drawn = cv2.imread(str(folder / "coffee.png"))
    assert (drawn != coffee[..., ::-1]).any()
    np.testing.assert_array_equal(to_rgb(overlays[0]), drawn[..., ::-1])
