"""Contours to messages. Pure functions: no node, no clock, no model is needed to test them."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header

from e2ec_core.contours import Contours
from e2ec_core.message_fields import instance_fields
from e2ec_ros.msg import InferenceTiming, InstanceContour, InstanceContourArray, ModelInfo

STAGE_CODES = {
    "initial": InstanceContourArray.STAGE_INITIAL,
    "coarse": InstanceContourArray.STAGE_COARSE,
    "final": InstanceContourArray.STAGE_FINAL,
}
# A larger difference between the node's clock and a stamp is not a latency: a bag is played
# without /clock, or two machines' clocks disagree.
LARGEST_PIPELINE_DELAY = 600.0  # s


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What the messages say of the model.

    Attributes:
        name: name of the checkpoint.
        weights_sha256: digest of its file.
        device: in words, e.g. `cuda:0 NVIDIA H200`.
        precision: fp32, fp16 or bf16.
        class_names: name of each class id.
        colors: one (red, green, blue) of 0..255 per class.
        vertices: vertices per contour.
        amodal: whether contours include occluded parts.
    """

    name: str
    weights_sha256: str
    device: str
    precision: str
    class_names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    vertices: int
    amodal: bool


@dataclass(frozen=True, kw_only=True)
class FrameTiming:
    """Durations of one frame, s; `dropped` counts frames discarded since the one before."""

    queue: float
    preprocess: float
    inference: float
    postprocess: float
    total: float
    pipeline: float
    dropped: int


def contour_array(
    contours: Contours, model: ModelDescription, timing: FrameTiming, header: Header
) -> InstanceContourArray:
    """The message for one image; empty `contours` give an empty, valid message."""
    height, width = contours.image_size
    return InstanceContourArray(
        header=header,
        width=width,
        height=height,
        stage=STAGE_CODES[contours.stage],
        model=model.name,
        timing=timing_message(timing),
        instances=instance_messages(contours, model),
    )


def instance_messages(contours: Contours, model: ModelDescription) -> list[InstanceContour]:
    """One message per contour, in their order (falling score)."""
    return [
        InstanceContour(
            **fields
            | {name: flat_vertices(fields[name]) for name in ("contour", "amodal_contour")}
        )
        for fields in instance_fields(contours, model.class_names, amodal=model.amodal)
    ]


def flat_vertices(vertices: NDArray[np.float32]) -> array.array[float]:
    """Vertices to x0, y0, x1, y1, ... as `float32[]` fields take it without checking each."""
    flat = array.array("f")
    flat.frombytes(np.ascontiguousarray(vertices, np.float32).tobytes())
    return flat


def timing_message(timing: FrameTiming) -> InferenceTiming:
    """The timing as a message."""
    return InferenceTiming(
        queue=timing.queue,
        preprocess=timing.preprocess,
        inference=timing.inference,
        postprocess=timing.postprocess,
        total=timing.total,
        pipeline=timing.pipeline,
        dropped=timing.dropped,
    )


def pipeline_delay(now_nanoseconds: int, header: Header) -> float:
    """Seconds from a header's stamp to now; NaN when the stamp is zero or the clocks disagree."""
    stamp = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
    delay = (now_nanoseconds - stamp) / 1e9
    return delay if stamp and abs(delay) <= LARGEST_PIPELINE_DELAY else math.nan


def model_info(model: ModelDescription, score_threshold: float) -> ModelInfo:
    """The latched message that describes the model."""
    return ModelInfo(
        model=model.name,
        weights_sha256=model.weights_sha256,
        device=model.device,
        precision=model.precision,
        class_names=list(model.class_names),
        colors=[color_message(color) for color in model.colors],
        vertices=model.vertices,
        amodal=model.amodal,
        score_threshold=score_threshold,
    )


def color_message(color: Sequence[int], alpha: float = 1.0) -> ColorRGBA:
    """An opaque (red, green, blue) of 0..255 as a message."""
    red, green, blue = (channel / 255.0 for channel in color)
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)
