"""Losses against masks: known shapes, perfect predictions, gradients, padding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from e2ec_core.learning.region_losses import (
    contour_iou_loss,
    frame_points,
    read_masks,
    region_mask_loss,
    signed_distance,
)
from e2ec_core.model.structures import Region

SQUARE = torch.tensor([[0.0, 0.0], [0.0, 4.0], [4.0, 4.0], [4.0, 0.0]], dtype=torch.float64)
BOXES = torch.tensor([[[10.0, 20.0, 74.0, 84.0], [100.0, 40.0, 132.0, 56.0]]])


def circle(vertices: int, radius: float = 1.0) -> Tensor:
    angle = torch.arange(vertices, dtype=torch.float64) * (2 * math.pi / vertices)
    return radius * torch.stack([angle.sin(), angle.cos()], dim=1)


def disc_masks(slots: int = 2, side: int = 64) -> Tensor:
    """Discs that fill their boxes, [1, K, S, S]."""
    step = (torch.arange(side) + 0.5) / side * 2 - 1
    disc = (step[:, None] ** 2 + step**2 < 1).float()
    return disc.expand(1, slots, side, side).clone()


def discs(boxes: Tensor, vertices: int = 64) -> Tensor:
    """Ellipses inscribed in boxes, [1, K, N, 2]."""
    centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
    return centre[:, :, None] + circle(vertices).float() * half[:, :, None]


def grown(boxes: Tensor, factor: float = 1.25) -> Tensor:
    centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
    return torch.cat([centre - factor * half, centre + factor * half], dim=-1)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((2.0, 2.0), 2.0),
        ((1.0, 2.0), 1.0),
        ((2.0, 3.5), 0.5),
        ((-1.0, 2.0), -1.0),
        ((7.0, 8.0), -5.0),
        ((2.0, -3.0), -3.0),
    ],
)
def test_distances_to_a_square_are_known(point: tuple[float, float], expected: float) -> None:
    for contour in (SQUARE, SQUARE.flip(0), SQUARE.roll(1, 0)):
        distance = signed_distance(torch.tensor([point], dtype=torch.float64), contour)
        assert distance.item() == pytest.approx(expected, abs=1e-6)


def test_distances_to_a_circle_are_those_to_its_centre() -> None:
    points = torch.randn(60, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = 1 - points.norm(dim=1)
    distance = signed_distance(points, circle(720))
    torch.testing.assert_close(distance, expected, rtol=0, atol=2e-5)


def test_distances_agree_with_shapely() -> None:
    shapely = pytest.importorskip("shapely")
    generator = torch.Generator().manual_seed(2)
    radius = 0.4 + torch.rand(24, 1, generator=generator, dtype=torch.float64)
    contour = radius * circle(24)
    polygon = shapely.Polygon(contour.tolist())
    points = 1.5 * torch.randn(100, 2, generator=generator, dtype=torch.float64)
    ours = signed_distance(points, contour)
    for point, distance in zip(points.tolist(), ours.tolist(), strict=True):
        place = shapely.Point(point)
        expected = polygon.exterior.distance(place) * (1 if polygon.contains(place) else -1)
        assert distance == pytest.approx(expected, abs=1e-5)


def test_distances_of_many_contours_are_those_of_each() -> None:
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(2, 3, 7, 2, generator=generator)
    contours = torch.randn(2, 3, 9, 2, generator=generator)
    together = signed_distance(points, contours)
    assert together.shape == (2, 3, 7)
    alone = signed_distance(points[1, 2], contours[1, 2])
    torch.testing.assert_close(together[1, 2], alone)


def test_the_distance_s_gradient_is_that_of_finite_differences() -> None:
    points = torch.tensor([[1.1, 2.3], [5.2, 1.7], [2.2, -0.7], [6.0, 7.0]], dtype=torch.float64)
    contour = (SQUARE + 0.01 * circle(4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: signed_distance(points, c), contour)


def test_a_degenerate_contour_has_finite_distances_and_gradients() -> None:
    contour = torch.zeros(8, 2, requires_grad=True)
    distance = signed_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), contour)
    distance.sum().backward()
    assert distance.detach().tolist() == pytest.approx([0, -5], abs=1e-5)
    assert contour.grad is not None
    assert bool(contour.grad.isfinite().all())


def test_frame_points_are_the_centres_of_equal_cells() -> None:
    points = frame_points(torch.tensor([[[0.0, 0.0, 4.0, 8.0]]]), 2)
    assert points[0, 0].tolist() == [[1, 2], [3, 2], [1, 6], [3, 6]]


def test_jittered_points_stay_in_their_cells() -> None:
    frame = torch.tensor([[[10.0, 20.0, 26.0, 52.0]]])
    plain, moved = (
        frame_points(frame, 8),
        frame_points(frame, 8, jitter=torch.rand(*frame.shape[:2], 64, 2)),
    )
    offset = (moved - plain).abs()
    assert bool((offset <= torch.tensor([1.0, 2.0]) + 1e-4).all())
    assert float(offset.mean()) > 0.2


def test_masks_are_read_over_their_own_boxes_and_empty_outside() -> None:
    masks = torch.zeros(1, 2, 64, 64)
    masks[..., :32] = 1  # the left half
    points = torch.tensor([[[[20.0, 50.0], [60.0, 50.0], [5.0, 50.0], [20.0, 90.0]]] * 2])
    points[0, 1] += torch.tensor([90.0, 0.0])
    points[0, 1, :, 1] = torch.tensor([45.0, 45.0, 45.0, 70.0])
    read = read_masks(masks, BOXES, points)
    assert read[0, 0].tolist() == [1, 0, 0, 0]
    assert read[0, 1].tolist() == [1, 0, 0, 0]


def _region(logits: Tensor, boxes: Tensor) -> Region:
    slots = boxes.shape[1]
    empty = torch.zeros(0)
    assert logits.shape[:2] == (1, slots)
    return Region(feature=empty, code=empty, mask=logits, frame=grown(boxes))


VALID = torch.tensor([[True, True]])


def test_a_perfect_mask_has_almost_no_loss_and_the_opposite_a_large_one() -> None:
    masks = disc_masks()
    cells = 28
    points = frame_points(grown(BOXES), cells)
    target = read_masks(masks, BOXES, points).view(1, 2, cells, cells)
    perfect, opposite = 40 * (target - 0.5), -40 * (target - 0.5)
    low = region_mask_loss(_region(perfect, BOXES), masks, BOXES, VALID)
    high = region_mask_loss(_region(opposite, BOXES), masks, BOXES, VALID)
    assert float(low) < 0.1  # cells on the outline are neither in nor out
    assert float(high) > 5


def test_a_contour_on_its_mask_has_less_loss_than_any_other_size() -> None:
    torch.manual_seed(0)
    masks, frame = disc_masks(), grown(BOXES, 1.6)
    losses = {}
    for factor in (0.6, 0.94, 1.0, 1.06, 1.5):
        contour = discs(grown(BOXES, factor))
        losses[factor] = float(
            torch.stack(
                [contour_iou_loss(contour, masks, BOXES, frame, VALID) for _ in range(8)]
            ).mean()
        )
    assert losses[1.0] == min(losses.values())
    assert losses[1.0] < 0.25  # what the softness costs
    sharp = contour_iou_loss(discs(BOXES), masks, BOXES, frame, VALID, cells=64, softness=1e-3)
    assert float(sharp) < 0.04


def test_iou_of_a_sharp_contour_is_the_iou() -> None:
    """A disc of half the radius holds a quarter of the area."""
    torch.manual_seed(0)
    contour = discs(grown(BOXES, 0.5), vertices=128)
    loss = contour_iou_loss(
        contour, disc_masks(), BOXES, grown(BOXES), VALID, cells=64, softness=1e-3
    )
    assert float(loss) == pytest.approx(0.75, abs=0.02)


def test_a_step_against_the_gradient_improves_the_contour() -> None:
    torch.manual_seed(0)
    masks, frame = disc_masks(), grown(BOXES)
    contour = discs(grown(BOXES, 0.8)).requires_grad_()
    before = contour_iou_loss(contour, masks, BOXES, frame, VALID, cells=48)
    (gradient,) = torch.autograd.grad(before, contour)
    outward = contour.detach() - (BOXES[..., None, :2] + BOXES[..., None, 2:]) / 2
    assert float((gradient * outward).sum()) < 0  # growing is better
    moved = contour.detach() - gradient * (2.0 / gradient.abs().max())
    assert contour_iou_loss(moved, masks, BOXES, frame, VALID, cells=48) < before.detach()


def test_padded_slots_change_neither_losses_nor_gradients() -> None:
    padded_boxes = torch.cat([BOXES, torch.zeros(1, 3, 4)], dim=1)
    frame = grown(padded_boxes)
    frame[:, 2:] = torch.tensor([-4.0, -4.0, 36.0, 36.0])
    masks = torch.cat([disc_masks(), torch.zeros(1, 3, 64, 64)], dim=1)
    valid = torch.tensor([[True, True, False, False, False]])
    contour = discs(padded_boxes).requires_grad_()
    logits = torch.zeros(1, 5, 28, 28, requires_grad=True)
    region = _region(logits, padded_boxes)._replace(frame=frame)
    torch.manual_seed(4)
    iou = contour_iou_loss(contour, masks, padded_boxes, frame, valid)
    mask = region_mask_loss(region, masks, padded_boxes, valid)
    (iou + mask).backward()
    for tensor in (contour, logits):
        assert tensor.grad is not None
        assert bool(tensor.grad.isfinite().all())
        assert float(tensor.grad[:, 2:].abs().max()) == 0
        assert float(tensor.grad[:, :2].abs().max()) > 0
    alone = _region(torch.zeros(1, 2, 28, 28), BOXES)
    expected = region_mask_loss(alone, disc_masks(), BOXES, VALID)
    torch.testing.assert_close(mask, expected)


def test_a_batch_without_objects_has_no_loss() -> None:
    none = torch.zeros(1, 2, dtype=torch.bool)
    contour = discs(BOXES).requires_grad_()
    loss = contour_iou_loss(contour, disc_masks(), BOXES, grown(BOXES), none)
    loss.backward()
    assert loss.item() == 0
    region = _region(torch.zeros(1, 2, 28, 28), BOXES)
    assert region_mask_loss(region, disc_masks(), BOXES, none).item() == 0
