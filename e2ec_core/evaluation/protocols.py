"""Each data set's own evaluation: which numbers, by which rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from numpy.typing import ArrayLike

from e2ec_core.contours import Contours
from e2ec_core.data.cityscapes import instance_id_files
from e2ec_core.data.class_names import DatasetName
from e2ec_core.evaluation.average_precision import SBD_THRESHOLDS, Kind
from e2ec_core.evaluation.cityscapes import CityscapesEvaluator
from e2ec_core.evaluation.evaluator import SUBSETS, CocoEvaluator


class Evaluator(Protocol):
    """What collects predictions image by image and then measures them."""

    def process(
        self, image_id: int, contours: Contours, boxes_xyxy: ArrayLike | None = None
    ) -> None:
        """Adds the predictions of one image."""

    def leave_out(self, image_id: int) -> None:
        """Measures without an image, e.g. one whose file cannot be read."""

    def evaluate(self) -> dict[str, float]:
        """The numbers, in 0..1."""


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings:
    """How to measure.

    Attributes:
        protocol: whose rules.

            - coco: mask AP, and box AP of the detector's boxes or, without any, of the contours'.
            - kins: mask AP and, as the paper defines detection AP, the AP of the boxes around
              the contours; COCO's rules, against whole or visible outlines as they were read.
            - sbd: mask AP at IoU 0.1 to 0.9 (AP_vol), at 0.5 and at 0.7.
            - cityscapes: the official AP by cityscapesscripts, and COCO's mask AP.
        boundary: boundary AP as well (IoU 0.5 to 0.95 in every protocol, as the paper has it).
        images: images that count, see `CocoEvaluator`; published `detected`. The official
            Cityscapes AP always counts all.
        score_digits: decimals of scores for COCO's rules; published 2.
    """

    protocol: DatasetName = "coco"
    boundary: bool = False
    images: Literal["all", "detected"] = "all"
    score_digits: int | None = None

    def __post_init__(self) -> None:
        if self.protocol not in get_args(DatasetName):
            choices = ", ".join(get_args(DatasetName))
            raise ValueError(f"protocol is {self.protocol!r}; choose one of {choices}")

    @property
    def headline(self) -> str:
        """Name of the one number by which models are compared; of SBD it is AP_vol."""
        return "cityscapes/AP" if self.protocol == "cityscapes" else "mask/AP"


class ContourBoxes:
    """Lets an evaluator see the boxes around contours even if the detector has its own."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def process(
        self, image_id: int, contours: Contours, boxes_xyxy: ArrayLike | None = None
    ) -> None:
        """Adds the predictions of one image, without the detector's boxes."""
        self._evaluator.process(image_id, contours)

    def leave_out(self, image_id: int) -> None:
        """As the evaluator inside."""
        self._evaluator.leave_out(image_id)

    def evaluate(self) -> dict[str, float]:
        """As the evaluator inside."""
        return self._evaluator.evaluate()


class Together:
    """Several evaluators of the same predictions; their numbers have different names."""

    def __init__(self, evaluators: Sequence[Evaluator]) -> None:
        self._evaluators = tuple(evaluators)

    def process(
        self, image_id: int, contours: Contours, boxes_xyxy: ArrayLike | None = None
    ) -> None:
        """Adds the predictions of one image to each."""
        for evaluator in self._evaluators:
            evaluator.process(image_id, contours, boxes_xyxy)

    def leave_out(self, image_id: int) -> None:
        """Measures without an image in each."""
        for evaluator in self._evaluators:
            evaluator.leave_out(image_id)

    def evaluate(self) -> dict[str, float]:
        """All their numbers."""
        return {name: value for e in self._evaluators for name, value in e.evaluate().items()}


def make_evaluator(
    settings: ProtocolSettings,
    ground_truth: Mapping[str, Any],
    class_names: Sequence[str],
    *,
    subsets: Mapping[str, Sequence[str]] = SUBSETS,
    annotations: Path | None = None,
) -> Evaluator:
    """An evaluator by a data set's rules.

    Args:
        settings: which rules.
        ground_truth: labels in COCO's form, of the images that count.
        class_names: the model's, in channel order.
        subsets: groups of classes reported beside all (not by the official Cityscapes AP).
        annotations: Cityscapes' folder of `*_gtFine_instanceIds.png`.

    Raises:
        ValueError: the labels do not fit the rules.
    """

    def coco(kinds: Sequence[Kind], thresholds: Sequence[float] | None = None) -> Evaluator:
        return CocoEvaluator(
            ground_truth,
            class_names=class_names,
            kinds=kinds,
            subsets=subsets,
            images=settings.images,
            score_digits=settings.score_digits,
            thresholds=thresholds,
        )

    boundary: tuple[Kind, ...] = ("boundary",) if settings.boundary else ()
    if settings.protocol == "sbd":
        parts = [coco(("mask", "box"), SBD_THRESHOLDS)]
        return Together([*parts, coco(boundary)] if boundary else parts)
    if settings.protocol == "cityscapes":
        if annotations is None:
            raise ValueError("Cityscapes' rules need its folder of instance ids; give annotations")
        ids = {image["file_name"]: image["id"] for image in ground_truth["images"]}
        files = {ids[name]: path for name, path in instance_id_files(annotations, ids).items()}
        official = CityscapesEvaluator(files, class_names)
        return Together([official, coco(("mask", "box", *boundary))])
    evaluator = coco(("mask", "box", *boundary))
    return ContourBoxes(evaluator) if settings.protocol == "kins" else evaluator
