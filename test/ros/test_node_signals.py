"""SIGINT and SIGTERM end the node's process quietly, whatever it is doing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import Image

from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContourArray

if TYPE_CHECKING:
    from ros_bench import Bench

LONGEST_END = 20.0  # s; a free machine needs less than 2, a busy one while it imports PyTorch


def unconfigured(bench: Bench) -> None:
    assert bench.state() == "unconfigured"


def configuring(bench: Bench) -> None:
    """In the middle of loading: the answer to the request has not come yet."""
    assert bench.state() == "unconfigured"
    client = bench.node.create_client(ChangeState, "/e2ec/change_state")
    assert client.wait_for_service(10.0)
    request = ChangeState.Request()
    request.transition.id = Transition.TRANSITION_CONFIGURE
    answer = client.call_async(request)
    time.sleep(0.1)  # it loads for .3 s or more
    assert not answer.done()


def inactive(bench: Bench) -> None:
    assert bench.transition("configure")


def active(bench: Bench) -> None:
    inactive(bench)
    assert bench.transition("activate")


def segmenting(bench: Bench) -> None:
    """Active, with an image in work and one in the mailbox at any time."""
    active(bench)
    answers = bench.listen(InstanceContourArray, "/e2ec/contours")
    publisher = bench.node.create_publisher(Image, "/image", 1)
    bench.wait(lambda: publisher.get_subscription_count() > 0)
    message = fill_image(Image(), np.full((480, 640, 3), 90, np.uint8))
    bench.node.create_timer(0.02, lambda: publisher.publish(message))
    bench.wait(lambda: len(answers) >= 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("state", [unconfigured, configuring, inactive, active, segmenting])
def test_a_signal_ends_the_process_quietly(
    bench: Bench, number: signal.Signals, state: Callable[[Bench], None]
) -> None:
    node = bench.start("e2ec_ros.node", [])
    state(bench)
    said = node.log.read_text()
    node.process.send_signal(number)
    begun = time.monotonic()
    assert node.process.wait(60) == 0
    assert time.monotonic() - begun < LONGEST_END
    assert node.log.read_text() == said


def test_bad_ros_arguments_end_with_one_line(bench: Bench) -> None:
    node = bench.start("e2ec_ros.node", ["--ros-args", "--params-file", "/nowhere.yaml"])
    assert node.process.wait(60) == 1
    lines = node.log.read_text().strip().splitlines()
    assert "/nowhere.yaml" in lines[-1]
    assert not any("Traceback" in line for line in lines)
