"""The total loss of a batch: what it adds up, what it leaves alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from e2ec_core.config import ModelConfig
from e2ec_core.data.coco import read_coco
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.learning.augment import AugmentConfig
from e2ec_core.learning.config import DataConfig, LossConfig, TrainConfig
from e2ec_core.learning.losses import (
    LossWeights,
    chamfer_loss,
    contour_smooth_l1,
    dynamic_matching_loss,
)
from e2ec_core.learning.samples import Samples, stack_samples
from e2ec_core.learning.total_loss import (
    batch_counts,
    batch_losses,
    box_iou,
    plant_training_seeds,
)
from e2ec_core.learning.training_views import TrainingViews, ViewKey
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.structures import Features

CONFIG = ModelConfig(preset="e2ec_lite", class_names=("disc", "box"), vertices=32, evolutions=2)
LOSS = LossConfig(box_units=True, dynamic_matching_from=0, matched_evolutions=2)


@pytest.fixture(scope="module")
def data(shapes_dir: Path) -> CocoDataset:
    return read_coco(shapes_dir / "instances.json", shapes_dir / "images")


def _batch(data: CocoDataset, *, empty: bool = False, model: ModelConfig = CONFIG) -> Samples:
    """Two views of 64 x 64; the second has fewer objects, or none has any."""
    augment = AugmentConfig(size=(64, 64), base_side=64, scale=(1.0, 1.0), paste=0, min_area=10.0)
    images = [replace(data.images[0]), replace(data.images[1])]
    images[1] = replace(images[1], instances=images[1].instances[:1])
    if empty:
        images = [replace(image, instances=()) for image in images]
    unread = (DataConfig(annotations="", images=""),)
    config = TrainConfig(model=model, train=unread, augment=augment, max_instances=6, seed=1)
    views = TrainingViews([replace(data, images=images)], config)
    batch = stack_samples([views[ViewKey(0)], views[ViewKey(1)]])
    return batch.to(torch.device("cpu"))


@pytest.fixture
def model() -> E2EC:
    torch.manual_seed(0)
    return build_model(CONFIG).train()


def _losses(
    model: E2EC, batch: Samples, config: LossConfig = LOSS, *, detector: bool = True
) -> dict:
    torch.manual_seed(3)
    return batch_losses(model, batch, config, epoch=0, train_detector=detector)


def test_iou_of_known_pairs() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [5, 5, 5, 5]])
    assert box_iou(a, b).tolist() == pytest.approx([1, 1 / 3, 0, 0])


def test_the_total_is_the_weighted_sum_of_the_terms(data: CocoDataset, model: E2EC) -> None:
    weights = LossWeights(initial=0.3, coarse=0.4, evolutions=1.5)
    config = replace(LOSS, weights=weights, detection=0.2, mask=0.7, contour_iou=1.1)
    terms = _losses(model, _batch(data), config)
    expected = (
        0.2 * (terms["scores"] + 2.0 * terms["boxes"] + 0.25 * terms["sides"])
        + 0.3 * terms["initial"]
        + 0.4 * terms["coarse"]
        + 1.5 * (terms["evolution1"] + terms["evolution2"]) / 2
        + 0.7 * terms["mask"]
        + 1.1 * terms["iou"]
    )
    torch.testing.assert_close(terms["total"], expected)
    assert all(float(term.detach()) > 0 for term in terms.values())


def test_every_parameter_that_is_trained_gets_a_finite_gradient(
    data: CocoDataset, model: E2EC
) -> None:
    _losses(model, _batch(data))["total"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_a_frozen_detector_has_neither_losses_nor_gradients(
    data: CocoDataset, model: E2EC
) -> None:
    terms = _losses(model, _batch(data), detector=False)
    assert not {"scores", "boxes", "sides"} & set(terms)
    terms["total"].backward()
    assert all(p.grad is None for p in model.detector.parameters())
    assert all(p.grad is not None for p in model.initial.parameters())


def test_views_without_objects_cost_only_the_scores(data: CocoDataset, model: E2EC) -> None:
    terms = _losses(model, _batch(data, empty=True))
    terms["total"].backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    for name in ("initial", "coarse", "evolution1", "boxes", "sides", "mask", "iou"):
        assert terms[name].item() == 0, name
    torch.testing.assert_close(terms["total"], LOSS.detection * terms["scores"])


def test_what_padding_holds_does_not_matter(data: CocoDataset, model: E2EC) -> None:
    batch = _batch(data)
    padding = ~batch.valid
    assert padding.any()
    model.eval()  # dropout would draw other numbers
    plain = _losses(model, batch)
    targets = batch
    other = targets._replace(
        contours=torch.where(padding[..., None, None], torch.tensor(9e4), targets.contours),
        boxes=torch.where(padding[..., None], torch.tensor([3.0, 4.0, 60.0, 50.0]), targets.boxes),
        cells=torch.where(padding[..., None], torch.tensor(7.0), targets.cells),
    )
    changed = _losses(model, other)
    for name, term in plain.items():
        torch.testing.assert_close(changed[name], term, rtol=1e-4, atol=1e-5)


def _features(batch: Samples, sides: float) -> Features:
    """As of a detector that sees all boxes `sides` px to each side of the centre."""
    size = (len(batch.image), 1, 16, 16)
    boxes = torch.full((len(batch.image), 4, 16, 16), sides)
    return Features(torch.zeros(size), torch.zeros(size), box_sides=boxes)


def _drawn_again(batch: Samples) -> Samples:
    """The batch with other random numbers."""
    noise, choice = torch.randn_like(batch.box_noise), torch.rand_like(batch.box_choice)
    return batch._replace(box_noise=noise, box_choice=choice)


def test_training_seeds_stand_at_the_true_centres_in_boxes_like_the_true_ones(
    data: CocoDataset,
) -> None:
    torch.manual_seed(0)
    batch = _batch(data)
    valid = batch.valid
    ious = []
    for _ in range(50):
        seeds = plant_training_seeds(_features(batch, sides=0.5), _drawn_again(batch))
        assert torch.equal(seeds.cells, batch.cells)
        assert seeds.boxes is not None
        ious.append(box_iou(seeds.boxes, batch.boxes)[valid])
        width = seeds.boxes[..., 2:] - seeds.boxes[..., :2]
        assert bool((width > 0).all())  # in padding too
    iou = torch.cat(ious)
    assert float(iou.min()) > 0.5
    assert 0.75 < float(iou.mean()) < 0.97


def test_half_of_the_boxes_are_the_detector_s_where_they_resemble_the_true_ones(
    data: CocoDataset,
) -> None:
    torch.manual_seed(0)
    batch = _batch(data)
    sizes = batch.boxes[..., 2:] - batch.boxes[..., :2]
    half = sizes[0, 0] / 2
    features = _features(batch, 0.0)
    assert features.box_sides is not None
    features.box_sides[:] = torch.cat([half, half])[None, :, None, None]
    centre = 4 * batch.cells[0, 0]
    predicted = torch.cat([centre - half, centre + half])
    assert float(box_iou(predicted, batch.boxes[0, 0])) > 0.5
    taken = 0
    for _ in range(200):
        boxes = plant_training_seeds(features, _drawn_again(batch)).boxes
        assert boxes is not None
        taken += int(torch.equal(boxes[0, 0], predicted))
    assert 70 < taken < 130


def test_the_loss_of_a_batch_is_the_same_however_often_it_is_computed(
    data: CocoDataset, model: E2EC
) -> None:
    """What is random comes with the batch, so that a resumed run repeats it."""
    model.eval()  # no dropout
    batch = _batch(data)
    first, second = (
        batch_losses(model, batch, LOSS, epoch=0, train_detector=False) for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_detector_without_boxes_needs_none(data: CocoDataset) -> None:
    batch = _batch(data)
    seeds = plant_training_seeds(_features(batch, 1.0)._replace(box_sides=None), batch)
    assert seeds.boxes is None
    assert torch.equal(seeds.cells, batch.cells)


def test_the_losses_of_parts_add_up_to_the_loss_of_the_whole(
    data: CocoDataset, model: E2EC
) -> None:
    batch = _batch(data)
    parts = [_one_view(batch, index) for index in range(2)]
    assert [int(part.valid.sum()) for part in parts] == [2, 1]
    model.eval()  # dropout and batch norms see the whole batch
    counts = batch_counts(batch)
    whole = _losses(model, batch)
    whole["total"].backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    pieces = [
        batch_losses(model, part, LOSS, epoch=0, train_detector=True, counts=counts)
        for part in parts
    ]
    sum(piece["total"] for piece in pieces).backward()
    for name, term in whole.items():
        torch.testing.assert_close(sum(piece[name] for piece in pieces), term)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-4, msg=name)


def _one_view(batch: Samples, index: int) -> Samples:
    return Samples(*(value[index : index + 1] for value in batch))


@pytest.mark.parametrize("last_stage", ["smooth_l1", "chamfer", "dynamic_matching"])
@pytest.mark.parametrize("preset", ["e2ec_lite", "e2ec_dla34"])
def test_the_last_stage_is_trained_by_the_loss_that_is_named(
    data: CocoDataset, preset: str, last_stage: str
) -> None:
    torch.manual_seed(0)
    settings = replace(CONFIG, preset=preset)
    model = build_model(settings).eval()
    batch = _batch(data, model=settings)
    targets = batch
    config = LossConfig(last_stage=last_stage, dynamic_matching_from=3)
    with torch.no_grad():
        early, late = (
            batch_losses(model, batch, config, epoch=epoch, train_detector=True)
            for epoch in (2, 3)
        )
        features = model.detect(batch.image)
        seeds = model.encode_regions(features, plant_training_seeds(features, batch))
        *_, before, last = model.grow(features, seeds, clip=False)
    smooth = contour_smooth_l1(last, targets.contours, targets.valid)
    wanted = {
        "smooth_l1": smooth,
        "chamfer": chamfer_loss(last, targets.contours, targets.valid),
        "dynamic_matching": dynamic_matching_loss(
            before, last, targets.contours, targets.keys, targets.valid
        ),
    }
    torch.testing.assert_close(early["evolution2"], smooth)
    torch.testing.assert_close(late["evolution2"], wanted[last_stage])
    torch.testing.assert_close(late["evolution1"], early["evolution1"])


def test_the_last_stage_may_wait_untrained_as_published() -> None:
    config = LossConfig(before_matching="none")
    assert [config.last_stage_in(epoch) for epoch in (9, 10)] == ["none", "dynamic_matching"]


def test_an_octagon_learns_the_octagon_of_the_outline(data: CocoDataset) -> None:
    torch.manual_seed(0)
    model = build_model(replace(CONFIG, initial="octagon", deformation="none")).train()
    batch = _batch(data)
    terms = _losses(model, batch, replace(LOSS, last_stage="smooth_l1"))
    assert "coarse" not in terms
    target = model.initial_target(batch.contours)
    assert not torch.equal(target, batch.contours)
    terms["initial"].backward()
    assert model.initial.evolution.offsets.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.evolutions.parameters())


def test_the_l1_norm_of_the_paper_is_a_setting(model: E2EC, data: CocoDataset) -> None:
    batch = _batch(data)
    smooth = _losses(model, batch)
    plain = _losses(model, batch, replace(LOSS, matching_beta=0.0))
    # Beyond 1 unit smooth L1 is L1 less a half; within, it is less than half of it.
    gain = plain["evolution2"] - smooth["evolution2"]
    assert 0.0 < gain <= 0.5
    assert plain["initial"] == smooth["initial"]


def test_a_step_equals_the_plain_rendering_of_the_published_one(
    data: CocoDataset, load_benchmark: Callable[[str], ModuleType]
) -> None:
    """Loss and gradients; the plain one is what benchmarks compare with."""
    plain = load_benchmark("plain_training")
    torch.manual_seed(0)
    settings = ModelConfig(preset="e2ec_dla34", class_names=CONFIG.class_names)
    batch = Samples(
        *(t.double() if t.is_floating_point() else t for t in _batch(data, model=settings))
    )
    ours = build_model(settings).double().train()
    theirs = copy.deepcopy(ours)
    config = LossConfig(dynamic_matching_from=0)
    loss = batch_losses(ours, batch, config, epoch=0, train_detector=True)["total"]
    expected = plain.plain_loss(plain.trained_weights(theirs), batch)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    loss.backward()
    expected.backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name].grad, rtol=1e-5, atol=1e-9, msg=name
        )
