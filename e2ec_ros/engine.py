"""The loaded model with everything around it: exists from configure to cleanup."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from e2ec_ros.batches import Batches
from e2ec_ros.declare import DeclaredParameters
from e2ec_ros.diagnostics import PERIOD
from e2ec_ros.image_input import Frame
from e2ec_ros.manager_bond import ManagerBond
from e2ec_ros.messages import ModelDescription
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.qos_overrides import warn_of_unused_overrides
from e2ec_ros.srv import SegmentImage
from e2ec_ros.stream import Stream
from e2ec_ros.worker import InferenceWorker

if TYPE_CHECKING:
    from e2ec_core.inference.predictor import Predictor
    from e2ec_core.tracking import Tracker


class Engine:
    """The streams of the cameras, diagnostics and the inference thread of one loaded model.

    A thread that hangs keeps the engine it belongs to, so it cannot disturb the next one.

    Args:
        node: the node that gets the publishers.
        worker: the thread that the model was loaded on.
        predictor: the model.
        trackers: name of each camera to what gives its objects ids; None without tracks.
        model: its description.
        parameters: the node's parameters.

    Attributes:
        worker: the same thread.
        predictor: the same model.
        streams: one for each camera, in the order of `trackers`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        worker: InferenceWorker[Frame],
        predictor: Predictor,
        trackers: Mapping[str, Tracker | None],
        model: ModelDescription,
        parameters: DeclaredParameters[NodeParameters],
    ) -> None:
        self._node = node
        self.worker = worker
        self.predictor = predictor
        self._model = model
        self._parameters = parameters
        self._bond: ManagerBond | None = None
        self.streams = [
            Stream(node, worker, predictor, tracker, model, parameters, camera)
            for camera, tracker in trackers.items()
        ]
        pipelines = {stream.mailbox: stream.pipeline for stream in self.streams}
        batches = Batches(predictor, pipelines, worker.report)
        worker.batch(lambda: parameters.value.batch_wait, batches.process)
        warn_of_unused_overrides(
            node,
            publishers=[topic for stream in self.streams for topic in stream.outputs.topics],
            subscriptions=[topic for stream in self.streams for topic in stream.image_topics],
        )
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = node.create_timer(
            PERIOD, self._diagnose, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def activate(self) -> None:
        """Subscribes to the images.

        Raises:
            ValueError: a bond is asked for and cannot be made.
        """
        for stream in self.streams:
            stream.activate()
        if self._parameters.value.bond:
            self._bond = ManagerBond(self._node)

    @property
    def active(self) -> bool:
        """Whether images are taken."""
        return any(stream.input is not None for stream in self.streams)

    def deactivate(self, timeout: float) -> bool:
        """Takes no more images; waits at most `timeout` s for the one in work.

        Returns:
            whether the thread came to rest.
        """
        if self._bond is not None:
            self._bond.end()
            self._bond = None
        for stream in self.streams:
            stream.deactivate()
        return self.worker.wait_until_idle(timeout)

    def clear_markers(self) -> None:
        """Removes the last markers of every camera from RViz."""
        for stream in self.streams:
            stream.outputs.clear_markers()

    def segment(self, request: SegmentImage.Request) -> Future[InstanceContourArray]:
        """Segments one image beside the streams.

        Raises:
            ValueError: another request waits already.
        """
        pipeline = self.streams[0].pipeline
        return self.worker.call(lambda: pipeline.segment(request.image, request.score_threshold))

    def require_fit(self, parameters: NodeParameters) -> None:
        """Raises ValueError for classes or outlines that the model does not have."""
        parameters.predictor_settings().require_fit(self.predictor.info.config)

    def destroy(self) -> None:
        """Takes publishers and timer off the node."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._diagnostics)
        for stream in self.streams:
            stream.destroy()

    def _diagnose(self) -> None:
        self._diagnostics.publish(
            DiagnosticArray(
                header=Header(stamp=self._node.get_clock().now().to_msg()),
                status=[stream.diagnose() for stream in self.streams],
            )
        )
