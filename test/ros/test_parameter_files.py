"""Parameters that reach no node, or that the node does not have, are told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("rclpy", reason="rclpy is missing: run `make test`")

from rclpy.context import Context
from rclpy.node import Node

from e2ec_ros.parameter_files import unmatched_parameters, unreadable_parameters
from e2ec_ros.running import run_node

if TYPE_CHECKING:
    from ros_bench import Bench


@pytest.mark.parametrize(
    ("text", "namespace"),
    [
        ("e2ec:\n  ros__parameters: {a: 1}", ""),
        ("e2ec:\n  ros__parameters: {a: 1}", "left"),
        ("/left/e2ec:\n  ros__parameters: {a: 1}", "left"),
        ("left/e2ec:\n  ros__parameters: {a: 1}", "left"),
        ("left:\n  e2ec:\n    ros__parameters: {a: 1}", "left"),
        ("left:\n  e2ec:\n    ros__parameters: {a: 1}", "right"),
        ("/**:\n  ros__parameters: {a: 1}", "left/front"),
        ("/**/e2ec:\n  ros__parameters: {a: 1}", ""),
        ("/**/e2ec:\n  ros__parameters: {a: 1}", "left/front"),
        ("/*:\n  ros__parameters: {a: 1}", ""),
        ("/*:\n  ros__parameters: {a: 1}", "left"),
        ("/*/e2ec:\n  ros__parameters: {a: 1}", "left"),
        ("/*/e2ec:\n  ros__parameters: {a: 1}", "left/front"),
        ("/left/**:\n  ros__parameters: {a: 1}", "left/front"),
        ("e2ec_node:\n  ros__parameters: {a: 1}\n/e2ec:\n  ros__parameters: {a: 1}", ""),
        ("/e2ec_node:\n  ros__parameters: {a: 1}", ""),
        ("# nothing yet", ""),
        # As launch_ros writes a list of a launch file.
        ("/**:\n  ros__parameters:\n    a: 1\n    b: !!python/tuple\n    - 1.5\n", ""),
    ],
)
def test_files_match_as_rcl_matches_them(tmp_path: Path, text: str, namespace: str) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(text)
    arguments = ["node", "--ros-args", "--params-file", str(file)]
    context = Context()
    context.init(args=arguments)
    node = Node(
        "e2ec", context=context, namespace=namespace, start_parameter_services=False
    )  # the oracle: rclpy itself
    reached = node.declare_parameter("a", 0).value == 1
    assert unreadable_parameters(arguments) is None
    assert (unmatched_parameters(arguments, node.get_fully_qualified_name()) == []) == reached
    node.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("e2ec:\n  ros_parameters: {a: 1}", "has 'e2ec.ros_parameters.a' without ros__parameters"),
        ("a: 1", "has 'a' without ros__parameters (two underscores) above it; write NODE:"),
        ("nothing", "has 'nothing' without ros__parameters"),
        ("e2ec: {", "is not YAML: "),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_rcl_refuses_is_named_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str | None, words: str
) -> None:
    file = tmp_path / "given.yaml"
    if text is not None:
        file.write_text(text)
    status = run_node(lambda: Node("e2ec"), ["node", "--ros-args", "--params-file", str(file)])
    assert status == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: parameter file '{file}' {words}")


def test_arguments_for_other_nodes_are_found() -> None:
    assert unmatched_parameters([], "/e2ec") == []
    text = "node -p x:a:=1 --ros-args -p a:=1 -p e2ec:b:=http://x -p e2ec_node:c:=2 -- -p x:d:=1"
    (line,) = unmatched_parameters(text.split(), "/e2ec")
    assert line == (
        "parameter 'e2ec_node:c:=2' is ignored: it names 'e2ec_node', and this node is '/e2ec'; "
        "write '/e2ec' or '/**'"
    )


@pytest.mark.parametrize("module", ["node", "playback.camera_node"])
def test_what_nobody_declared_is_told_by_the_running_node(
    bench: Bench, tmp_path: Path, module: str
) -> None:
    foreign, misspelt = tmp_path / "foreign.yaml", tmp_path / "misspelt.yaml"
    foreign.write_text("/left/e2ec_node:\n  ros__parameters: {stage: coarse}\n")
    misspelt.write_text("/**:\n  ros__parameters: {score_treshold: 0.4, framid: x, qos: auto}\n")
    arguments = ["--ros-args", "--params-file", str(foreign), "--params-file", str(misspelt)]
    child = bench.start(f"e2ec_ros.{module}", [*arguments, "-p", "nonsense:=3"], "child")

    def line(words: str) -> str:
        return next((one for one in child.log.read_text().splitlines() if words in one), "")

    bench.wait(lambda: line("is ignored"))
    name = "/e2ec" if module == "node" else "/camera"
    assert f"'{foreign}' is ignored: it names '/left/e2ec_node', and this node is '{name}'" in (
        line("is ignored")
    )
    unknown = line("no such parameter")
    assert "'nonsense'" in unknown
    if module == "node":
        assert "'score_treshold' (did you mean 'score_threshold'?)" in unknown
        assert "'qos' (did you mean 'input.qos'?)" in unknown
    else:
        assert "'framid' (did you mean 'frame_id'?)" in unknown
    assert "Traceback" not in child.log.read_text()
