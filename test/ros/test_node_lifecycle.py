"""The node's lifecycle over real services: what exists when, what fails, what can be retried."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from e2ec_ros.msg import ModelInfo
from e2ec_ros.qos import latched
from e2ec_ros.srv import SegmentImage

if TYPE_CHECKING:
    from e2ec_core.inference.predictor import Predictor
    from e2ec_ros.node import SegmentationNode
    from e2ec_ros.parameters import NodeParameters
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]


def entities(node: SegmentationNode) -> tuple[int, ...]:
    """How many things of each kind a node holds."""
    return (
        len(list(node.publishers)),
        len(list(node.subscriptions)),
        len(list(node.services)),
        len(list(node.timers)),
        len(node._managed_entities),
    )


def inference_threads() -> int:
    return sum(thread.name == "e2ec_inference" for thread in threading.enumerate())


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_bad_weights_fail_with_one_line_and_can_be_retried(
    bench: Bench, make_node: MakeNode, tmp_path: Path, console: Console, kind: str
) -> None:
    if kind == "safetensors":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    absent, broken = f"/nowhere/model.{kind}", tmp_path / f"broken.{kind}"
    broken.write_bytes(b"no weights")
    make_node(weights=absent)
    for path in (absent, str(broken)):
        assert bench.set("weights", path) == ""
        assert not bench.transition("configure")
        assert bench.state() == "unconfigured"
        (line,) = (line for line in console() if path in line)
        assert line.startswith("configure failed: weights file")
        assert "Traceback" not in "".join(console())
    assert inference_threads() == 0
    assert bench.set("weights", "") == ""
    assert bench.transition("configure")
    assert bench.state() == "inactive"


def test_an_impossible_start_value_keeps_the_node_unconfigured_until_mended(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    make_node(score_threshold=7.5, stage="finale", max_instances="many")
    assert not bench.transition("configure")
    (reason,) = (line for line in console() if line.startswith("configure failed"))
    for words in ("score_threshold is 7.5; give 0 to 1", "'finale'", "'many'"):
        assert words in reason
    assert bench.set("score_threshold", 0.4) == ""
    assert bench.set("stage", "coarse") == ""
    assert not bench.transition("configure")
    assert bench.set("max_instances", 5) == ""
    assert bench.transition("configure")


def test_parameters_change_when_they_may_and_say_when_they_may_not(
    bench: Bench, active_node: SegmentationNode
) -> None:
    assert bench.set("score_threshold", 0.55) == ""
    assert bench.set("overlay.fill", 0.5) == ""
    for name in ("nms_iou", "overlay.fill", "markers.depth"):
        assert bench.set(name, 1) == ""  # `ros2 param set` sends an integer
        value = active_node.get_parameter(name).value
        assert (value, type(value)) == (1.0, float)
    assert active_node.declared.value.nms_iou == 1.0
    assert bench.set("nms_iou", 2) == "parameter nms_iou is 2; give 0.01 to 1"
    assert "'soon', which is not of type float" in bench.set("nms_iou", "soon")
    assert "2.5, which is not of type int" in bench.set("max_instances", 2.5)
    assert active_node.declared.value.score_threshold == 0.55
    assert "cannot change now" in bench.set("weights", "other.safetensors")
    assert "deactivate and clean up" in bench.set("device", "cuda")
    assert "deactivate the node first" in bench.set("input.qos", "reliable")
    assert "final" in bench.set("stage", "last")
    assert bench.set("score_threshold", 1.5) != ""
    assert active_node.declared.value.score_threshold == 0.55
    assert bench.transition("deactivate")
    assert bench.set("input.qos", "reliable") == ""
    assert "cannot change now" in bench.set("precision", "bf16")
    assert bench.transition("cleanup")
    assert bench.set("precision", "bf16") == ""


def test_the_model_stays_through_deactivate_and_goes_with_cleanup(
    bench: Bench, active_node: SegmentationNode
) -> None:
    loaded = active_node.engine
    assert loaded is not None
    assert inference_threads() == 1
    assert loaded.active
    assert bench.transition("deactivate")
    assert active_node.engine is loaded
    assert not loaded.active
    assert bench.transition("activate")
    assert active_node.engine is loaded
    assert bench.transition("deactivate")
    assert bench.transition("cleanup")
    assert active_node.engine is None
    assert inference_threads() == 0


def resident_memory() -> float:
    """Of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.parametrize("cameras", [[], ["front", "left", "rear"]])
def test_repeated_cycles_leave_nothing_behind(
    bench: Bench, make_node: MakeNode, cameras: list[str]
) -> None:
    node = make_node(cameras=cameras)
    before = entities(node)
    threads, memory = [], []
    for _ in range(20):
        for label in ("configure", "activate", "deactivate", "activate", "deactivate", "cleanup"):
            assert bench.transition(label), label
        assert entities(node) == before
        assert inference_threads() == 0
        threads.append((threading.active_count(), len(os.listdir("/proc/self/task"))))
        memory.append(resident_memory())
    assert threads[-1] == threads[4]  # Python's own, and those of the backend and of DDS
    # The allocator's own swings are some 30 MB; a model of 12 MB left behind each time is 180 MB.
    assert memory[-1] - memory[4] < 100.0


def test_transitions_that_do_not_exist_change_nothing(bench: Bench, make_node: MakeNode) -> None:
    make_node()
    assert not bench.transition("activate")
    assert not bench.transition("cleanup")
    assert bench.state() == "unconfigured"


def test_the_model_info_is_latched_and_diagnostics_say_what_runs(
    bench: Bench, active_node: SegmentationNode
) -> None:
    heard = bench.listen(ModelInfo, "/e2ec/model_info", latched())  # long after it was sent
    bench.wait(lambda: heard)
    info = heard[0]
    assert info.model == "e2ec_lite"
    assert len(info.weights_sha256) == 64
    assert "car" in info.class_names
    assert len(info.colors) == len(info.class_names)
    assert info.device == "cpu" or info.device.startswith("cuda")
    diagnostics = bench.listen(DiagnosticArray, "/diagnostics")
    bench.wait(lambda: len(diagnostics) >= 2)
    status = diagnostics[-1].status[0]
    assert status.message == "no images"
    assert {value.key: value.value for value in status.values}["model"] == "e2ec_lite"


def test_services_answer_while_configure_loads_the_model(
    bench: Bench, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    import e2ec_ros.node

    loads, gate = threading.Event(), threading.Event()
    load = e2ec_ros.node.load_predictor

    def held(parameters: NodeParameters) -> Predictor:
        loads.set()
        gate.wait(60.0)
        return load(parameters)

    monkeypatch.setattr("e2ec_ros.node.load_predictor", held)
    make_node()
    client = bench.node.create_client(ChangeState, "/e2ec/change_state")
    assert client.wait_for_service(20.0)
    transition = Transition(id=Transition.TRANSITION_CONFIGURE)
    answers = [client.call_async(ChangeState.Request(transition=transition)) for _ in range(2)]
    assert loads.wait(20.0)
    assert bench.state() == "configuring"
    reply = bench.call(SegmentImage, "/e2ec/segment", SegmentImage.Request())
    assert reply.message == "no model is loaded; configure the node first"
    assert "deactivate and clean up" in bench.set("tracks", True)
    assert bench.set("score_threshold", 0.5) == ""
    assert bench.set("input.qos", "reliable") == ""
    assert bench.set("classes", ["no such thing"]) == ""  # the model is not there to ask
    gate.set()
    bench.wait(lambda: all(answer.done() for answer in answers))
    assert [answer.result().success for answer in answers] == [False, False]
    assert bench.state() == "unconfigured"
    assert bench.set("classes", ["car"]) == ""
    assert bench.transition("configure")
    assert bench.transition("activate")


def test_with_autostart_the_node_is_active_by_itself(bench: Bench, make_node: MakeNode) -> None:
    make_node(autostart=True)
    bench.wait(lambda: bench.state() == "active")
    assert "restart the node" in bench.set("autostart", False)
    for label in ("deactivate", "activate", "deactivate", "cleanup"):
        assert bench.transition(label)
    assert bench.state() == "unconfigured"  # and stays so


def test_an_autostart_that_fails_leaves_the_node_to_be_mended(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    make_node(autostart=True, weights="/nowhere.safetensors")
    bench.wait(lambda: any("configure failed" in line for line in console()))
    bench.wait(lambda: bench.state() == "unconfigured")
    assert bench.set("weights", "") == ""
    assert bench.transition("configure")
