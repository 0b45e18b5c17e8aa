"""Every stage equals the published model's, on its own test image."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.peaks import Peaks, decode_peaks
from e2ec_core.model.published.deform_conv import deform_conv2d
from e2ec_core.model.structures import Features, plant_seeds

STAGES = ("poly_init", "poly_coarse", "py0", "py1", "py2")
SLOTS = 32
Expected = Mapping[str, NDArray]


class Run(NamedTuple):
    """One forward pass: features, peaks, and the contours of every stage."""

    features: Features
    peaks: Peaks
    contours: list[Tensor]


def _run(model: E2EC, expected: Expected, dtype: torch.dtype) -> Run:
    rgb = torch.from_numpy(expected["pre/warped"][:, :, ::-1].copy()).permute(2, 0, 1)[None]
    with torch.inference_mode():
        features = model.detect(rgb.to(dtype))
        peaks = decode_peaks(features.heatmap, SLOTS)
        contours = model.grow(features, plant_seeds(features, peaks.cells), clip=True)
    return Run(features, peaks, contours)


@pytest.fixture(scope="module")
def double_run(published_model: E2EC, expected: Expected) -> Run:
    return _run(copy.deepcopy(published_model).double(), expected, torch.float64)


@pytest.fixture(scope="module")
def single_run(published_model: E2EC, expected: Expected) -> Run:
    return _run(published_model, expected, torch.float32)


def _slots(peaks: Peaks, detection: NDArray) -> list[int]:
    """Our slot of each published detection (x, y, score, class), by class and cell."""
    keys = torch.cat([peaks.class_ids[0, :, None], peaks.cells[0].long()], dim=1).tolist()
    wanted = [[int(row[3]), int(row[0]), int(row[1])] for row in detection]
    return [keys.index(key) for key in wanted]


def _greatest(ours: Tensor, theirs: NDArray) -> float:
    return float(np.abs(ours.numpy() - theirs).max())


def test_feature_map_and_heatmap(double_run: Run, single_run: Run, expected: Expected) -> None:
    for run, tolerance in ((double_run, 1e-5), (single_run, 5e-3)):
        assert _greatest(run.features.feature, expected["test/cnn_feature"]) < tolerance
        assert _greatest(run.features.heatmap, expected["test/head.ct_hm"]) < tolerance


def test_same_detections_above_the_published_threshold(
    double_run: Run, single_run: Run, expected: Expected
) -> None:
    detection = expected["test/stage[final-dml].detection"]
    for run, tolerance in ((double_run, 1e-9), (single_run, 1e-4)):
        scores = run.peaks.scores[0]
        assert int((scores >= 0.05).sum()) == len(detection) == 27
        matched = scores[_slots(run.peaks, detection)]
        assert _greatest(matched, detection[:, 2]) < tolerance


def test_top_peaks_equal_the_published_hundred(published_model: E2EC, expected: Expected) -> None:
    peaks = decode_peaks(torch.from_numpy(expected["test/head.ct_hm"]).double(), 100)
    assert _greatest(peaks.scores, expected["test/topk.score"]) < 1e-6
    cells = np.stack([expected["test/topk.xs"], expected["test/topk.ys"]], axis=2)
    assert _greatest(peaks.cells, cells) == 0
    assert _greatest(peaks.class_ids, expected["test/topk.cls"]) == 0


@pytest.mark.parametrize("stage", range(len(STAGES)), ids=STAGES)
def test_contours_of_every_stage(
    stage: int, double_run: Run, single_run: Run, expected: Expected
) -> None:
    theirs = expected[f"test/stage[final-dml].{STAGES[stage]}"]
    detection = expected["test/stage[final-dml].detection"]
    for run, tolerance_px in ((double_run, 1e-6), (single_run, 0.05)):
        ours = run.contours[stage][0, _slots(run.peaks, detection)]
        assert _greatest(ours, theirs) < tolerance_px


@pytest.mark.parametrize(
    ("published", "number"), [("final-dml", -1), ("final", 3), ("coarse", 1), ("init", 0)]
)
def test_stage_asked_for_is_the_published_answer(
    published: str, number: int, single_run: Run, expected: Expected
) -> None:
    """The published answer is the last entry, whatever was skipped on the way."""
    slots = _slots(single_run.peaks, expected[f"test/stage[{published}].detection"])
    ours = single_run.contours[number][0, slots]
    assert _greatest(ours, expected[f"test/stage[{published}].py2"]) < 0.05


def test_one_deformable_convolution(
    published_tensors: dict[str, Tensor], expected: Expected
) -> None:
    image = torch.from_numpy(expected["test/dcn[ida_up.proj_1].in"]).double()

    def weight(name: str) -> Tensor:
        return published_tensors[f"dla.ida_up.proj_1.conv.{name}"].double()

    raw = torch.nn.functional.conv2d(
        image, weight("conv_offset_mask.weight"), weight("conv_offset_mask.bias"), padding=1
    )
    out = deform_conv2d(
        image, raw[:, :18], raw[:, 18:].sigmoid(), weight("weight"), weight("bias")
    )
    theirs = expected["test/dcn[ida_up.proj_1].out"]
    assert _greatest(out, theirs) < 1e-5 * np.abs(theirs).max()
