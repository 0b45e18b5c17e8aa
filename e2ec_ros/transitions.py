"""Lifecycle transitions that say why they failed and can be tried again."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

N = TypeVar("N", bound=LifecycleNode)
Callback = Callable[[N, LifecycleState], TransitionCallbackReturn]

# What users cause and can mend: one line is enough. Anything else is a defect: with traceback.
EXPECTED = (ValueError, OSError, ImportError)


def transition(undo: str) -> Callable[[Callback[N]], Callback[N]]:
    """Decorates a transition callback.

    rclpy swallows what a callback raises without a word. Here it is logged, what the callback had
    made so far is undone, and FAILURE is returned: the node keeps its state, so that the user can
    mend the cause and try again.

    Args:
        undo: name of the method that brings the node back to where it was; empty for none.
    """

    def decorate(callback: Callback[N]) -> Callback[N]:
        @wraps(callback)
        def wrapped(node: N, state: LifecycleState) -> TransitionCallbackReturn:
            result = TransitionCallbackReturn.FAILURE
            try:
                result = callback(node, state)
            except Exception as error:
                _leave_if_shut_down(node)
                _log(node.get_logger(), callback.__name__.removeprefix("on_"), error)
            _leave_if_shut_down(node)
            # Not in the handler: the error's traceback holds the model that is to be freed.
            if undo and result is TransitionCallbackReturn.FAILURE:
                getattr(node, undo)()
            return result

        return wrapped

    return decorate


def _leave_if_shut_down(node: LifecycleNode) -> None:
    """Ends the spin when a signal came during the transition.

    rclpy would go on to publish the new state with a context that is gone, and complain loudly.
    It catches every Exception from here, so the interrupt it must be.
    """
    if not node.context.ok():
        raise KeyboardInterrupt


def _log(logger: RcutilsLogger, name: str, error: Exception) -> None:
    if isinstance(error, ModuleNotFoundError):
        error = ValueError(
            f"the Python package {error.name!r} is missing; install it for {sys.executable}"
        )
    if isinstance(error, EXPECTED):
        logger.error(f"{name} failed: {error}")
    else:
        logger.error(f"{name} failed: {''.join(traceback.format_exception(error))}")
