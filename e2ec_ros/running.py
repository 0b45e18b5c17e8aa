"""Running one node in a process: quiet ends on SIGINT and SIGTERM, one line for bad arguments."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from e2ec_ros.parameter_files import unmatched_parameters


class Closable(Protocol):
    """A node with threads of its own."""

    def close(self) -> bool:
        """Ends them within a bounded time; returns whether they ended."""


def run_node(create: Callable[[], Node], arguments: Sequence[str] | None = None) -> int:
    """Creates a node and spins it until a signal or until it shuts its context down.

    Args:
        create: makes the node. A ValueError from it (bad parameters) is printed as one line.
        arguments: command line; None for that of the process.

    Returns:
        exit status: 0 after a signal, 1 when the node could not be made.
    """
    node: Node | None = None
    ended = True
    try:
        try:
            rclpy.init(args=list(arguments) if arguments is not None else None)
        except RuntimeError as error:  # rcl could not read the arguments
            return _complain(error)
        try:
            node = create()
        except ValueError as error:
            return _complain(error)
        given = sys.argv if arguments is None else arguments
        for problem in unmatched_parameters(given, node.get_fully_qualified_name()):
            node.get_logger().warning(problem)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            raise
        # A callback that was running when the signal came had nowhere to publish to.
    finally:
        # `ros2 launch` and the terminal both send SIGINT: the second must not break the ending.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ended = _end(node)
    if not ended:
        # A thread hangs in a driver or a network: the interpreter would crash or hang on it.
        os._exit(0)
    return 0


def _complain(error: Exception) -> int:
    print(f"error: {str(error).strip()}", file=sys.stderr)
    return 1


def _end(node: Node | None) -> bool:
    ended = True
    if node is not None:
        close = getattr(node, "close", None)
        ended = close() if close else True
        node.destroy_node()
    rclpy.try_shutdown()
    return ended
