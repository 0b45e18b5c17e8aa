"""The choice of classes: live, checked against the model's names, as lists or with commas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import Image

from e2ec_ros.images import fill_image
from e2ec_ros.msg import InstanceContour
from e2ec_ros.playback.sources import open_source
from e2ec_ros.srv import SegmentImage

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]


@pytest.fixture(scope="module")
def coffee() -> Image:
    """A photograph in which the weights that ship find a cup."""
    return fill_image(Image(), list(open_source("photographs").images())[2].rgb)


def found(bench: Bench, image: Image) -> set[str]:
    """The names of what the node finds."""
    answer = bench.call(SegmentImage, "/e2ec/segment", SegmentImage.Request(image=image))
    assert answer.success, answer.message
    return {instance.class_name for instance in answer.result.instances}


def test_classes_are_chosen_while_the_node_runs(
    bench: Bench, make_node: MakeNode, coffee: Image
) -> None:
    make_node(short_side=256)
    assert bench.transition("configure")
    everything = found(bench, coffee)
    assert "cup" in everything
    for given in (["car", "person"], "car, person"):
        assert bench.set("classes", given) == ""
        assert found(bench, coffee) == set()
    assert bench.set("classes", ["cup"]) == ""
    assert found(bench, coffee) == {"cup"}
    reason = bench.set("classes", ["car", "cupp"])
    assert reason == "classes names 'cupp', which the model does not know; did you mean 'cup'?"
    assert found(bench, coffee) == {"cup"}
    assert "not a list of names" in bench.set("classes", 3)
    assert bench.set("classes", []) == ""
    assert found(bench, coffee) == everything
    request = GetParameters.Request(names=["classes"])
    (value,) = bench.call(GetParameters, "/e2ec/get_parameters", request).values
    assert value.string_array_value == [""]  # an empty list would have no type in ROS


def test_an_unknown_class_keeps_the_node_unconfigured_until_mended(
    bench: Bench, make_node: MakeNode, coffee: Image, console: Console
) -> None:
    make_node(short_side=256, classes=["mug", "cupp"])
    assert not bench.transition("configure")
    (line,) = (line for line in console() if line.startswith("configure failed"))
    assert "'mug'" in line
    assert bench.set("classes", "cup") == ""
    assert bench.transition("configure")
    assert found(bench, coffee) == {"cup"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], [""]), (["-p", "classes:=[cup, traffic light]"], ["cup", "traffic light"])],
)
def test_files_and_arguments_give_classes(
    bench: Bench, repo_dir: Path, words: list[str], expected: list[str]
) -> None:
    file = ["--params-file", str(repo_dir / "config/e2ec.yaml")]
    bench.start("e2ec_ros.node", ["--ros-args", *file, *words])
    request = GetParameters.Request(names=["classes"])
    (value,) = bench.call(GetParameters, "/e2ec/get_parameters", request).values
    assert value.string_array_value == expected
    assert bench.transition("configure")


def test_amodal_contours_come_when_they_are_asked_for(
    bench: Bench, make_node: MakeNode, coffee: Image
) -> None:
    make_node(short_side=256)
    assert bench.transition("configure")

    def segment() -> list[InstanceContour]:
        answer = bench.call(SegmentImage, "/e2ec/segment", SegmentImage.Request(image=coffee))
        return list(answer.result.instances)

    plain = segment()
    assert plain
    assert all(len(instance.amodal_contour) == 0 for instance in plain)
    assert bench.set("amodal", True) == ""
    both = segment()
    assert all(len(instance.amodal_contour) == len(instance.contour) for instance in both)
    assert [instance.contour for instance in both] == [instance.contour for instance in plain]
    assert all(0 <= instance.hidden < 1 for instance in both)
    assert "choose stage final" in bench.set("stage", "coarse")
