"""What happens to one image: message, pixels, contours, messages. Runs on the inference thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rclpy.clock import Clock
from sensor_msgs.msg import Image

from e2ec_core.contours import clip_to_image
from e2ec_core.image_messages import RgbImage, to_rgb
from e2ec_core.value_range import parse_range
from e2ec_ros.image_input import Frame
from e2ec_ros.messages import (
    FrameTiming,
    ModelDescription,
    contour_array,
    pipeline_delay,
)
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.outputs import Outputs
from e2ec_ros.parameters import NodeParameters
from e2ec_ros.statistics import FrameStatistics
from e2ec_ros.tracks import add_tracks

if TYPE_CHECKING:
    from e2ec_core.inference.predictor import Prediction, Predictor
    from e2ec_core.tracking import Tracker


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A frame whose pixels are there.

    Attributes:
        frame: the image's message.
        parameters: of the node, the same for the whole frame.
        image_rgb: uint8 [H, W, 3].
        taken: when the frame was taken, s of `time.monotonic`.
        converted: when the pixels were there, likewise.
    """

    frame: Frame
    parameters: NodeParameters
    image_rgb: RgbImage
    taken: float
    converted: float


class Pipeline:
    """Turns frames into published messages with one loaded model.

    Args:
        predictor: the model.
        tracker: gives objects ids; None without tracks.
        model: its description.
        outputs: the publishers.
        statistics: counters to raise.
        parameters: gives the current parameters; read once per frame.
        clock: the node's clock, for the delay since the image's stamp.
    """

    def __init__(
        self,
        predictor: Predictor,
        tracker: Tracker | None,
        model: ModelDescription,
        outputs: Outputs,
        statistics: FrameStatistics,
        parameters: Callable[[], NodeParameters],
        clock: Clock,
    ) -> None:
        self._predictor = predictor
        self._tracker = tracker
        self._model = model
        self._outputs = outputs
        self._statistics = statistics
        self._parameters = parameters
        self._clock = clock
        self._dropped = 0  # since the last message; frames that fail have none

    def process(self, frame: Frame, dropped: int) -> None:
        """Segments one frame and publishes everything about it.

        A frame whose node was deactivated meanwhile is dropped. Once its contours are out, the
        frame counts as published, whatever becomes of markers and overlay.

        Args:
            frame: the image.
            dropped: frames discarded since the one before.

        Raises:
            ValueError: the image cannot be read; one line.
        """
        begun = self.begin(frame, dropped)
        self.finish(begun, self._predict(begun.image_rgb, begun.parameters))

    def begin(self, frame: Frame, dropped: int) -> Begun:
        """Counts a frame and reads its pixels; arguments and errors as in `process`."""
        taken = time.monotonic()
        self._dropped += dropped
        self._statistics.dropped(dropped)
        parameters = self._parameters()
        return Begun(
            frame=frame,
            parameters=parameters,
            image_rgb=to_rgb(frame.message, parse_range(parameters.input_range)),
            taken=taken,
            converted=time.monotonic(),
        )

    def finish(self, begun: Begun, prediction: Prediction) -> None:
        """Publishes everything about a frame; the contours lie inside the image."""
        frame, parameters, header = begun.frame, begun.parameters, begun.frame.message.header
        if not self._outputs.contours.is_activated:
            self._dropped += 1
            self._statistics.dropped(1)
            return
        contours = prediction.contours
        if self._tracker is not None:
            contours = add_tracks(contours, self._tracker, header, parameters)
        timing = FrameTiming(
            queue=begun.taken - frame.received,
            preprocess=begun.converted - begun.taken + prediction.timing.preprocess,
            inference=prediction.timing.inference,
            postprocess=prediction.timing.postprocess,
            total=time.monotonic() - frame.received,
            pipeline=pipeline_delay(self._clock.now().nanoseconds, header),
            dropped=self._dropped,
        )
        self._dropped = 0
        self._outputs.contours.publish(contour_array(contours, self._model, timing, header))
        self._statistics.published(timing)
        if self._tracker is not None:
            self._outputs.publish_tracks(self._tracker, timing, header)
        info = frame.camera_info
        self._outputs.lazy.publish(contours, header, parameters)
        self._outputs.publish_markers(contours, header, info, parameters)
        self._outputs.publish_overlay_info(contours.image_size, header, info)
        if self._outputs.publish_overlay(begun.image_rgb, contours, header, parameters):
            self._statistics.overlay_drawn()

    def segment(self, message: Image, score_threshold: float) -> InstanceContourArray:
        """Segments one image outside the stream; nothing is published.

        Args:
            message: the image.
            score_threshold: 0 to 1; 0 for the node's own.

        Raises:
            ValueError: the image cannot be read, or the threshold is impossible.
        """
        if not 0.0 <= score_threshold <= 1.0:
            raise ValueError(f"score_threshold is {score_threshold:g}; give 0 to 1")
        started = time.monotonic()
        parameters = self._parameters()
        if score_threshold:
            parameters = replace(parameters, score_threshold=score_threshold)
        image_rgb = to_rgb(message, parse_range(parameters.input_range))
        converted = time.monotonic()
        prediction = self._predict(image_rgb, parameters)
        timing = FrameTiming(
            queue=0.0,
            preprocess=converted - started + prediction.timing.preprocess,
            inference=prediction.timing.inference,
            postprocess=prediction.timing.postprocess,
            total=time.monotonic() - started,
            pipeline=pipeline_delay(self._clock.now().nanoseconds, message.header),
            dropped=0,
        )
        return contour_array(prediction.contours, self._model, timing, message.header)

    def _predict(self, image_rgb: RgbImage, parameters: NodeParameters) -> Prediction:
        self._predictor.settings = parameters.predictor_settings()
        return inside_image(self._predictor(image_rgb))


def inside_image(prediction: Prediction) -> Prediction:
    """The prediction with contours that do not leave the image."""
    return replace(prediction, contours=clip_to_image(prediction.contours))
