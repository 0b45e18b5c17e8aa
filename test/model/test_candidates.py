"""Candidates of the lite detector: boxes of their bins, suppression, and the fixed slots."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from e2ec_core.model.candidates import (
    best_candidates,
    boxes_found,
    cluster_nms,
    decode_boxes,
    pairwise_iou,
)
from e2ec_core.model.structures import Candidates, Features


def _sure_bins(sides: Tensor, bins: int = 8) -> Tensor:
    """Logits [..., 4, bins, P] of sides [..., P, 4] in strides, each sure of two bins."""
    low = sides.floor()
    weight = torch.stack([1 - (sides - low), sides - low], -1).clamp(min=1e-9)
    index = torch.stack([low, low + 1], -1).long().clamp(max=bins - 1)
    shares = torch.full((*sides.shape, bins), 1e-9).scatter(-1, index, weight)
    return shares.log().movedim(-3, -1)


def _features(boxes: Tensor, logits: Tensor, size: int = 128) -> Features:
    """Features whose candidates are given boxes [P, 4] with logits [C, P]."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    points = torch.cat([centre, torch.full((len(boxes), 1), 8.0)], 1)
    sides = torch.cat([centre - boxes[:, :2], boxes[:, 2:] - centre], 1) / 8
    candidates = Candidates(logits[None], _sure_bins(sides)[None], points)
    fine = torch.zeros(1, 24, size // 2, size // 2)
    return Features(
        feature=torch.zeros(1, 96, size // 8, size // 8), candidates=candidates, fine=fine
    )


def test_sides_are_the_expected_distance_in_strides() -> None:
    bins = torch.full((4, 8, 1), -50.0)
    bins[0, 2], bins[1, 0], bins[3, 7] = 50.0, 50.0, 50.0
    bins[2, 3] = bins[2, 4] = 50.0  # half and half
    box = decode_boxes(bins, torch.tensor([[100.0, 60.0, 16.0]]))
    torch.testing.assert_close(box, torch.tensor([[100 - 32.0, 60.0, 100 + 56.0, 60 + 112.0]]))


def test_known_overlaps() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 0, 0]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])
    expected = torch.tensor([[1.0, 1 / 3, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(pairwise_iou(a, b), expected)


def _greedy(suppresses: Tensor) -> Tensor:
    kept: list[int] = []
    for j in range(len(suppresses)):
        if not any(suppresses[i, j] for i in kept):
            kept.append(j)
    return torch.tensor([j in kept for j in range(len(suppresses))])


@pytest.mark.parametrize("seed", range(5))
def test_enough_rounds_equal_greedy_suppression(seed: int) -> None:
    torch.manual_seed(seed)
    suppresses = torch.triu(torch.rand(40, 40) < 0.2, diagonal=1)
    assert torch.equal(cluster_nms(suppresses, 40), _greedy(suppresses))
    fast = ~suppresses.any(0)
    assert torch.equal(cluster_nms(suppresses, 1), fast)


def test_a_suppressed_box_suppresses_nothing() -> None:
    chain = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
    chain[0, 2] = False  # 0 removes 1, which would remove 2
    assert cluster_nms(chain, 1).tolist() == [True, False, False]
    assert cluster_nms(chain, 2).tolist() == [True, False, True]


def test_duplicates_of_a_class_go_and_slots_are_filled_best_first() -> None:
    boxes = torch.tensor(
        [[10.0, 10, 50, 50], [12, 10, 52, 50], [60, 60, 90, 100], [11, 10, 51, 50]]
    )
    logits = torch.full((2, 4), -20.0)
    logits[0, 0], logits[0, 1], logits[1, 2], logits[1, 3] = 1.0, 2.0, 0.0, -1.0
    found = best_candidates(_features(boxes, logits), 12)
    assert found.scores.shape == (1, 12)
    expected = torch.tensor([2.0, 0.0, -1.0]).sigmoid()
    torch.testing.assert_close(found.scores[0, :3], expected)
    assert found.class_ids[0, :3].tolist() == [0, 1, 1]
    assert found.boxes is not None
    torch.testing.assert_close(found.boxes[0, 0], boxes[1], atol=0.05, rtol=0)
    torch.testing.assert_close(found.boxes[0, 1], boxes[2], atol=0.05, rtol=0)
    assert found.seeds.cells[0, 1].tolist() == [19, 20]
    assert bool((found.scores[0, 3:] < 1e-6).all())


def test_boxes_end_at_the_image_and_cells_lie_inside() -> None:
    boxes = torch.tensor([[-20.0, -30, 20, 20], [110, 90, 150, 170]])
    found = best_candidates(_features(boxes, torch.tensor([[1.0, 0.0]])), 2)
    assert found.boxes is not None
    expected = torch.tensor([[0.0, 0, 20, 20], [110, 90, 128, 128]])
    torch.testing.assert_close(found.boxes[0], expected, atol=0.05, rtol=0)
    assert bool((found.seeds.cells >= 0).all())
    assert bool((found.seeds.cells <= 31).all())


def test_the_box_found_for_an_object_is_the_surest_of_its_class() -> None:
    boxes = torch.tensor([[10.0, 10, 50, 50], [14, 10, 54, 50], [60, 60, 90, 100]])
    logits = torch.tensor([[0.0, 1.0, 5.0], [2.0, 0.0, 5.0]])
    features = _features(boxes, logits)
    assert features.candidates is not None
    wanted = boxes[None, [0, 0, 2]]
    found = boxes_found(features.candidates, wanted, torch.tensor([[0, 1, 0]]))
    torch.testing.assert_close(found[0], boxes[[1, 0, 2]], atol=0.05, rtol=0)
