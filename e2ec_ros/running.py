"""Running one node in a process: quiet ends on SIGINT and SIGTERM, one line for bad arguments."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol, runtime_checkable

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from e2ec_ros.parameter_files import unmatched_parameters, unreadable_parameters

CLOSE_TIMEOUT = 4.0  # s; `ros2 launch` sends SIGTERM 5 s after SIGINT


@runtime_checkable
class Closable(Protocol):
    """A node with threads of its own."""

    def close(self, timeout: float) -> bool:
        """Ends them within `timeout` s; returns whether they ended."""


def run_node(create: Callable[[], Node], arguments: Sequence[str] | None = None) -> int:
    """Creates a node and spins it until a signal or until it shuts its context down.

    Args:
        create: makes the node. A ValueError from it (bad parameters) is printed as one line.
        arguments: command line; None for that of the process.

    Returns:
        exit status: 0 after a signal, 1 when the node could not be made. A thread that does not
        end in time ends the process with 1 instead, but with 0 while the node's model loads.
    """
    node: Node | None = None
    executor: SingleThreadedExecutor | None = None
    begun = interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(number, frame)

    try:
        # rclpy chains to these. For SIGTERM it would only shut the context down, and wake the
        # executor before that: one that looks in between waits for ever.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        given = sys.argv if arguments is None else arguments
        if fault := unreadable_parameters(given):
            return _complain(fault)
        try:
            rclpy.init(args=list(arguments) if arguments is not None else None)
        except RuntimeError as error:  # rcl could not read the arguments
            return _complain(error)
        begun = True
        try:
            node = create()
        except ValueError as error:
            return _complain(error)
        for problem in unmatched_parameters(given, node.get_fully_qualified_name()):
            node.get_logger().warning(problem)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if not begun or (rclpy.ok() and not interrupted):
            raise
        # A callback that was running when the signal came had nowhere to publish to.
    finally:
        # `ros2 launch` and the terminal both send SIGINT: the second must not break the ending.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        rclpy.try_shutdown()  # the node's threads notice it
        if executor is not None:
            executor.shutdown(0.0)
        ended = not isinstance(node, Closable) or node.close(CLOSE_TIMEOUT)
        if node is not None:
            node.destroy_node()  # off the network, whatever its threads do
        rclpy.get_default_context().destroy()  # frees shared memory
        loading = getattr(node, "loading", False)
        if loading or not ended:
            # The interpreter would crash or hang on a thread that still computes. A load that is
            # cut off is only slow, such as the import of PyTorch; nothing hangs.
            if not loading:
                _complain(f"a thread did not end within {CLOSE_TIMEOUT:g} s; left it behind")
            sys.stderr.flush()
            os._exit(0 if loading else 1)
    return 0


def _complain(error: object) -> int:
    print(f"error: {str(error).strip()}", file=sys.stderr)
    return 1
