"""Losses: known values, invariants, and the published model's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from e2ec_core.learning.losses import (
    LossWeights,
    chamfer_loss,
    contour_losses,
    contour_smooth_l1,
    dynamic_matching_loss,
    heatmap_focal_loss,
)

STAGES = ("poly_init", "poly_coarse", "py_pred0", "py_pred1", "py_pred2")


def circle(vertices: int = 32, radius: float = 20.0) -> Tensor:
    """One image with one instance, [1, 1, N, 2], float64."""
    angle = torch.arange(vertices, dtype=torch.float64) * 2 * torch.pi / vertices
    points = torch.stack([angle.sin(), angle.cos()], dim=-1) * radius + 50
    return points[None, None]


def random_batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Previous, predicted and target contours, keys and valid of [2, 3] slots, 4 of them used."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3, 16, 2)
    previous, predicted, target = (
        torch.rand(shape, generator=generator, dtype=torch.float64) * 50 for _ in range(3)
    )
    keys = torch.rand(shape[:3], generator=generator) > 0.6
    valid = torch.tensor([[True, True, False], [True, False, True]])
    return previous, predicted, target, keys, valid


def dense_matching_loss(
    previous: Tensor, predicted: Tensor, target: Tensor, keys: Tensor
) -> Tensor:
    """The matching loss by its definition, with all ten points of every edge written out."""
    before = target.roll(1, dims=1)
    steps = torch.arange(10, dtype=target.dtype)[:, None] / 10
    outline = (before[:, :, None] + steps * (target - before)[:, :, None]).flatten(1, 2)
    nearest = torch.cdist(previous, outline).argmin(-1)
    paired = outline.gather(1, nearest[..., None].expand(-1, -1, 2))
    to_outline = F.smooth_l1_loss(predicted, paired)
    nearest = torch.cdist(target, previous).argmin(-1)
    paired = predicted.gather(1, nearest[..., None].expand(-1, -1, 2))
    weight = keys[..., None].expand_as(target).to(target)
    to_keys = F.smooth_l1_loss(paired, target, reduction="none") * weight
    return (to_outline + to_keys.sum() / (weight.sum() + 1)) / 2


@pytest.mark.parametrize("loss", [contour_smooth_l1, chamfer_loss])
def test_a_contour_on_its_ground_truth_costs_nothing(loss: object) -> None:
    contour = circle().requires_grad_()
    value = loss(contour, contour.detach(), torch.tensor([[True]]))  # type: ignore[operator]
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert contour.grad is not None
    assert contour.grad.isfinite().all()


def test_matching_loss_is_zero_on_the_ground_truth() -> None:
    contour = circle()
    keys, valid = torch.ones(1, 1, 32, dtype=torch.bool), torch.tensor([[True]])
    assert dynamic_matching_loss(contour, contour, contour, keys, valid).item() == 0


def test_smooth_l1_is_linear_far_away_and_quadratic_near() -> None:
    contour, valid = circle(), torch.tensor([[True]])
    assert contour_smooth_l1(contour + 3, contour, valid).item() == pytest.approx(2.5)
    assert contour_smooth_l1(contour + 0.5, contour, valid).item() == pytest.approx(0.125)
    assert contour_smooth_l1(contour + 3, contour, valid, beta=6).item() == pytest.approx(0.75)


def test_chamfer_ignores_the_order_of_vertices() -> None:
    contour, valid = circle(), torch.tensor([[True]])
    shifted = contour.roll(5, dims=2).flip(2)
    assert chamfer_loss(shifted, contour, valid).item() == pytest.approx(0, abs=1e-12)
    assert chamfer_loss(circle(radius=23), contour, valid).item() == pytest.approx(3)


def test_matching_forgives_vertices_that_slide_along_the_outline() -> None:
    contour, valid = circle(), torch.tensor([[True]])
    none = torch.zeros(1, 1, 32, dtype=torch.bool)
    middles = (contour + contour.roll(1, dims=2)) / 2
    paired = contour_smooth_l1(middles, contour, valid).item()
    assert paired > 0.5
    matched = dynamic_matching_loss(middles, middles, contour, none, valid).item()
    assert matched == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_matching_equals_its_definition(seed: int) -> None:
    previous, predicted, target, keys, valid = random_batch(seed)
    loss = dynamic_matching_loss(previous, predicted, target, keys, valid)
    flat = [tensor[valid] for tensor in (previous, predicted, target, keys)]
    assert loss.item() == pytest.approx(dense_matching_loss(*flat).item(), rel=1e-12)


def test_matching_sends_no_gradient_to_the_previous_stage() -> None:
    previous, predicted, target, keys, valid = random_batch()
    previous.requires_grad_()
    predicted.requires_grad_()
    dynamic_matching_loss(previous, predicted, target, keys, valid).backward()
    assert previous.grad is None
    assert predicted.grad is not None
    assert (predicted.grad[valid].abs().sum((-2, -1)) > 0).all()


def all_losses(batch: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], **options: Tensor) -> Tensor:
    previous, predicted, target, keys, valid = batch
    return torch.stack(
        [
            contour_smooth_l1(predicted, target, valid, **options),
            chamfer_loss(predicted, target, valid, **options),
            dynamic_matching_loss(previous, predicted, target, keys, valid, **options),
        ]
    )


def test_padding_counts_for_nothing_even_if_it_is_nan() -> None:
    previous, predicted, target, keys, valid = random_batch()
    flat = tuple(t[valid] for t in (previous, predicted, target, keys, valid))
    padding = ~valid[..., None, None]
    broken = [t.masked_fill(padding, float("nan")) for t in (previous, predicted, target)]
    broken[1].requires_grad_()
    padded = all_losses((*broken, keys | ~valid[..., None], valid))  # type: ignore[arg-type]
    torch.testing.assert_close(padded, all_losses(flat))  # type: ignore[arg-type]
    padded.sum().backward()
    gradient = broken[1].grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert (gradient[~valid] == 0).all()


def test_no_instance_at_all_gives_zero() -> None:
    previous, predicted, target, keys, valid = random_batch()
    predicted.requires_grad_()
    losses = all_losses((previous, predicted, target, keys, torch.zeros_like(valid)))
    losses.sum().backward()
    assert losses.tolist() == [0, 0, 0]
    assert predicted.grad is not None
    assert (predicted.grad == 0).all()
    none = tuple(t[:, :0] for t in (previous, predicted, target, keys, valid))
    assert all_losses(none).tolist() == [0, 0, 0]  # type: ignore[arg-type]


@pytest.mark.parametrize("sides", [1, 2])
def test_scale_is_a_change_of_units(sides: int) -> None:
    previous, predicted, target, keys, valid = random_batch()
    scale = torch.rand(2, 3, sides, dtype=torch.float64) * 5 + 1
    divided = [t / scale[..., None, :] for t in (previous, predicted, target)]
    by_option = all_losses(
        (previous, predicted, target, keys, valid), scale=scale if sides == 2 else scale[..., 0]
    )
    by_hand = all_losses((*divided, keys, valid))  # type: ignore[arg-type]
    torch.testing.assert_close(by_option, by_hand)


def test_half_precision_is_lifted() -> None:
    previous, predicted, target, keys, valid = random_batch()
    far = [(t * 20).bfloat16() for t in (previous, predicted, target)]
    assert all_losses((*far, keys, valid)).dtype == torch.float32  # type: ignore[arg-type]
    assert heatmap_focal_loss(far[0], (far[0] > 5).bfloat16()).dtype == torch.float32


def test_nothing_waits_for_the_device() -> None:
    """Tensors without data: any look at a value, or a shape that depends on one, would raise."""
    shape = (2, 3, 16, 2)
    previous, predicted, target = (torch.rand(shape, device="meta") for _ in range(3))
    predicted.requires_grad_()
    keys = torch.ones(shape[:3], dtype=torch.bool, device="meta")
    valid = torch.ones(shape[:2], dtype=torch.bool, device="meta")
    scale = torch.ones(shape[:2], device="meta")
    losses = all_losses((previous, predicted, target, keys, valid), scale=scale)
    (losses.sum() + heatmap_focal_loss(predicted, target)).backward()
    assert predicted.grad is not None
    assert predicted.grad.shape == shape


def test_gradients_are_those_of_the_formula() -> None:
    previous, predicted, target, keys, valid = random_batch()
    predicted.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: all_losses((previous, p, target, keys, valid)), (predicted,)
    )


def test_focal_loss_without_its_exponents_is_cross_entropy() -> None:
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    target = torch.zeros_like(logits)
    target[0, 1, 2, 3] = target[1, 2, 7, 0] = 1
    loss = heatmap_focal_loss(logits, target, alpha=0, beta=0)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / 2
    assert loss.item() == pytest.approx(entropy.item(), rel=1e-9)


def test_focal_loss_at_one_centre_by_hand() -> None:
    logits = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    target = torch.tensor([[[[1.0, 0.5]]]], dtype=torch.float64)
    # Score 0.5: centre 0.5^2 ln 2, neighbour 0.5^4 0.5^2 ln 2, one centre.
    assert heatmap_focal_loss(logits, target).item() == pytest.approx(
        (0.25 + 0.25 * 0.0625) * np.log(2)
    )


def test_focal_loss_without_centres_is_the_plain_sum() -> None:
    logits = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    loss = heatmap_focal_loss(logits, torch.zeros_like(logits))
    assert loss.item() == pytest.approx(32 * 0.25 * np.log(2))


def test_focal_loss_stays_finite_at_extreme_logits() -> None:
    logits = torch.tensor([[[[200.0, -200.0]]]], requires_grad=True)
    loss = heatmap_focal_loss(logits, torch.tensor([[[[0.0, 1.0]]]]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_focal_weight_ignores_cells() -> None:
    logits = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    target = torch.zeros_like(logits)
    target[0, 0, 0, 0] = target[0, 1, 3, 3] = 1
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 2:, :] = 0
    ignored = heatmap_focal_loss(logits, target, weight=weight)
    cut = heatmap_focal_loss(logits[..., :2, :], target[..., :2, :])
    torch.testing.assert_close(ignored, cut)


def test_total_is_the_weighted_sum_of_terms() -> None:
    previous, predicted, target, keys, valid = random_batch()
    weights = LossWeights(initial=2, coarse=3, evolutions=5)
    stages = [previous, predicted, previous + 1, predicted + 1]
    losses = contour_losses(
        stages, target, keys, valid, last_stage="dynamic_matching", weights=weights
    )
    evolved = sum(losses.evolutions) / 2
    total = 2 * losses.initial + 3 * losses.coarse + 5 * evolved
    torch.testing.assert_close(losses.total, total)


def test_the_last_stage_waits_for_matching_unless_told_otherwise() -> None:
    previous, predicted, target, keys, valid = random_batch()
    predicted.requires_grad_()
    stages = [previous, previous, previous, predicted]
    waiting = contour_losses(stages, target, keys, valid, last_stage="none")
    waiting.total.backward()
    assert predicted.grad is not None  # data-parallel training wants every parameter used
    assert (predicted.grad == 0).all()
    trained = contour_losses(stages, target, keys, valid, last_stage="smooth_l1")
    assert trained.evolutions[-1] > 0


def test_without_evolutions_the_coarse_contour_is_trained() -> None:
    previous, predicted, target, keys, valid = random_batch()
    losses = contour_losses(
        [previous, predicted], target, keys, valid, last_stage="dynamic_matching"
    )
    assert losses.evolutions == ()
    torch.testing.assert_close(losses.coarse, contour_smooth_l1(predicted, target, valid))
    with pytest.raises(ValueError, match="received 1"):
        contour_losses([previous], target, keys, valid, last_stage="dynamic_matching")


@pytest.mark.parametrize("epoch", [0, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_terms_are_those_of_the_published_model(
    epoch: int, dtype: torch.dtype, expected: dict[str, np.ndarray]
) -> None:
    valid = torch.from_numpy(expected["train/batch.ct_01"])
    keys = torch.from_numpy(expected["train/batch.keypoints_mask"]).bool()
    target = torch.from_numpy(expected["train/batch.img_gt_polys"]).to(dtype) * 4
    stages = []
    for name in STAGES:
        padded = torch.zeros_like(target)
        padded[valid] = torch.from_numpy(expected[f"train/epoch{epoch}.{name}"]).to(dtype)
        stages.append(padded)
    losses = contour_losses(
        stages, target, keys, valid, last_stage="dynamic_matching" if epoch >= 10 else "none"
    )
    found = [losses.initial, losses.coarse, *losses.evolutions]
    names = ("init_py_loss", "coarse_py_loss", "py_loss_0", "py_loss_1", "end_set_loss")
    wanted = [float(expected[f"train/epoch{epoch}.{name}"]) for name in names]
    np.testing.assert_allclose([float(term) for term in found], wanted, rtol=1e-5)
    heatmap = float(expected[f"train/epoch{epoch}.ct_loss"])
    total = float(expected[f"train/epoch{epoch}.loss"])
    assert float(losses.total) + heatmap == pytest.approx(total, rel=1e-5)
