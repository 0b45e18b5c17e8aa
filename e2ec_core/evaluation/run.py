"""Measures a model on a labelled data set, stage by stage."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.labelled import LabelledImage
from e2ec_core.evaluation.contour_iou import Rle, contour_ious
from e2ec_core.evaluation.protocols import ProtocolSettings, make_evaluator
from e2ec_core.geometry import clip_far
from e2ec_core.inference.torch_predictor import TorchPredictor

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StageScores:
    """What one stage of a model reaches.

    Attributes:
        stage: initial, coarse, evolution 1, ...
        precision: as `CocoEvaluator.evaluate` gives it; `box/...` is of the detector's boxes where
            the model has a box head, else of the boxes around the contours.
        given_boxes_iou: mean IoU of contours grown in the true boxes (at the true centres, for a
            model without boxes), by group of classes; one contour for each whole object, also
            where the model finds components.
    """

    stage: str
    precision: dict[str, float]
    given_boxes_iou: dict[str, float]


class Evaluation(NamedTuple):
    """What was measured.

    Attributes:
        stages: in order.
        images: number of images, those left out too.
        left_out: files of images that could not be read; they count nowhere.
    """

    stages: list[StageScores]
    images: int
    left_out: list[str]


def evaluate_stages(
    predictor: TorchPredictor,
    data: CocoDataset,
    ground_truth: dict[str, Any],
    *,
    groups: dict[str, tuple[str, ...]],
    progress: Iterable[LabelledImage] | None = None,
    protocol: ProtocolSettings | None = None,
    annotations: Path | None = None,
) -> Evaluation:
    """Measures every stage of a model on the same detections.

    Args:
        predictor: its settings give score threshold, number of instances, NMS and scale.
        data: the labelled images, read from `ground_truth`.
        ground_truth: COCO-format content of exactly these images.
        groups: names of classes by group, reported beside `all`.
        progress: the same images wrapped in a progress bar.
        protocol: whose rules; default COCO's.
        annotations: folder of the labels, which Cityscapes' rules read themselves.

    Raises:
        ValueError: no image can be read.
    """
    rules = protocol or ProtocolSettings()
    stages = predictor.stage_names
    names = data.class_names
    evaluators = {
        stage: make_evaluator(rules, ground_truth, names, subsets=groups, annotations=annotations)
        for stage in stages
    }
    ious: dict[str, list[tuple[int, float]]] = {stage: [] for stage in stages}
    left_out: list[str] = []
    for image in progress or data.images:
        try:
            pixels = image.read()
        except (ValueError, OSError) as error:
            _LOG.warning("left out: %s", error)
            left_out.append(str(image.path))
            for evaluator in evaluators.values():
                evaluator.leave_out(image.image_id)
            continue
        labelled = [i for i in image.instances if not i.crowd]
        masks = [_rle(i.parts, image) for i in labelled]
        boxes = np.array([i.box_xyxy for i in labelled])
        for stage, found in predictor.every_stage(pixels, boxes).items():
            evaluators[stage].process(image.image_id, found.contours, found.boxes_xyxy)
            values = contour_ious(found.given, masks)
            ious[stage] += zip((i.class_id for i in labelled), values, strict=True)
    if len(left_out) == len(data.images):
        raise ValueError(f"none of the {len(left_out)} images can be read, e.g. {left_out[0]!r}")
    wanted = {"all": names} | groups
    scores = [
        StageScores(
            stage=stage,
            precision=evaluators[stage].evaluate(),
            given_boxes_iou={
                group: _mean_iou(ious[stage], {names.index(n) for n in members if n in names})
                for group, members in wanted.items()
            },
        )
        for stage in stages
    ]
    return Evaluation(scores, len(data.images), left_out)


def _rle(parts: tuple[NDArray[np.float64], ...], image: LabelledImage) -> Rle:
    from pycocotools import mask as coco_mask

    polygons = [clip_far(p, image.height, image.width).ravel().tolist() for p in parts]
    rle: Rle = coco_mask.merge(coco_mask.frPyObjects(polygons, image.height, image.width))
    return rle


def _mean_iou(values: list[tuple[int, float]], classes: set[int]) -> float:
    chosen = [iou for class_id, iou in values if class_id in classes]
    return float(np.mean(chosen)) if chosen else float("nan")
