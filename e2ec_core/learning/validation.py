"""Measures a model during training, and draws what it finds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from e2ec_core.checkpoint import CheckpointInfo
from e2ec_core.data.coco import CocoDataset, read_image
from e2ec_core.evaluation.run import StageScores, evaluate_stages, restrict_ground_truth
from e2ec_core.inference.draw import draw_contours
from e2ec_core.inference.predictor import Predictor, PredictorSettings
from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.distributed import Process
from e2ec_core.learning.source import load_labels
from e2ec_core.model.e2ec import E2EC

_DRAWN_SCORE = 0.3


class Validation:
    """The validation set of a run.

    Args:
        config: the run, with a validation set.
        process: decides the device.

    Raises:
        ValueError: the labels cannot be read.
    """

    def __init__(self, config: TrainConfig, process: Process) -> None:
        assert config.validation is not None
        self.config, self.process = config, process
        self.data: CocoDataset
        self.data, self.content = load_labels(
            config.validation,
            config.model.class_names,
            held_out=config.validation.hold_out > 0,
        )

    def measure(self, model: E2EC) -> list[dict[str, str | float]]:
        """AP and IoU of every stage, the last stage last."""
        truth = restrict_ground_truth(self.content, self.data)
        rows = evaluate_stages(self._predictor(model, 0.0), self.data, truth, groups={})
        return [_brief(row) for row in rows]

    def draw(self, model: E2EC, count: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Names and pictures (uint8 RGB) of the first images with the contours found in them."""
        predictor = self._predictor(model, _DRAWN_SCORE)
        for image in self.data.images[:count]:
            pixels = read_image(image.path)
            contours = predictor(pixels).contours
            drawn = draw_contours(pixels, contours, self.config.model.class_names)
            yield f"{image.image_id}_{image.path.stem}", drawn

    def _predictor(self, model: E2EC, score: float) -> Predictor:
        augment = self.config.augment
        settings = PredictorSettings(
            score_threshold=score,
            max_instances=100,
            short_side=0,
            long_side=augment.base_side or max(augment.size),
        )
        info = CheckpointInfo(name="validation", config=self.config.model)
        return Predictor(model, info, device=self.process.device, settings=settings)


def _brief(row: StageScores) -> dict[str, str | float]:
    numbers = {name: row.precision[name] for name in ("mask/AP", "mask/AP50", "box/AP")}
    numbers["IoU in true boxes"] = row.given_boxes_iou["all"]
    return {"stage": row.stage} | {name: round(value, 4) for name, value in numbers.items()}
