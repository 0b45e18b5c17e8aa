"""The distance node: contours and points of the same moment in, positions out. Wiring only."""

from __future__ import annotations

if __name__ == "__main__":
    from e2ec_ros.starting import prepare_process

    prepare_process()

import math
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from e2ec_ros.declare import DeclaredParameters
from e2ec_ros.distance_input import DistanceInput
from e2ec_ros.distance_outputs import DistanceOutputs
from e2ec_ros.distance_parameters import DistanceParameters
from e2ec_ros.msg import InstanceContourArray
from e2ec_ros.positions import Measured, measure_cloud, measure_depth, require_calibration
from e2ec_ros.running import run_node
from e2ec_ros.transforms import Extrinsics

WARNING_PERIOD = 5.0  # s between warnings of the same thing


class DistanceNode(Node):
    """Tells where the objects are that the segmentation node outlines.

    It needs neither PyTorch nor the model.

    Args:
        parameter_overrides: beside those of the command line, for use inside a process.

    Attributes:
        declared: the parameters.
        input: the subscriptions.
        outputs: the publishers.

    Raises:
        ValueError: a parameter is impossible.
    """

    def __init__(self, parameter_overrides: list[Parameter[Any]] | None = None) -> None:
        super().__init__("distance", parameter_overrides=parameter_overrides)
        self.declared = DeclaredParameters(self, DistanceParameters, lambda: "live")
        self.declared.require_possible()
        self._warned_at: dict[str, float] = {}
        self._extrinsics = Extrinsics(self)
        self.outputs = DistanceOutputs(self)
        self.input = DistanceInput(self, self._on_pair, lambda: self.declared.value)
        contours = self.resolve_topic_name("e2ec/contours")
        self.get_logger().info(f"listening to {contours} and {self.input.topic}")

    def _on_pair(self, contours: InstanceContourArray, source: Any | None, off: float) -> None:
        try:
            if source is None:
                raise ValueError(self._describe_missing(off))
            measured = self._measure(contours, source)
        except ValueError as error:
            self._warn(f"no positions: {error}")
        else:
            self.outputs.publish(measured, source, self.declared.value.lifetime)

    def _measure(self, contours: InstanceContourArray, source: Any) -> Measured:
        given = self.declared.value
        calibration = require_calibration(self.input.camera_info, contours)
        if given.source == "depth":
            return measure_depth(contours, source, calibration, rectified=given.rectified)
        frames = contours.header.frame_id, source.header.frame_id
        extrinsic = self._extrinsics.find(*frames, source.header.stamp, given.extrinsic)
        return measure_cloud(contours, source, calibration, extrinsic, rectified=given.rectified)

    def _warn(self, text: str) -> None:
        """Warns, of one thing not more often than every few seconds."""
        thing, now = re.sub(r"\d+", "", text), time.monotonic()
        if now - self._warned_at.get(thing, -math.inf) >= WARNING_PERIOD:
            self._warned_at[thing] = now
            self.get_logger().warning(text)

    def _describe_missing(self, off: float) -> str:
        topic = self.input.topic
        if not math.isfinite(off):
            name = self.declared.value.source
            return f"nothing came on {topic}; remap `{name}` to the sensor's topic"
        return (
            f"the nearest of {topic} is {off:.3f} s away from the contours, more than "
            f"sync.tolerance ({self.declared.value.tolerance:g} s); compare the clocks of the "
            "sensors, or raise sync.tolerance or sync.keep"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM."""
    return run_node(DistanceNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
