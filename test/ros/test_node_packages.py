"""The node runs the model that ships with few packages, and with the NumPy of Ubuntu 24.04."""

from __future__ import annotations

import os
import subprocess
import sys
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

OPTIONAL = ("torch", "safetensors", "scipy", "cv_bridge", "vision_msgs", "foxglove_msgs", "bondpy")
OLD = ("numpy==1.26.4", "opencv-python-headless==4.11.0.86")


def put_first(bench: Bench, folder: Path) -> None:
    """Lets child processes find modules in a folder before all others."""
    path = os.pathsep.join([str(folder), bench.environment["PYTHONPATH"]])
    bench.environment = {**bench.environment, "PYTHONPATH": path}


def find_people(bench: Bench) -> None:
    """Starts the node and shows it the portrait of a person until it answers."""
    data = pytest.importorskip("skimage.data")
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


def test_without_pytorch_and_all_that_is_optional(bench: Bench, tmp_path: Path) -> None:
    for name in OPTIONAL:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('blocked', name={name!r})")
    put_first(bench, tmp_path)
    find_people(bench)


@pytest.mark.slow
def test_with_the_numpy_of_ubuntu_24_04(bench: Bench, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--target"]
    done = subprocess.run([*pip, str(tmp_path), *OLD], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install {' '.join(OLD)}: {done.stderr.strip().splitlines()[-1]}")
    put_first(bench, tmp_path)
    words = [sys.executable, "-c", "import numpy; print(numpy.__version__)"]
    version = subprocess.run(
        words, env=bench.environment, capture_output=True, text=True, check=True
    )
    assert version.stdout.strip() == "1.26.4"
    find_people(bench)
