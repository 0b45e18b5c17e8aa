"""A ROS domain and a bench for every test, so that tests never hear each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

SMALL = {"short_side": 64, "long_side": 0}  # px as the network sees images: fast


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench in a domain of its own."""
    pytest.importorskip("rclpy", reason="rclpy is missing: run `make test`")
    from e2ec_ros.demo.domains import own_domain
    from ros_bench import Bench, ros_domain

    with own_domain() as domain, ros_domain(domain, tmp_path) as environment:
        made = Bench(environment, tmp_path)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def console(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Gives the lines that the nodes of this process logged so far, without level and time."""
    heard: list[str] = []

    def lines() -> list[str]:
        heard.append(capfd.readouterr().err)
        return [line.rpartition("[e2ec]: ")[2] for line in "".join(heard).splitlines()]

    return lines


@pytest.fixture
def make_node(bench: Bench) -> Callable[..., SegmentationNode]:
    """Makes the segmentation node in this process, spinning, with parameters given by name."""
    from rclpy.parameter import Parameter

    from e2ec_ros.node import SegmentationNode

    def make(**parameters: object) -> SegmentationNode:
        given = {**SMALL, **{name.replace("__", "."): v for name, v in parameters.items()}}
        node = SegmentationNode([Parameter(name, value=value) for name, value in given.items()])
        bench.spin(node)
        return node

    return make


@pytest.fixture
def active_node(bench: Bench, make_node: Callable[..., SegmentationNode]) -> SegmentationNode:
    """The segmentation node, active, with the weights that ship."""
    node = make_node()
    assert bench.transition("configure")
    assert bench.transition("activate")
    return node
