"""The bond with a lifecycle manager, whose side is played by bond_core's own bondpy."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

    MakeNode = Callable[..., SegmentationNode]
    Console = Callable[[], list[str]]
    MakeManager = Callable[[], "Manager"]

# In a process of its own: shutting a bond of bondpy down ends the executor of its node.
MANAGER = """
import os, sys, threading
import rclpy
from bondpy.bondpy import Bond
rclpy.init()
node = rclpy.create_node("manager")
say = lambda word: print(word, flush=True)
bond = Bond(node, "bond", "e2ec", lambda: say("broken"), lambda: say("formed"))
bond.start()
threading.Thread(target=rclpy.spin, args=[node], daemon=True).start()
for line in sys.stdin:
    bond.break_bond()
os._exit(0)
"""


class Manager:
    """The other side of the bond, as Nav2's manager makes it, and what happened to it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.log = bench.folder / "manager.log"
        with self.log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-c", MANAGER],
                env=dict(bench.environment),
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
            )

    def wait_for(self, *words: str, seconds: float = 20.0) -> None:
        """Waits until these things happened and no others."""
        try:
            self._bench.wait(lambda: self.log.read_text().split() == list(words), seconds)
        except AssertionError:
            raise AssertionError(self.log.read_text()) from None

    def break_bond(self) -> None:
        """Breaks the bond from its side."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"break\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


@pytest.fixture
def make_manager(bench: Bench) -> Iterator[MakeManager]:
    pytest.importorskip("bondpy.bondpy", reason="bondpy (bond_core) is not installed")
    managers: list[Manager] = []

    def make() -> Manager:
        managers.append(Manager(bench))
        return managers[-1]

    yield make
    for manager in managers:
        manager.end()


def test_the_bond_forms_with_activate_and_breaks_with_deactivate(
    bench: Bench, make_node: MakeNode, make_manager: MakeManager
) -> None:
    node = make_node(bond=True)
    assert bench.transition("configure")

    def entities() -> tuple[int, ...]:
        return len(list(node.publishers)), len(list(node.subscriptions)), len(list(node.timers))

    before = entities()
    for _ in range(2):
        assert bench.transition("activate")
        manager = make_manager()
        manager.wait_for("formed")
        assert "deactivate the node first" in bench.set("bond", False)
        assert bench.transition("deactivate")
        manager.wait_for("formed", "broken", seconds=3.0)  # at once, not by a timeout of 4 s
        manager.end()
        assert entities() == before


def test_a_manager_that_breaks_the_bond_is_answered(
    bench: Bench, make_node: MakeNode, make_manager: MakeManager
) -> None:
    make_node(bond=True)
    assert bench.transition("configure")
    assert bench.transition("activate")
    manager = make_manager()
    manager.wait_for("formed")
    manager.break_bond()
    manager.wait_for("formed", "broken", seconds=1.5)  # by the answer, not by a timeout of 2 s
    assert bench.state() == "active"
    assert bench.transition("deactivate")


def test_the_manager_notices_a_node_that_was_killed(
    bench: Bench, make_manager: MakeManager
) -> None:
    child = bench.start("e2ec_ros.node", ["--ros-args", "-p", "bond:=true"])
    assert bench.transition("configure")
    assert bench.transition("activate")
    manager = make_manager()
    manager.wait_for("formed")
    time.sleep(1.0)  # bondpy counts from the second heartbeat on
    child.process.kill()
    manager.wait_for("formed", "broken")


def test_without_the_messages_activate_fails_with_one_line(
    bench: Bench, make_node: MakeNode, console: Console
) -> None:
    if importlib.util.find_spec("bond") is not None:
        pytest.skip("bond is installed here")
    make_node(bond=True)
    assert bench.transition("configure")
    assert not bench.transition("activate")
    assert bench.state() == "inactive"
    (line,) = (line for line in console() if line.startswith("activate failed"))
    assert "a bond needs the package bond" in line
    assert bench.set("bond", False) == ""
    assert bench.transition("activate")
