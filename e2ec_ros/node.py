"""The lifecycle node: images in, contours out. Wiring only; the work is in the other files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future as RosFuture
from std_msgs.msg import Header

from e2ec_ros.declare import DeclaredParameters
from e2ec_ros.diagnostics import PERIOD, diagnostic_array
from e2ec_ros.image_input import Frame, ImageInput
from e2ec_ros.messages import ModelDescription
from e2ec_ros.model import describe_model, free_memory, load_predictor
from e2ec_ros.outputs import Outputs
from e2ec_ros.parameters import Change, NodeParameters
from e2ec_ros.pipeline import Pipeline
from e2ec_ros.running import run_node
from e2ec_ros.srv import SegmentImage
from e2ec_ros.statistics import FrameStatistics
from e2ec_ros.transitions import transition
from e2ec_ros.worker import InferenceWorker

if TYPE_CHECKING:
    from e2ec_core.inference.predictor import Predictor

R = TypeVar("R")

JOIN_TIMEOUT = 2.0  # s; longer than any inference that is worth waiting for


class SegmentationNode(LifecycleNode):
    """E2EC as a managed node.

    configure loads the weights and warms the model up, activate subscribes to the images,
    deactivate stops them and keeps the model, cleanup frees it.
    """

    def __init__(self, parameter_overrides: list[Parameter[Any]] | None = None) -> None:
        """Declares the parameters; nothing else happens before configure.

        Args:
            parameter_overrides: beside those of the command line, for use inside a process.
        """
        super().__init__("e2ec", parameter_overrides=parameter_overrides)
        self._configured: _Configured | None = None
        self._worker: InferenceWorker[Frame] | None = None
        self._input: ImageInput | None = None
        self._declared = DeclaredParameters(self, NodeParameters, self._allowed_changes)
        for problem in self._declared.problems.values():
            self.get_logger().error(problem)
        # It lives as long as the node: an answer must not meet a destroyed service. Its group is
        # its own: in the node's, it would hold everything up until its answer.
        self._segment = self.create_service(
            SegmentImage, "~/segment", self._on_segment, callback_group=ReentrantCallbackGroup()
        )

    def close(self) -> bool:
        """Ends the inference thread; returns whether it ended in time."""
        worker, self._worker = self._worker, None
        return worker is None or worker.stop(JOIN_TIMEOUT)

    # Transitions

    @transition(undo="_release")
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads and warms up the model, makes publishers and services."""
        self._declared.require_possible()
        self._worker = InferenceWorker(self._process, self._on_frame_error)
        parameters = self._declared.value
        predictor = self._on_worker(lambda: load_predictor(parameters))
        model = describe_model(predictor, parameters.precision)
        self._configured = _Configured(self, predictor, model)
        self.get_logger().info(
            f"loaded {model.name} ({len(model.class_names)} classes, "
            f"{model.vertices} vertices) on {model.device}"
        )
        return super().on_configure(state)

    @transition(undo="_back_to_inactive")
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets the publishers send, then subscribes to the images."""
        assert self._worker is not None
        result = super().on_activate(state)
        self._worker.open()
        parameters = self._declared.value
        self._input = ImageInput(
            self,
            self._on_frame,
            qos=parameters.input_qos,
            transport=parameters.image_transport,
            camera_info_topic=parameters.input_camera_info,
        )
        self.get_logger().info(f"listening to {self._input.topic}")
        return result

    @transition(undo="")
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops the images and waits for the one in work; the model stays loaded."""
        self._stop_input()
        if self._configured is not None:
            self._configured.outputs.clear_markers()
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

    # Frames

    def _on_frame(self, frame: Frame) -> None:
        if self._worker is not None and self._configured is not None:
            self._configured.statistics.count(received=1)
            self._worker.offer(frame)

    def _process(self, frame: Frame, dropped: int) -> None:
        if self._configured is not None:
            self._configured.pipeline.process(frame, dropped)

    def _on_frame_error(self, error: Exception) -> None:
        if not self.context.ok():
            return  # publishing failed because the process is ending
        if self._configured is not None:
            self._configured.statistics.failed(str(error))
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        self.get_logger().warning(f"image skipped: {kind}{error}", throttle_duration_sec=5.0)

    async def _on_segment(
        self, request: SegmentImage.Request, response: SegmentImage.Response
    ) -> SegmentImage.Response:
        """Answers `~/segment`; the executor stays free while the image is in work."""
        if self._worker is None or self._configured is None:
            response.message = "no model is loaded; configure the node first"
            return response
        pipeline = self._configured.pipeline
        work = self._worker.call(lambda: pipeline.segment(request.image, request.score_threshold))
        executor = self.executor
        assert executor is not None
        done: RosFuture[None] = RosFuture(executor=executor)

        def wake(_: object) -> None:
            done.set_result(None)
            executor.wake()  # a result alone does not end its wait

        work.add_done_callback(wake)
        await done
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

    def _stop_input(self) -> None:
        if self._worker is not None and not self._worker.close(JOIN_TIMEOUT):
            self.get_logger().warning(f"the image in work takes longer than {JOIN_TIMEOUT:g} s")
        if self._input is not None:
            self._input.destroy()
            self._input = None

    def _back_to_inactive(self) -> None:
        self._stop_input()
        super().on_deactivate(
            LifecycleState(label="inactive", state_id=State.PRIMARY_STATE_INACTIVE)
        )

    def _release(self) -> None:
        self._stop_input()
        if not self.close():
            self.get_logger().warning(f"the inference thread did not end in {JOIN_TIMEOUT:g} s")
        if self._configured is not None:
            self._configured.destroy()
            self._configured = None
            free_memory()

    def _allowed_changes(self) -> Change:
        if self._configured is None:
            return "unconfigured"
        return "inactive" if self._input is None else "live"


class _Configured:
    """Everything that exists from configure to cleanup."""

    def __init__(
        self, node: SegmentationNode, predictor: Predictor, model: ModelDescription
    ) -> None:
        self._node = node
        self._model = model
        parameters = node._declared
        self.statistics = FrameStatistics()
        self.outputs = Outputs(node, model, parameters.value)
        self.pipeline = Pipeline(
            predictor,
            model,
            self.outputs,
            self.statistics,
            lambda: parameters.value,
            node.get_clock(),
        )
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = node.create_timer(
            PERIOD, self._diagnose, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def destroy(self) -> None:
        """Takes everything off the node."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._diagnostics)
        self.outputs.destroy()

    def _diagnose(self) -> None:
        now = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(
            diagnostic_array(
                self.statistics.report(),
                self._model,
                name=self._node.get_name(),
                active=self._node._input is not None,
                header=Header(stamp=now),
            )
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM."""
    return run_node(SegmentationNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
