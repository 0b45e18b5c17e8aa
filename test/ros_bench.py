"""A bench for tests: nodes in this process and in others, talking over real DDS in a domain."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image

from e2ec_ros.demo.children import ChildProcess
from e2ec_ros.distro import dds_environment
from e2ec_ros.msg import InstanceContourArray

M = TypeVar("M")

RELIABLE = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.RELIABLE)
PATIENCE = 60.0  # s; machines that run tests are slow and busy
ASK_AGAIN = 5.0
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


@contextmanager
def ros_domain(domain: int, log_folder: Path) -> Iterator[dict[str, str]]:
    """ROS of its own: one domain on this machine, with the DDS profile for images.

    Args:
        domain: ROS_DOMAIN_ID; tests that may run at the same time need different ones.
        log_folder: for ROS's log files.

    Yields:
        environment variables for child processes that shall take part.
    """
    variables = {
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(log_folder),
        "PYTHONUNBUFFERED": "1",
        **dds_environment(),
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        yield dict(os.environ)
    finally:
        rclpy.try_shutdown()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Bench:
    """A node to look and push from, and executors on threads for it and for nodes under test."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        """Makes the node; `environment` and `folder` are for child processes and their logs."""
        self.environment = environment
        self.folder = folder
        self.node = Node("bench")
        self._spinners: list[tuple[SingleThreadedExecutor, threading.Thread, Node]] = []
        self._children: list[ChildProcess] = []
        self.spin(self.node)

    def spin(self, node: Node) -> None:
        """Spins a node on a thread of its own until the bench closes."""
        executor = SingleThreadedExecutor()
        executor.add_node(node)

        def run() -> None:
            # Interrupted when a transition sees the context gone.
            with suppress(ExternalShutdownException, KeyboardInterrupt):
                executor.spin()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._spinners.append((executor, thread, node))

    def start(self, module: str, arguments: Sequence[str], name: str = "") -> ChildProcess:
        """Starts `python -m module` in this domain; it ends with the bench at the latest."""
        log = self.folder / f"{name or module}.log"
        child = ChildProcess(module, arguments, log, self.environment)
        self._children.append(child)
        return child

    def close(self) -> None:
        """Ends all processes, threads and nodes."""
        for child in self._children:
            child.end()
        for executor, thread, node in self._spinners:
            executor.shutdown(timeout_sec=5.0)
            thread.join(5.0)
            if hasattr(node, "close"):
                node.close(5.0)
            node.destroy_node()

    def wait(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Waits until the condition holds; AssertionError when it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:g} s in vain")
            time.sleep(0.01)

    def listen(self, kind: type[M], topic: str, qos: QoSProfile = RELIABLE) -> list[M]:
        """Subscribes. Returns the list that grows with every message."""
        heard: list[M] = []
        self.node.create_subscription(kind, topic, heard.append, qos)
        return heard

    def call(self, kind: Any, name: str, request: object) -> Any:
        """Calls a service and waits for its answer.

        Where the server has not found the client yet, as soon after its start, ROS 2 loses the
        answer. What changes nothing (`Get...`) is therefore asked again.
        """
        client: Any = self.node.create_client(kind, name)
        asks_again = kind.__name__.startswith("Get")
        deadline = time.monotonic() + PATIENCE
        try:
            assert client.wait_for_service(PATIENCE), f"no service {name}"
            while True:
                answer = client.call_async(request)
                try:
                    self.wait(answer.done, ASK_AGAIN if asks_again else PATIENCE)
                except AssertionError:
                    if time.monotonic() > deadline:
                        raise
                else:
                    return answer.result()
        finally:
            self.node.destroy_client(client)

    def transition(self, label: str, node: str = "/e2ec") -> bool:
        """Asks a lifecycle node for a transition. Returns whether it succeeded."""
        self.state(node)  # has both ends find each other
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[label]
        return bool(self.call(ChangeState, f"{node}/change_state", request).success)

    def state(self, node: str = "/e2ec") -> str:
        """The label of a lifecycle node's state."""
        answer = self.call(GetState, f"{node}/get_state", GetState.Request())
        return str(answer.current_state.label)

    def set(
        self,
        name: str,
        value: bool | int | float | str | list[str] | list[float],
        node: str = "/e2ec",
    ) -> str:
        """Sets a parameter. Returns the reason of a refusal, empty when accepted."""
        message = Parameter(name, value=value).to_parameter_msg()
        request = SetParametersAtomically.Request(parameters=[message])
        answer = self.call(SetParametersAtomically, f"{node}/set_parameters_atomically", request)
        return "" if answer.result.successful else str(answer.result.reason)


class Stream:
    """Publishes images to the node and gets the answers."""

    def __init__(self, bench: Bench, kind: type = Image, topic: str = "/image") -> None:
        self.bench = bench
        self.answers = bench.listen(InstanceContourArray, "/e2ec/contours")
        self.publisher = bench.node.create_publisher(kind, topic, 10)

    def ready(self) -> Stream:
        """Waits until both ends are connected."""
        self.bench.wait(lambda: self.publisher.get_subscription_count() > 0)
        self.bench.wait(lambda: self.bench.node.count_publishers("/e2ec/contours") > 0)
        return self

    def ask(self, message: Image | CompressedImage) -> InstanceContourArray:
        """Publishes one image and waits for the answer with its stamp."""
        self.publisher.publish(message)
        stamp = message.header.stamp
        self.bench.wait(lambda: any(a.header.stamp == stamp for a in self.answers))
        return next(a for a in self.answers if a.header.stamp == stamp)
