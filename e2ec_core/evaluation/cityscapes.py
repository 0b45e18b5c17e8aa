"""Cityscapes' own average precision, computed by its authors' scripts."""

from __future__ import annotations

import copy
import importlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from e2ec_core.contours import Contours
from e2ec_core.data.cityscapes import IDS_SUFFIX, LABEL_IDS
from e2ec_core.geometry import contour_to_mask

_SCRIPT = "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling"


class CityscapesEvaluator:
    """Instance-level AP by `cityscapesscripts`: groups and void are ignored regions.

    Predictions are written in its format (one PNG per object, one text file per image) into a
    temporary folder, where its cache of the ground truth lies as well, so that none goes stale.

    Args:
        instance_ids: the official `*_gtFine_instanceIds.png` by image id; all of them count.
        class_names: the model's class names in channel order, of Cityscapes' eight.

    Raises:
        ValueError: a class that Cityscapes does not evaluate.
    """

    def __init__(self, instance_ids: Mapping[int, Path], class_names: Sequence[str]) -> None:
        unknown = [name for name in class_names if name not in LABEL_IDS]
        if unknown:
            raise ValueError(
                f"class {unknown[0]!r} is none of Cityscapes': {', '.join(LABEL_IDS)}"
            )
        self._truth = dict(instance_ids)
        self._label_ids = [LABEL_IDS[name] for name in class_names]
        self.reset()

    def reset(self) -> None:
        """Forgets all predictions."""
        self._folder = TemporaryDirectory(prefix="e2ec_cityscapes_")
        self._lines: dict[int, list[str]] = {image_id: [] for image_id in self._truth}

    def leave_out(self, image_id: int) -> None:
        """Measures without an image, e.g. one whose file cannot be read."""
        self._lines.pop(image_id, None)

    def process(
        self, image_id: int, contours: Contours, boxes_xyxy: ArrayLike | None = None
    ) -> None:
        """Adds the predictions of one image; contours of one instance make up one mask.

        Args:
            image_id: of the ground truth.
            contours: in px of that image.
            boxes_xyxy: not used; Cityscapes compares masks.

        Raises:
            ValueError: an image without ground truth.
        """
        if image_id not in self._lines:
            raise ValueError(f"image {image_id} has no instance ids")
        lines = self._lines[image_id]
        for group in contours.by_instance():
            name = f"{image_id}_{len(lines)}.png"
            masks = [contour_to_mask(contours.vertices[i], *contours.image_size) for i in group]
            cv2.imwrite(str(Path(self._folder.name) / name), np.bitwise_or.reduce(masks) * 255)
            label_id = self._label_ids[int(contours.class_ids[group[0]])]
            lines.append(f"{name} {label_id} {float(contours.scores[group[0]]):.6f}")

    def evaluate(self) -> dict[str, float]:
        """Average precision in 0..1.

        Returns:
            `cityscapes/AP`, `cityscapes/AP50` and the same by class, `car/cityscapes/AP`; NaN for
            a class without ground truth.

        Raises:
            ImportError: cityscapesscripts is not installed.
            ValueError: it refuses the files.
        """
        averages = self._averages()
        numbers = {
            "cityscapes/AP": float(averages["allAp"]),
            "cityscapes/AP50": float(averages["allAp50%"]),
        }
        for name, values in averages["classes"].items():
            numbers[f"{name}/cityscapes/AP"] = float(values["ap"])
            numbers[f"{name}/cityscapes/AP50"] = float(values["ap50%"])
        return numbers

    def _averages(self) -> dict[str, Any]:
        script = import_script()
        settings = copy.copy(script.args)
        root = Path(self._folder.name).absolute()
        settings.quiet, settings.predictionPath = True, str(root)
        settings.gtInstancesFile = str(root / "gtInstances.json")
        predictions, truths = [], []
        for image_id, path in self._truth.items():
            if image_id not in self._lines:
                continue
            stem = path.name.removesuffix(IDS_SUFFIX)
            text = root / f"{stem}_{image_id}.txt"
            text.write_text("".join(line + "\n" for line in self._lines[image_id]))
            predictions.append(str(text))
            truths.append(str(path.absolute()))
        # Not evaluateImgLists: that writes matches.json into the working directory.
        try:
            with _numpy_as_it_was(), redirect_stdout(io.StringIO()):
                script.setInstanceLabels(settings)
                instances = script.getGtInstances(truths, settings)
                matches = script.matchGtWithPreds(predictions, truths, instances, settings)
                precision = _precision(script, matches, settings)
                averages: dict[str, Any] = script.computeAverages(precision, settings)
        except SystemExit as error:  # its way to report errors
            raise ValueError("cityscapesscripts cannot read the labels or predictions") from error
        return averages


def _precision(script: Any, matches: dict[str, Any], settings: Any) -> NDArray[np.float64]:
    """AP [1, classes, thresholds], asked for one at a time.

    The script fails on a class whose objects are all missed while its detections are all ignored;
    that is an AP of 0.
    """
    values = np.zeros((1, len(settings.instLabels), len(settings.overlaps)))
    for row, name in enumerate(settings.instLabels):
        for column, overlap in enumerate(settings.overlaps):
            single = copy.copy(settings)
            single.instLabels, single.overlaps = [name], np.array([overlap])
            with suppress(IndexError):
                values[0, row, column] = script.evaluateMatches(matches, single)[0, 0, 0]
    return values


def import_script() -> Any:
    """The official script.

    Raises:
        ImportError: cityscapesscripts is not installed.
    """
    try:
        return importlib.import_module(_SCRIPT)
    except ImportError as error:
        raise ImportError(
            "Cityscapes' evaluation needs cityscapesscripts: pip install cityscapesscripts"
        ) from error


@contextmanager
def _numpy_as_it_was() -> Iterator[None]:
    """cityscapesscripts 2.3 calls `np.in1d`, which NumPy 2.4 no longer has."""
    if hasattr(np, "in1d"):
        yield
        return
    vars(np)["in1d"] = np.isin
    try:
        yield
    finally:
        del vars(np)["in1d"]
