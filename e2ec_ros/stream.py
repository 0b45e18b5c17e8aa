"""The stream of one camera through the node: its images in, its contours out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode

from e2ec_ros.declare import DeclaredParameters
from e2ec_ros.diagnostics import diagnostic_status
from e2ec_ros.image_input import Frame, ImageInput, image_topics
from e2ec_ros.messages import ModelDescription
from e2ec_ros.outputs import Outputs
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.pipeline import Pipeline
from e2ec_ros.statistics import FrameStatistics
from e2ec_ros.worker import InferenceWorker

if TYPE_CHECKING:
    from e2ec_core.inference.predictor import Predictor
    from e2ec_core.tracking import Tracker


class Stream:
    """Subscription, mailbox, publishers, counters and tracks of one camera.

    Exists from configure to cleanup; the cameras of a node share its model and inference thread.

    Args:
        node: the node that gets subscriptions and publishers.
        worker: the inference thread.
        predictor: the model.
        tracker: gives objects ids; None without tracks.
        model: its description.
        parameters: the node's parameters.
        camera: the camera's name of the parameter `cameras`; empty for the only one.

    Attributes:
        mailbox: the image that waits for the inference thread.
        input: the image subscription; None while the node is not active.
        outputs: the publishers.
        pipeline: what happens to an image.
        statistics: counts and durations of the frames.
    """

    def __init__(
        self,
        node: LifecycleNode,
        worker: InferenceWorker[Frame],
        predictor: Predictor,
        tracker: Tracker | None,
        model: ModelDescription,
        parameters: DeclaredParameters[NodeParameters],
        camera: str,
    ) -> None:
        self._node = node
        self._worker = worker
        self._model = model
        self._parameters = parameters
        self._camera = camera
        self.mailbox = worker.mailbox()
        self._wanted = False
        self.input: ImageInput | None = None
        self.statistics = FrameStatistics()
        self.outputs = Outputs(node, model, parameters.value, camera)
        self.pipeline = Pipeline(
            predictor,
            tracker,
            model,
            self.outputs,
            self.statistics,
            lambda: parameters.value,
            node.get_clock(),
        )

    @property
    def image_topics(self) -> list[str]:
        """The full names of the topics that images may come on, by `image_transport`."""
        return list(image_topics(self._node, self._camera).values())

    def activate(self) -> None:
        """Subscribes to the images, with `lazy` when somebody listens, and lets them through."""
        self._wanted = False
        self.mailbox.open(self.pipeline.process, self._on_error)
        self.input = ImageInput(
            self._node,
            self._camera,
            self._offer,
            self._is_wanted,
            self._is_busy,
            self._parameters.value,
        )
        self._node.get_logger().info(f"listening to {self.input.topic}")

    def deactivate(self) -> None:
        """Ends the subscription and drops the frame that waits; one in work goes on."""
        if self.input is not None:
            self.input.destroy()
            self.input = None
        self.mailbox.close()

    def destroy(self) -> None:
        """Takes the publishers off the node."""
        self.outputs.destroy()

    def diagnose(self) -> DiagnosticStatus:
        """Returns the camera's health since the last call."""
        of_camera = f" of {self._camera}" if self._camera else ""
        return diagnostic_status(
            self.statistics.report(),
            self._model,
            name=f"{self._node.get_name()}: segmentation{of_camera}",
            active=self.input is not None,
            work=self._worker.work_for(self.mailbox),
            wanted=self._wanted,
        )

    def _offer(self, frame: Frame) -> None:
        self.statistics.received()
        self.mailbox.offer(frame)

    def _is_wanted(self) -> bool:
        wanted = not self._parameters.value.lazy or self.outputs.heard
        if wanted and not self._wanted:
            self.statistics.activated()
        self._wanted = wanted
        return wanted

    def _is_busy(self) -> bool:
        return self._worker.work_for(self.mailbox) is not None

    def _on_error(self, error: Exception) -> None:
        """Counts and reports a frame that failed.

        A ValueError is the image's fault; one about NaN or inf, and all else, the model's.
        """
        from e2ec_core.inference.predictor import NonFiniteError

        if not self._node.context.ok():
            return  # publishing failed because the process is ending
        defective = isinstance(error, NonFiniteError) or not isinstance(error, ValueError)
        text = f"{type(error).__name__}: {error}" if defective else str(error)
        self.statistics.failed(text, defective=defective)
        of_camera = f" of {self._camera}" if self._camera else ""
        self._node.get_logger().warning(
            f"image{of_camera} skipped: {text}", throttle_duration_sec=5.0
        )
