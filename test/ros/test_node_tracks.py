"""Tracks of the running node: ids over images, `~/tracks`, and what it costs when off."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContour, InstanceContourArray
from e2ec_ros.playback.sources import open_source
from ros_bench import Stream

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]

SIZES = {"short_side": 256, "score_threshold": 0.2, "classes": ["cup"]}


@pytest.fixture(scope="module")
def coffee() -> NDArray[np.uint8]:
    """A photograph in which the weights that ship find a cup, uint8 [400, 600, 3]."""
    return list(open_source("photographs").images())[2].rgb


def sent(pixels: NDArray[np.uint8], seconds: float) -> Image:
    stamp = Time(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))
    return fill_image(Image(header=Header(stamp=stamp, frame_id="camera")), pixels)


def moved(coffee: NDArray[np.uint8], shift: int) -> NDArray[np.uint8]:
    """The scene as a camera sees it that turns, uint8 [384, 512, 3]."""
    return np.ascontiguousarray(coffee[:384, shift : shift + 512])


def best(message: InstanceContourArray) -> int:
    """The track of the cup, of which there may be doubtful ones too."""
    return message.instances[0].track_id


def activate(bench: Bench) -> None:
    assert bench.transition("configure")
    assert bench.transition("activate")


def test_ids_stay_with_objects_and_tracks_fill_gaps(
    bench: Bench, make_node: MakeNode, coffee: NDArray[np.uint8]
) -> None:
    node = make_node(tracks=True, **SIZES)
    activate(bench)
    stream = Stream(bench).ready()
    tracks = bench.listen(InstanceContourArray, "/e2ec/tracks")
    (publisher,) = (p for p in node.publishers if p.topic_name == "/e2ec/tracks")
    bench.wait(lambda: publisher.get_subscription_count() > 0)
    answers = [stream.ask(sent(moved(coffee, 8 * i), 10 + i / 10)) for i in range(4)]
    cup = best(answers[0])
    assert [best(answer) for answer in answers] == [cup] * 4

    bench.wait(lambda: len(tracks) == 4)
    doubtful = {one.track_id for one in answers[0].instances if one.score < 0.5}
    assert not doubtful & {one.track_id for one in tracks[0].instances}
    for heard, answer in zip(tracks, answers, strict=True):
        assert heard.header == answer.header
        assert (heard.width, heard.height, heard.model) == (512, 384, answer.model)
        assert heard.instances[0].track_id == heard.instances[0].instance_id == cup
        assert heard.instances[0].contour == answer.instances[0].contour

    black = np.zeros_like(moved(coffee, 0))
    assert not stream.ask(sent(black, 10.4)).instances
    bench.wait(lambda: len(tracks) == 5)
    (missed,) = (instance for instance in tracks[4].instances if instance.track_id == cup)
    assert (missed.score, missed.class_name) == (0.0, answers[3].instances[0].class_name)
    shift = np.subtract(missed.box, answers[3].instances[0].box)
    assert shift[[0, 2]] == pytest.approx([-8, -8], abs=4)  # it goes on as the scene does
    assert best(stream.ask(sent(moved(coffee, 40), 10.5))) == cup
    after_jump = best(stream.ask(sent(moved(coffee, 40), 5.0)))
    after_resize = best(stream.ask(sent(coffee, 5.1)))
    assert bench.set("track_memory", 0.5) == ""
    after_pause = best(stream.ask(sent(coffee, 5.7)))
    assert cup < after_jump < after_resize < after_pause


def test_without_the_parameter_there_are_no_tracks_and_scipy_is_not_loaded(
    bench: Bench,
    make_node: MakeNode,
    coffee: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("scipy", "scipy.optimize", "e2ec_core.tracking"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    node = make_node(**SIZES)
    activate(bench)
    answer = Stream(bench).ready().ask(sent(coffee, 10.0))
    assert best(answer) == InstanceContour.NO_TRACK
    assert "/e2ec/tracks" not in {publisher.topic_name for publisher in node.publishers}
    assert "deactivate and clean up" in bench.set("tracks", True)


def test_without_scipy_configure_says_what_to_install_and_can_be_retried(
    bench: Bench, make_node: MakeNode, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("e2ec_core.tracking")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    make_node(tracks=True)
    assert not bench.transition("configure")
    assert bench.state() == "unconfigured"
    (line,) = (line for line in console() if "failed" in line)
    assert line.startswith("configure failed: tracks need SciPy (")
    assert line.endswith("install python3-scipy or `pip install scipy`, or set tracks to false")
    assert "Traceback" not in "".join(console())
    assert bench.set("tracks", False) == ""
    assert bench.transition("configure")
