"""The loaded model with everything around it: exists from configure to cleanup."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from e2ec_ros.declare import DeclaredParameters
from e2ec_ros.diagnostics import PERIOD, diagnostic_array
from e2ec_ros.image_input import Frame
from e2ec_ros.messages import ModelDescription
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.outputs import Outputs
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.pipeline import Pipeline
from e2ec_ros.srv import SegmentImage
from e2ec_ros.statistics import FrameStatistics
from e2ec_ros.worker import InferenceWorker

if TYPE_CHECKING:
    from e2ec_core.inference.predictor import Predictor
    from e2ec_core.tracking import Tracker


class Engine:
    """Publishers, statistics, diagnostics and the inference thread of one loaded model.

    A thread that hangs keeps the engine it belongs to, so it cannot disturb the next one.

    Args:
        node: the node that gets the publishers.
        worker: the thread that the model was loaded on.
        predictor: the model.
        tracker: gives objects ids; None without tracks.
        model: its description.
        parameters: the node's parameters.

    Attributes:
        worker: the same thread.
        predictor: the same model.
        statistics: counts and durations of the frames.
        outputs: the publishers.
    """

    def __init__(
        self,
        node: LifecycleNode,
        worker: InferenceWorker[Frame],
        predictor: Predictor,
        tracker: Tracker | None,
        model: ModelDescription,
        parameters: DeclaredParameters[NodeParameters],
    ) -> None:
        self._node = node
        self.worker = worker
        self.predictor = predictor
        self._model = model
        self._active = False
        self.statistics = FrameStatistics()
        self.outputs = Outputs(node, model, parameters.value)
        self._pipeline = Pipeline(
            predictor,
            tracker,
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

    def activate(self) -> None:
        """Accepts frames from now on."""
        self._active = True
        self.statistics.activated()
        self.worker.open(self._pipeline.process, self._on_error)

    def deactivate(self, timeout: float) -> bool:
        """Takes no more frames; waits at most `timeout` s for the one in work.

        Returns:
            whether the thread came to rest.
        """
        self._active = False
        return self.worker.close(timeout)

    def offer(self, frame: Frame) -> None:
        """Hands a frame to the inference thread; never blocks."""
        self.statistics.received()
        self.worker.offer(frame)

    def segment(self, request: SegmentImage.Request) -> Future[InstanceContourArray]:
        """Segments one image beside the stream.

        Raises:
            ValueError: another request waits already.
        """
        pipeline = self._pipeline
        return self.worker.call(lambda: pipeline.segment(request.image, request.score_threshold))

    def require_known_classes(self, parameters: NodeParameters) -> None:
        """Raises ValueError for names of classes that the model does not have."""
        parameters.predictor_settings().class_ids(self._model.class_names)

    def is_busy(self) -> bool:
        """Returns whether the inference thread works now."""
        return self.worker.work is not None

    def destroy(self) -> None:
        """Takes publishers and timer off the node."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._diagnostics)
        self.outputs.destroy()

    def _on_error(self, error: Exception) -> None:
        """Counts and reports a frame that failed.

        A ValueError is the image's fault; one about NaN or inf, and all else, the model's.
        """
        from e2ec_core.inference.predictor import NonFiniteError  # loads PyTorch

        if not self._node.context.ok():
            return  # publishing failed because the process is ending
        defective = isinstance(error, NonFiniteError) or not isinstance(error, ValueError)
        text = f"{type(error).__name__}: {error}" if defective else str(error)
        self.statistics.failed(text, defective=defective)
        self._node.get_logger().warning(f"image skipped: {text}", throttle_duration_sec=5.0)

    def _diagnose(self) -> None:
        self._diagnostics.publish(
            diagnostic_array(
                self.statistics.report(),
                self._model,
                name=self._node.get_name(),
                active=self._active,
                work=self.worker.work,
                header=Header(stamp=self._node.get_clock().now().to_msg()),
            )
        )
