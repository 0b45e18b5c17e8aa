"""Measures a model during training, and draws what it finds."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from e2ec_core.checkpoint import CheckpointInfo
from e2ec_core.contours import Contours
from e2ec_core.data.class_names import DatasetName
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.formats import rules_of
from e2ec_core.data.labelled import LabelledImage
from e2ec_core.evaluation.cityscapes import import_script
from e2ec_core.evaluation.ground_truth import ground_truth
from e2ec_core.evaluation.protocols import ProtocolSettings, make_evaluator
from e2ec_core.evaluation.report import COLUMNS
from e2ec_core.evaluation.run import StageScores, evaluate_stages
from e2ec_core.inference import PredictorSettings
from e2ec_core.inference.draw import draw_contours
from e2ec_core.inference.torch_predictor import TorchPredictor
from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.distributed import Process
from e2ec_core.learning.source import load_data, report
from e2ec_core.model.e2ec import E2EC

_LOG = logging.getLogger(__name__)
_DRAWN_SCORE = 0.3


class Measured(NamedTuple):
    """What a model reaches.

    Attributes:
        rows: a stage with its numbers each, the last stage last.
        by_class: mask AP of the last stage by class.
    """

    rows: list[dict[str, str | float]]
    by_class: dict[str, float]


class Validation:
    """The validation set of a run, measured by the rules of its format.

    Cityscapes' rules need cityscapesscripts and the official instance ids; where they cannot be
    had, COCO's stand in, which is logged.

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
        self.data = load_data(
            config.validation,
            config.model.class_names,
            held_out=config.validation.hold_out > 0,
        )
        report(self.data, config.validation.annotations)
        self.truth = ground_truth(self.data)
        self.annotations = Path(config.validation.annotations)
        self.rules = self._find_rules(rules_of(config.validation.format))

    @property
    def headline(self) -> str:
        """Name of the number that `best` goes by."""
        return self.rules.headline

    def measure(self, model: E2EC) -> Measured:
        """AP and IoU of every stage; numbers that do not exist are absent."""
        names = self.data.class_names
        measured = evaluate_stages(
            self._predictor(model, 0.0),
            self.data,
            self.truth,
            groups={name: (name,) for name in names},
            protocol=self.rules,
            annotations=self.annotations,
        )
        last = measured.stages[-1].precision
        by_class = {name: last.get(f"{name}/mask/AP", math.nan) for name in names}
        return Measured(
            rows=[_brief(row, self.rules.protocol) for row in measured.stages],
            by_class={name: round(v, 4) for name, v in by_class.items() if not math.isnan(v)},
        )

    def draw(self, model: E2EC, count: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Names and pictures (uint8 RGB) of the first images: labelled at the left, found beside.

        Args:
            model: to look with.
            count: of images.
        """
        predictor = self._predictor(model, _DRAWN_SCORE)
        for image in self.data.images[:count]:
            try:
                pixels = image.read()
            except (ValueError, OSError):
                continue  # the measurement has named it
            names = self.config.model.class_names
            found = draw_contours(pixels, predictor(pixels).contours, names)
            pair = np.hstack([_draw_labels(pixels, image, names), found])
            yield f"{image.image_id}_{image.path.stem}", pair

    def _find_rules(self, dataset: DatasetName) -> ProtocolSettings:
        rules = ProtocolSettings(protocol=dataset)
        if dataset != "cityscapes":
            return rules
        try:
            import_script()
            make_evaluator(rules, self.truth, self.data.class_names, annotations=self.annotations)
        except (ImportError, ValueError) as error:
            _LOG.warning("validation: by COCO's rules, not Cityscapes': %s", error)
            return ProtocolSettings()
        return rules

    def _predictor(self, model: E2EC, score: float) -> TorchPredictor:
        settings = PredictorSettings(score_threshold=score, max_instances=100, nms_iou=1.0)
        if self.config.model.placement == "fit":
            side = self.config.augment.trained_side
            settings = replace(settings, short_side=0, long_side=side)
        info = CheckpointInfo(name="validation", config=self.config.model)
        return TorchPredictor(
            model,
            info,
            device=self.process.device,
            precision=self.config.precision,
            settings=settings,
        )


def _draw_labels(
    pixels: NDArray[np.uint8], image: LabelledImage, names: Sequence[str]
) -> NDArray[np.uint8]:
    drawn = pixels
    for instance in image.instances:
        for part in instance.parts:
            outline = Contours(
                vertices=(part[None] - 0.5).astype(np.float32),
                scores=np.ones(1, np.float32),
                class_ids=np.array([instance.class_id]),
                stage="final",
                image_size=(image.height, image.width),
            )
            drawn = draw_contours(drawn, outline, names)
    return drawn


def _brief(row: StageScores, protocol: DatasetName) -> dict[str, str | float]:
    numbers = {name: row.precision[name] for name, _ in COLUMNS[protocol]}
    numbers["IoU in true boxes"] = row.given_boxes_iou["all"]
    measured = {name: round(v, 4) for name, v in numbers.items() if not math.isnan(v)}
    return {"stage": row.stage} | measured
