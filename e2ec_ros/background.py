"""Long transitions beside the executor, so that the node answers its services meanwhile."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.task import Future as RosFuture

from e2ec_ros.distro import attempt_transition


async def finished(work: Future[Any], node: Node) -> None:
    """Waits until a future of another thread is done; the node's executor goes on meanwhile."""
    executor = node.executor
    assert executor is not None
    done: RosFuture[None] = RosFuture(executor=executor)

    def wake(_: object) -> None:
        done.set_result(None)
        if node.context.ok():
            executor.wake()  # a result alone does not end its wait

    work.add_done_callback(wake)
    await done


class BackgroundConfigure:
    """Runs a lifecycle node's configure on a thread of its own.

    rclpy runs transitions in the executor's thread, where all other services wait for their end,
    `get_state` too: a lifecycle manager would take a node that loads its model for dead. Further
    requests for transitions still wait for their turn.

    Args:
        node: the node, before it spins.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._thread = ThreadPoolExecutor(1, "e2ec_configure")
        self._group = MutuallyExclusiveCallbackGroup()  # the node's own would block the others
        (service,) = (s for s in node.services if s.srv_name.endswith("/change_state"))
        self._change_state = service.callback
        service.callback, service.callback_group = self._on_change_state, self._group
        self._group.add_entity(service)

    def bring_up(self) -> None:
        """Configures and activates the node as soon as it spins; a failure leaves it as it is."""

        async def start() -> None:
            timer.cancel()
            node, failed = self._node, TransitionCallbackReturn.ERROR
            work = self._thread.submit(attempt_transition, node, node.trigger_configure, failed)
            await finished(work, node)
            if work.result() == TransitionCallbackReturn.SUCCESS:
                attempt_transition(node, node.trigger_activate, failed)

        steady = Clock(clock_type=ClockType.STEADY_TIME)
        timer = self._node.create_timer(0.0, start, callback_group=self._group, clock=steady)

    def close(self, timeout: float) -> bool:
        """Takes no more work; whether that under way, if any, ends within `timeout` s."""
        last = self._thread.submit(int)  # does nothing, after all others
        self._thread.shutdown(wait=False)
        return not wait([last], timeout).not_done

    async def _on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        def change() -> ChangeState.Response:
            return attempt_transition(
                self._node, lambda: self._change_state(request, response), response
            )

        wanted = request.transition
        configure = wanted.id == Transition.TRANSITION_CONFIGURE or wanted.label == "configure"
        if not configure:
            return change()
        work = self._thread.submit(change)
        await finished(work, self._node)
        return work.result()
