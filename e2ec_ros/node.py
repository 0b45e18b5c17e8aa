"""The lifecycle node: images in, contours out. Wiring only; the work is in the other files."""

from __future__ import annotations

if __name__ == "__main__":
    from e2ec_ros.starting import prepare_process

    prepare_process()

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar

from lifecycle_msgs.msg import State
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

from e2ec_ros.background import BackgroundConfigure, finished
from e2ec_ros.declare import DeclaredParameters
from e2ec_ros.engine import Engine
from e2ec_ros.image_input import Frame
from e2ec_ros.model import describe_model, free_memory, load_predictor
from e2ec_ros.parameter_specs import Change
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.qos_overrides import require_possible_overrides
from e2ec_ros.running import run_node
from e2ec_ros.srv import SegmentImage
from e2ec_ros.tracks import make_tracker
from e2ec_ros.transitions import transition
from e2ec_ros.worker import InferenceWorker

R = TypeVar("R")

SEGMENT_QUEUE = 100  # requests at once; DDS would lose those beyond its default of 10
JOIN_TIMEOUT = 2.0  # s that a transition waits for the image in work


class SegmentationNode(LifecycleNode):
    """E2EC as a managed node.

    configure loads the weights and warms the model up, activate subscribes to the images,
    deactivate stops them and keeps the model, cleanup frees it.

    Args:
        parameter_overrides: beside those of the command line, for use inside a process.

    Attributes:
        declared: the parameters.
        engine: the loaded model; None while the node is unconfigured.
        loading: whether configure is under way.
    """

    def __init__(self, parameter_overrides: list[Parameter[Any]] | None = None) -> None:
        super().__init__("e2ec", parameter_overrides=parameter_overrides)
        self.engine: Engine | None = None
        self.loading = False
        self._worker: InferenceWorker[Frame] | None = None
        self.declared = DeclaredParameters(
            self, NodeParameters, self._allowed_changes, self._require_fit
        )
        for problem in self.declared.problems.values():
            self.get_logger().error(problem)
        # The service is made once, not in configure: rclpy crashes when it answers through a
        # destroyed service. In the node's own callback group it would block all other callbacks.
        self._segment = self.create_service(
            SegmentImage,
            "~/segment",
            self._on_segment,
            qos_profile=QoSProfile(depth=SEGMENT_QUEUE),
            callback_group=ReentrantCallbackGroup(),
        )
        self._background = BackgroundConfigure(self)
        if self.declared.value.autostart:
            self._background.bring_up()

    def close(self, timeout: float) -> bool:
        """Ends the node's threads; whether they ended in time. A load under way is not awaited."""
        configured = self._background.close(timeout)
        return self._stop_worker(0.0 if self.loading else timeout) and configured

    def destroy_node(self) -> None:
        """Destroys the node at once, even while a thread still has references to it.

        rclpy's own leaves out the state machine, which would keep the node on the network.
        """
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    # Transitions

    @transition(undo="_release")
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads and warms up the model, makes the publishers. Runs beside the executor."""
        self.loading = True
        self.declared.require_possible()
        require_possible_overrides(self)
        parameters = self.declared.value
        trackers = {camera: make_tracker(parameters) for camera in parameters.camera_names}
        self._worker = InferenceWorker()
        predictor = self._on_worker(lambda: load_predictor(parameters))
        model = describe_model(predictor, parameters.precision)
        self.engine = Engine(self, self._worker, predictor, trackers, model, self.declared)
        self.engine.require_fit(self.declared.value)  # they may change meanwhile
        self.get_logger().info(
            f"loaded {model.name} ({len(model.class_names)} classes, "
            f"{model.vertices} vertices) on {model.device}"
        )
        result = super().on_configure(state)
        self.loading = False
        return result

    @transition(undo="_back_to_inactive")
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets the publishers send, then subscribes to the images."""
        assert self.engine is not None
        result = super().on_activate(state)
        self.engine.activate()
        return result

    @transition(undo="")
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops the images and waits for the one in work; the model stays loaded."""
        self._stop_input()
        if self.engine is not None:
            self.engine.clear_markers()
        return super().on_deactivate(state)

    @transition(undo="")
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model and takes everything of configure back."""
        result = super().on_cleanup(state)
        self._release()
        return result

    @transition(undo="")
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything, from whatever state."""
        self._release()
        return super().on_shutdown(state)

    @transition(undo="")
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything, so that the node can be configured again."""
        self._release()
        return super().on_error(state)

    # Service

    async def _on_segment(
        self, request: SegmentImage.Request, response: SegmentImage.Response
    ) -> SegmentImage.Response:
        """Answers `~/segment`; the executor stays free while the image is in work."""
        if self.engine is None:
            response.message = "no model is loaded; configure the node first"
            return response
        try:
            work = self.engine.segment(request)
        except ValueError as error:
            response.message = str(error)
            return response
        await finished(work, self)
        try:
            response.result = work.result()
            response.success = True
        except CancelledError:
            response.message = "the node was cleaned up meanwhile"
        except Exception as error:
            response.message = str(error) or type(error).__name__
        return response

    # Parts

    def _on_worker(self, function: Callable[[], R]) -> R:
        """Runs a function on the inference thread and waits, unless the process is ending."""
        assert self._worker is not None
        work: Future[R] = self._worker.call(function)
        while not wait([work], timeout=0.1).done:
            if not self.context.ok():
                raise KeyboardInterrupt
        return work.result()

    def _stop_worker(self, timeout: float) -> bool:
        worker, self._worker = self._worker, None
        return worker is None or worker.stop(timeout)

    def _stop_input(self) -> None:
        if self.engine is not None and not self.engine.deactivate(JOIN_TIMEOUT):
            self.get_logger().warning(f"the image in work takes longer than {JOIN_TIMEOUT:g} s")

    def _back_to_inactive(self) -> None:
        self._stop_input()
        super().on_deactivate(
            LifecycleState(label="inactive", state_id=State.PRIMARY_STATE_INACTIVE)
        )

    def _release(self) -> None:
        self.loading = False
        self._stop_input()
        if not self._stop_worker(JOIN_TIMEOUT):
            self.get_logger().warning(f"the inference thread did not end in {JOIN_TIMEOUT:g} s")
        if self.engine is not None:
            self.engine.destroy()
            self.engine = None
        free_memory()

    def _allowed_changes(self) -> Change:
        if self.engine is not None and self.engine.active:
            return "live"
        return "inactive" if self.engine is not None or self.loading else "unconfigured"

    def _require_fit(self, parameters: NodeParameters) -> None:
        if self.engine is not None:
            self.engine.require_fit(parameters)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM."""
    return run_node(SegmentationNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
