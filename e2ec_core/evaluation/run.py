"""Measures a model on a labelled data set, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from e2ec_core.contours import Contours, Stage
from e2ec_core.data.coco import CocoDataset, LabelledImage
from e2ec_core.evaluation.contour_iou import Rle, contour_ious
from e2ec_core.evaluation.protocols import ProtocolSettings, make_evaluator
from e2ec_core.image_files import read_image
from e2ec_core.inference.postprocess import distinct
from e2ec_core.inference.predictor import Predictor, labels_to_input_px, to_image_px
from e2ec_core.inference.preprocess import Placement
from e2ec_core.model.structures import STRIDE, Features, Seeds

_REPORTED: dict[str, Stage] = {"initial": "initial", "coarse": "coarse"}


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


def evaluate_stages(
    predictor: Predictor,
    data: CocoDataset,
    ground_truth: dict[str, Any],
    *,
    groups: dict[str, tuple[str, ...]],
    progress: Iterable[LabelledImage] | None = None,
    protocol: ProtocolSettings | None = None,
    annotations: Path | None = None,
) -> list[StageScores]:
    """Measures every stage of a model on the same detections.

    Args:
        predictor: its settings give score threshold, number of instances, NMS and scale.
        data: the labelled images, read from `ground_truth`.
        ground_truth: COCO-format content of exactly these images.
        groups: names of classes by group, reported beside `all`.
        progress: the same images wrapped in a progress bar.
        protocol: whose rules; default COCO's.
        annotations: folder of the labels, which Cityscapes' rules read themselves.
    """
    rules = protocol or ProtocolSettings()
    stages = _stage_names(predictor)
    names = data.class_names
    evaluators = {
        stage: make_evaluator(rules, ground_truth, names, subsets=groups, annotations=annotations)
        for stage in stages
    }
    ious: dict[str, list[tuple[int, float]]] = {stage: [] for stage in stages}
    for image in progress or data.images:
        pixels = read_image(image.path)
        features, placement = detect(predictor, pixels)
        found = grow_detections(predictor, features, placement)
        labelled = [i for i in image.instances if not i.crowd]
        masks = [_rle(i.parts, image) for i in labelled]
        given = grow_given_boxes(
            predictor, features, placement, np.array([i.box_xyxy for i in labelled])
        )
        for stage in stages:
            contours, boxes = found[stage]
            evaluators[stage].process(image.image_id, contours, boxes)
            values = contour_ious(given[stage], masks)
            ious[stage] += zip((i.class_id for i in labelled), values, strict=True)
    wanted = {"all": names} | groups
    return [
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


def _stage_names(predictor: Predictor) -> list[str]:
    count = len(predictor.model.evolutions)
    return ["initial", "coarse", *(f"evolution {i + 1}" for i in range(count))]


@torch.inference_mode()
def detect(predictor: Predictor, pixels: NDArray[np.uint8]) -> tuple[Features, Placement]:
    """The dense part of the model on one image, and where the image lies in the input."""
    images, placement = predictor.prepare(pixels, predictor.settings)
    return predictor.model.detect(images), placement


@torch.inference_mode()
def grow_detections(
    predictor: Predictor, features: Features, placement: Placement
) -> dict[str, tuple[Contours, NDArray[np.float64] | None]]:
    """Contours of every stage for the model's own detections, with the detector's boxes."""
    settings = predictor.settings
    proposals = predictor.model.propose(features, settings.max_instances)
    kept = int((proposals.scores[0] >= max(settings.score_threshold, 1e-6)).sum())
    ids = proposals.instance_ids
    boxes = None
    if proposals.boxes is not None:
        corners = proposals.boxes[0, :kept].view(kept, 2, 2).cpu().numpy()
        boxes = _to_image(predictor, corners, placement).reshape(kept, 4).astype(np.float64)
    grown = predictor.model.grow(features, proposals.seeds, clip=predictor.model.clip)
    result = {}
    for stage, contours in zip(_stage_names(predictor), grown, strict=True):
        found = Contours(
            vertices=_to_image(predictor, contours[0, :kept].float().cpu().numpy(), placement),
            scores=proposals.scores[0, :kept].cpu().numpy(),
            class_ids=proposals.class_ids[0, :kept].cpu().numpy(),
            stage=_REPORTED.get(stage, "final"),
            image_size=placement.image_size,
            instance_ids=None if ids is None else ids[0, :kept].cpu().numpy(),
        )
        index = distinct(found, settings.nms_iou)
        result[stage] = (found[index], None if boxes is None else boxes[index])
    return result


@torch.inference_mode()
def grow_given_boxes(
    predictor: Predictor,
    features: Features,
    placement: Placement,
    boxes_xyxy: NDArray[np.float64],
) -> dict[str, NDArray[np.float32]]:
    """Contours of every stage grown in given boxes.

    Args:
        predictor: the model.
        features: of the image.
        placement: of the image.
        boxes_xyxy: [K, 4] in label coordinates (image px, edges at the integers).

    Returns:
        float32 [K, N, 2] image px by stage.
    """
    names = _stage_names(predictor)
    if not len(boxes_xyxy):
        return {name: np.zeros((0, 4, 2), np.float32) for name in names}
    origin = predictor.info.config.label_origin
    corners = labels_to_input_px(boxes_xyxy.reshape(-1, 2), placement, origin)
    boxes = torch.from_numpy(corners.reshape(1, -1, 4).astype(np.float32)).to(predictor.device)
    height, width = features.heatmap.shape[-2:]
    limit = boxes.new_tensor([width - 1, height - 1])
    cells = ((boxes[..., :2] + boxes[..., 2:]) / (2 * STRIDE)).round().clamp(min=0)
    seeds = Seeds(cells=torch.minimum(cells, limit), boxes=boxes)
    if features.box_sides is None:
        seeds = seeds._replace(boxes=None)
    grown = predictor.model.grow(features, seeds, clip=predictor.model.clip)
    return {
        name: _to_image(predictor, contours[0].float().cpu().numpy(), placement)
        for name, contours in zip(names, grown, strict=True)
    }


def _to_image(
    predictor: Predictor, points: NDArray[np.float32], placement: Placement
) -> NDArray[np.float32]:
    return to_image_px(points, placement, predictor.info.config.label_origin)


def _rle(parts: tuple[NDArray[np.float64], ...], image: LabelledImage) -> Rle:
    from pycocotools import mask as coco_mask

    polygons = [part.ravel().tolist() for part in parts]
    rle: Rle = coco_mask.merge(coco_mask.frPyObjects(polygons, image.height, image.width))
    return rle


def _mean_iou(values: list[tuple[int, float]], classes: set[int]) -> float:
    chosen = [iou for class_id, iou in values if class_id in classes]
    return float(np.mean(chosen)) if chosen else float("nan")
