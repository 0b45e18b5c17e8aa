"""Contours to messages. Pure functions: no node, no clock, no model is needed to test them."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header

from e2ec_core.contours import Contours
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


def clip_to_image(contours: Contours) -> Contours:
    """The contours with vertices beyond the image's edge moved onto it.

    The network may place vertices a few px outside; nobody who reads the messages expects that.
    """
    height, width = contours.image_size
    edge = np.array([width - 0.5, height - 0.5], np.float32)  # pixel centres are integers
    seen, whole = (
        None if v is None else np.clip(v, np.float32(-0.5), edge)
        for v in (contours.vertices, contours.amodal_vertices)
    )
    assert seen is not None
    return replace(contours, vertices=seen, amodal_vertices=whole)


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
    boxes = contours.boxes_xyxy.astype(np.float32)
    truncated = touches_border(boxes, contours.image_size)
    ids, tracks = contours.instance_ids, contours.track_ids
    whole, hidden = contours.amodal_vertices, contours.hidden
    nothing = np.zeros((0, 2), np.float32)
    rows = zip(
        contours.vertices,
        contours.scores.tolist(),
        contours.class_ids.tolist(),
        boxes,
        contours.areas.tolist(),
        truncated.tolist(),
        range(len(contours)) if ids is None else ids.tolist(),
        repeat(InstanceContour.NO_TRACK, len(contours)) if tracks is None else tracks.tolist(),
        repeat(nothing, len(contours)) if whole is None else whole,
        repeat(0.0, len(contours)) if hidden is None else hidden.tolist(),
        strict=True,
    )
    return [
        InstanceContour(
            class_id=class_id,
            class_name=model.class_names[class_id],
            score=score,
            track_id=track_id,
            instance_id=instance_id,
            box=box,
            contour=flat_vertices(vertices),
            area=area,
            amodal=model.amodal,
            truncated=cut,
            amodal_contour=flat_vertices(amodal),
            hidden=share,
        )
        for vertices, score, class_id, box, area, cut, instance_id, track_id, amodal, share in rows
    ]


def flat_vertices(vertices: NDArray[np.float32]) -> array.array[float]:
    """[N, 2] (x, y) to x0, y0, x1, y1, ... as `float32[]` fields take it without checking each."""
    flat = array.array("f")
    flat.frombytes(np.ascontiguousarray(vertices, np.float32).tobytes())
    return flat


def touches_border(
    boxes_xyxy: NDArray[np.float32], image_size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Whether each box [K, 4] (px) reaches the outermost row or column of (height, width)."""
    height, width = image_size
    low = boxes_xyxy[:, :2].min(axis=1, initial=np.inf) <= 0.5
    high = (boxes_xyxy[:, 2:] >= np.array([width - 1.5, height - 1.5])).any(axis=1)
    return np.asarray(low | high, np.bool_)


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
