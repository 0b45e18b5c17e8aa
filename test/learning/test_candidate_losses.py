"""The losses of a detector of candidates: which candidate learns what, and how much it costs."""

from __future__ import annotations

import torch
from torch import Tensor

from e2ec_core.learning.candidate_losses import (
    assign,
    candidate_losses,
    generalized_iou,
    quality_focal_loss,
)
from e2ec_core.learning.samples import Samples
from e2ec_core.learning.targets import TargetSettings, make_targets
from e2ec_core.model.candidates import decode_boxes
from e2ec_core.model.structures import Candidates

SIZE = 128
STRIDE = 16
BOXES = torch.tensor([[16.0, 16, 80, 64], [70, 60, 120, 120]])
CLASS_IDS = [1, 0]


def _batch() -> Samples:
    settings = TargetSettings(num_classes=2, vertices=8, max_instances=4, heatmap=False)
    outlines = [
        [torch.tensor([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]).numpy()]
        for x1, y1, x2, y2 in BOXES.tolist()
    ]
    targets = make_targets(outlines, CLASS_IDS, (SIZE, SIZE), settings)
    return Samples(*(value[None] for value in targets))


def _points() -> Tensor:
    y, x = torch.meshgrid(*[torch.arange(0.0, SIZE, STRIDE)] * 2, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, STRIDE)], -1).flatten(0, 1)


def _candidates(classes: int = 2) -> Candidates:
    torch.manual_seed(0)
    points = _points()
    bins = torch.randn(1, 4, 8, len(points))
    return Candidates(torch.randn(1, classes, len(points)) - 2, bins, points)


def _perfect() -> Candidates:
    """Every point in an object's box is sure of its sides and of its class."""
    points = _points()
    logits, bins = torch.full((1, 2, len(points)), -20.0), torch.zeros(1, 4, 8, len(points))
    for (x1, y1, x2, y2), class_id in zip(BOXES.tolist(), CLASS_IDS, strict=True):
        for place, (x, y, _) in enumerate(points.tolist()):
            if x1 < x < x2 and y1 < y < y2:
                logits[0, :, place] = -20.0
                logits[0, class_id, place] = 20.0
                for side, distance in enumerate((x - x1, y - y1, x2 - x, y2 - y)):
                    low = int(distance // STRIDE)
                    part = distance / STRIDE - low
                    bins[0, side, :, place] = -40.0
                    for index, share in ((low, 1 - part), (low + 1, part)):
                        bins[0, side, index, place] = torch.tensor(share).clamp(min=1e-9).log()
    return Candidates(logits, bins, points)


def test_known_generalized_overlaps() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    expected = torch.tensor([1.0, 1 / 3, -1 / 3])  # the last: a gap of a third of what encloses
    torch.testing.assert_close(generalized_iou(a, b), expected)


def test_a_score_that_equals_the_overlap_costs_nothing() -> None:
    quality = torch.tensor([0.0, 0.3, 0.9])
    assert float(quality_focal_loss(torch.logit(quality, 1e-6), quality).max()) < 1e-6
    assert float(quality_focal_loss(torch.tensor(3.0), torch.tensor(0.1))) > 0.5


def test_points_learn_the_object_whose_box_they_lie_in() -> None:
    batch, candidates = _batch(), _perfect()
    decoded = decode_boxes(candidates.bins, candidates.points)
    found = assign(
        candidates, decoded, batch.object_boxes, batch.object_class_ids, batch.object_valid
    )
    assert 4 <= int(found.positive.sum()) <= 26
    places = torch.nonzero(found.positive[0])[:, 0]
    for place in places.tolist():
        x, y, _ = candidates.points[place].tolist()
        x1, y1, x2, y2 = batch.object_boxes[0, found.target[0, place]].tolist()
        assert x1 < x < x2
        assert y1 < y < y2
    assert {0, 1} == set(found.target[0, places].tolist())
    assert bool((found.iou[found.positive] > 0.99).all())
    assert bool((found.iou[~found.positive] == 0).all())


def test_every_object_is_learnt_by_somebody_however_bad_the_boxes() -> None:
    batch, candidates = _batch(), _candidates()
    tiny = candidates._replace(
        bins=torch.zeros_like(candidates.bins).index_fill(2, torch.tensor(0), 50.0)
    )
    for changed in (candidates, tiny):
        decoded = decode_boxes(changed.bins, changed.points)
        found = assign(
            changed, decoded, batch.object_boxes, batch.object_class_ids, batch.object_valid
        )
        assert {0, 1} <= set(found.target[found.positive].tolist())


def test_perfect_candidates_cost_next_to_nothing() -> None:
    terms = candidate_losses(_perfect(), _batch())
    assert float(terms["boxes"]) < 1e-3
    worse = candidate_losses(_candidates(), _batch())
    assert float(worse["boxes"]) > 0.1


def test_gradient_steps_lead_to_the_true_boxes_and_classes() -> None:
    batch, start = _batch(), _candidates()
    logits, bins = (value.clone().requires_grad_() for value in start[:2])
    optimizer = torch.optim.Adam([logits, bins], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        sum(candidate_losses(Candidates(logits, bins, start.points), batch).values()).backward()
        optimizer.step()
    best = logits.detach()[0].sigmoid().max(dim=0)
    for index, class_id in enumerate(CLASS_IDS):
        place = int(torch.where(best.indices == class_id, best.values, 0.0).argmax())
        box = decode_boxes(bins.detach(), start.points)[0, place]
        torch.testing.assert_close(box, BOXES[index], atol=2.0, rtol=0)
        assert float(best.values[place]) > 0.7


def test_padding_and_images_without_objects_have_finite_losses() -> None:
    batch, candidates = _batch(), _candidates()
    moved = batch.object_boxes.clone()
    moved[0, 2:] = 500.0  # slots that are not used
    changed = candidate_losses(candidates, batch._replace(object_boxes=moved))
    for name, term in candidate_losses(candidates, batch).items():
        torch.testing.assert_close(changed[name], term)
    empty = batch._replace(object_valid=torch.zeros_like(batch.object_valid))
    terms = candidate_losses(candidates, empty)
    assert float(terms["boxes"]) == float(terms["sides"]) == 0
    assert float(terms["scores"]) > 0
