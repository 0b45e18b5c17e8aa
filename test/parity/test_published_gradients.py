"""Losses and gradients of one training step equal the published model's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from e2ec_core.convert import published_name
from e2ec_core.learning.losses import contour_losses, heatmap_focal_loss
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.structures import STRIDE, Features, Seeds

Expected = Mapping[str, NDArray]
FULL_GRADIENTS = (
    "dla.wh.2.weight",
    "train_decoder.refine.trans_fuse.weight",
    "gcn.evolve_gcn1.prediction.4.weight",
    "dla.ida_up.proj_1.conv.conv_offset_mask.weight",
    "dla.base.base_layer.0.weight",
)


class Step(NamedTuple):
    """Loss terms, contours [B, K, N, 2] and gradients by published name."""

    terms: dict[str, Tensor]
    contours: list[Tensor]
    gradients: dict[str, Tensor]


def _train_steps(model: E2EC, expected: Expected, dtype: torch.dtype) -> dict[str, Step]:
    """One forward pass, and the backward passes before and after epoch 10."""

    def batch(name: str) -> Tensor:
        return torch.from_numpy(expected[f"train/batch.{name}"])

    # The batch is stored normalised, so the detector is entered behind its normalisation.
    detector = model.detector
    feature = detector.neck(detector.backbone(batch("inp").to(dtype))[2:])
    features = Features(feature, detector.heatmap_head(feature))
    width = feature.shape[-1]
    cells = torch.stack([batch("ct_ind") % width, batch("ct_ind") // width], dim=2).to(dtype)
    contours = model.grow(features, Seeds(cells), clip=False)
    heatmap = heatmap_focal_loss(features.heatmap, batch("ct_hm").to(dtype))
    names = {published_name(name): value for name, value in model.named_parameters()}
    steps = {}
    for epoch, matching in (("epoch0", False), ("epoch10", True)):
        losses = contour_losses(
            contours,
            batch("img_gt_polys").to(dtype) * STRIDE,
            batch("keypoints_mask").bool(),
            batch("ct_01"),
            last_stage="dynamic_matching" if matching else "none",
        )
        total = heatmap + losses.total
        gradients = torch.autograd.grad(total, list(names.values()), retain_graph=not matching)
        terms = {
            "ct_loss": heatmap,
            "init_py_loss": losses.initial,
            "coarse_py_loss": losses.coarse,
            "py_loss_0": losses.evolutions[0],
            "py_loss_1": losses.evolutions[1],
            "end_set_loss": losses.evolutions[2],
            "loss": total,
        }
        steps[epoch] = Step(terms, contours, dict(zip(names, gradients, strict=True)))
    return steps


def _relative(ours: NDArray, theirs: NDArray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def _check(
    steps: dict[str, Step], expected: Expected, loss: float, px: float, grad: float
) -> None:
    valid = expected["train/batch.ct_01"]
    for epoch, step in steps.items():
        for name, value in step.terms.items():
            assert float(value.detach()) == pytest.approx(
                float(expected[f"train/{epoch}.{name}"]), rel=loss
            )
        stages = ("poly_init", "poly_coarse", "py_pred0", "py_pred1", "py_pred2")
        for stage, contours in zip(stages, step.contours, strict=True):
            theirs = expected[f"train/{epoch}.{stage}"]
            assert np.abs(contours.detach().numpy()[valid] - theirs).max() < px
        norms = expected[f"train/{epoch}.gradnorm.values"]
        greatest = np.nanmax(norms)
        for name, norm in zip(expected[f"train/{epoch}.gradnorm.names"], norms, strict=True):
            if name in step.gradients:
                ours = float(step.gradients[name].norm())
                assert ours == pytest.approx(float(norm), rel=grad, abs=1e-9 * greatest), name
            else:
                assert norm == 0 or np.isnan(norm), f"{name} is missing and has a gradient"
        for name in FULL_GRADIENTS:
            theirs = expected[f"train/{epoch}.grad.{name}"]
            ours = step.gradients[name].numpy()
            assert _relative(ours, theirs) < grad if theirs.any() else not ours.any()


def test_losses_and_gradients_in_float32(published_model: E2EC, expected: Expected) -> None:
    """Rounding alone moves gradients of the first layers by a percent in this deep network."""
    steps = _train_steps(published_model, expected, torch.float32)
    _check(steps, expected, loss=1e-5, px=0.05, grad=3e-2)


@pytest.mark.slow
def test_losses_and_gradients_in_float64(published_model: E2EC, expected: Expected) -> None:
    model = copy.deepcopy(published_model).double()
    steps = _train_steps(model, expected, torch.float64)
    _check(steps, expected, loss=1e-7, px=1e-6, grad=1e-5)
