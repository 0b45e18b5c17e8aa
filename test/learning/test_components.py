"""Targets and losses of the component head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from e2ec_core.config import ModelConfig
from e2ec_core.data.coco import read_coco
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.geometry import contour_to_mask
from e2ec_core.learning.augment import AugmentConfig
from e2ec_core.learning.component_losses import component_losses
from e2ec_core.learning.config import DataConfig, LossConfig, TrainConfig
from e2ec_core.learning.samples import MASK_CELLS, Samples, stack_samples
from e2ec_core.learning.targets import TargetSettings, make_targets
from e2ec_core.learning.total_loss import batch_counts, batch_losses
from e2ec_core.learning.training_views import TrainingViews, ViewKey
from e2ec_core.model.build import build_model
from e2ec_core.model.component_detection import (
    GRID,
    ComponentHead,
    ComponentMaps,
    decode_components,
)
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.sampling import MapLayout
from e2ec_core.model.structures import Features

SETTINGS = TargetSettings(num_classes=2, vertices=32, max_instances=4, components=True)
MODEL = ModelConfig(class_names=("car", "person"), vertices=32, evolutions=1, components=True)
LOSS = LossConfig(box_units=True, dynamic_matching_from=0)


def _rectangle(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


SPLIT = [_rectangle(20, 40, 24, 28), _rectangle(76, 40, 56, 28)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, split_bars: Callable[..., Path]) -> CocoDataset:
    labels = split_bars(tmp_path_factory.mktemp("bars"), 3, seed=3)
    return read_coco(labels, labels.parent / "images")


def _batch(data: CocoDataset, settings: ModelConfig = MODEL) -> Samples:
    still = AugmentConfig(
        size=(128, 192), base_side=192, scale=(1.0, 1.0), rotation=0.0, flip=0.0, paste=0
    )
    unread = (DataConfig(annotations="", images=""),)
    config = TrainConfig(model=settings, train=unread, augment=still, max_instances=4)
    views = TrainingViews([data], config)
    batch = stack_samples([views[ViewKey(1)], views[ViewKey(2)]])
    return batch.to(torch.device("cpu"))


def test_the_heatmap_has_the_whole_and_the_slots_have_the_parts() -> None:
    targets = make_targets([SPLIT, [_rectangle(30, 90, 40, 30)]], [0, 1], (128, 160), SETTINGS)
    assert torch.nonzero(targets.heatmap == 1).tolist() == [[0, 14, 19], [1, 26, 12]]
    assert targets.instance_ids.tolist() == [0, 0, 1, -1]
    assert targets.boxes[0].tolist() == [20, 40, 44, 68]
    assert targets.cells[:2].tolist() == [[8, 14], [26, 14]]
    assert targets.object_valid.tolist() == [True, True, False, False]
    assert targets.object_boxes[0].tolist() == [20, 40, 132, 68]
    assert targets.object_cells[0].tolist() == [19, 14]


def test_component_maps_hold_floored_centres_and_sizes_in_grid_cells() -> None:
    components = make_targets([SPLIT], [0], (128, 160), SETTINGS)
    assert torch.nonzero(components.object_heat[0] == 1).tolist() == [[7, 6], [7, 42]]
    assert components.object_sizes[0, :, 7, 6].tolist() == [12, 14]  # cells of 2 x 2 px
    assert components.object_sizes[0, :, 7, 42].tolist() == [28, 14]
    assert not components.object_heat[1:].any()


def test_a_whole_object_is_its_only_component() -> None:
    components = make_targets([[SPLIT[0]]], [0], (128, 160), SETTINGS)
    assert torch.nonzero(components.object_heat[0] == 1).tolist() == [[7, 28]]
    assert components.object_sizes[0, :, 7, 28].tolist() == [56, 14]


def test_the_centre_of_a_whole_object_does_not_depend_on_rounding_errors() -> None:
    cells = set()
    for shift in np.random.default_rng(0).uniform(0, 30, 40):
        part = _rectangle(20 + shift, 40 + shift / 3, 60 + shift, 40)
        components = make_targets([[part]], [0], (128, 160), SETTINGS)
        cells |= {tuple(cell) for cell in torch.nonzero(components.object_heat[0] == 1).tolist()}
    assert cells == {(7, 28)}


def test_decoding_the_targets_gives_back_the_parts() -> None:
    batch = stack_samples([make_targets([SPLIT], [0], (128, 160), SETTINGS)])
    logits = torch.logit(batch.object_heat.clamp(1e-4, 1 - 1e-4))
    found = decode_components(
        ComponentMaps(logits, batch.object_sizes), batch.object_boxes, 2, 0.25
    )
    expected = torch.tensor([[20.0, 40, 44, 68], [76, 40, 132, 68]])
    order = found.boxes[0, 0, :, 0].argsort()
    torch.testing.assert_close(found.boxes[0, 0][order], expected, atol=1.01, rtol=0)


def test_more_instances_than_slots_keep_the_largest() -> None:
    many = [[_rectangle(10 + 30 * i, 10, 12 + i, 20)] for i in range(6)]
    components = make_targets(many, [0] * 6, (64, 256), SETTINGS)
    assert components.object_boxes[:, 0].tolist() == [70, 100, 130, 160]


def test_an_unsplit_object_is_one_ring_over_both_parts(data: CocoDataset) -> None:
    targets = _batch(data)
    for row in range(2):
        valid = targets.valid[row]
        assert sorted(targets.class_ids[row][valid].tolist()) == [0, 0, 1]
        person = int((targets.class_ids[row] + ~valid * -5).argmax())
        whole = targets.object_boxes[row][1]
        torch.testing.assert_close(targets.boxes[row, person], whole, atol=1e-3, rtol=0)


def test_classes_stay_whole_only_where_others_are_split() -> None:
    assert MODEL.unsplit_ids == (1,)
    assert replace(MODEL, components=False).unsplit_ids == ()
    assert replace(MODEL, unsplit_classes=("rider",)).unsplit_ids == ()


def test_a_components_mask_is_its_own_part_alone(data: CocoDataset) -> None:
    batch = _batch(data)
    targets = batch
    for slot in torch.nonzero(targets.valid[0]).flatten():
        box, contour = targets.boxes[0, slot].numpy(), targets.contours[0, slot].numpy()
        cells = (contour - box[:2]) * MASK_CELLS / (box[2:] - box[:2]) - 0.5
        expected = contour_to_mask(cells, MASK_CELLS, MASK_CELLS)
        assert (batch.masks[0, slot].numpy() != expected).mean() < 0.05


def test_perfect_maps_cost_next_to_nothing_and_padding_nothing() -> None:
    targets = stack_samples([make_targets([SPLIT], [0], (128, 160), SETTINGS)])

    class Perfect(ComponentHead):
        def forward(self, features: Features, boxes: torch.Tensor) -> ComponentMaps:
            heat = torch.where(targets.object_heat == 1, 9.0, -9.0)
            heat[~targets.object_valid] = 5.0  # wrong, but nobody asks
            return ComponentMaps(heat, targets.object_sizes)

    nothing = torch.zeros(1, 4, 8, 8)
    terms = component_losses(
        Perfect(MapLayout(4, 4, 0.5), [False], hidden=4), Features(nothing), targets
    )
    assert float(terms["component_heat"]) < 1e-3
    assert float(terms["component_size"]) == 0


@pytest.fixture
def model() -> E2EC:
    torch.manual_seed(0)
    return build_model(MODEL).train()


def test_every_parameter_gets_a_finite_gradient(data: CocoDataset, model: E2EC) -> None:
    config = replace(LOSS, component_heat=0.7, component_size=0.3)
    terms = batch_losses(model, _batch(data), config, epoch=0, train_detector=True)
    assert all(float(term.detach()) > 0 for term in terms.values())
    without = replace(config, component_heat=0.0, component_size=0.0)
    model.eval()
    terms, rest = (
        batch_losses(model, _batch(data), c, epoch=0, train_detector=True)
        for c in (config, without)
    )
    added = 0.7 * terms["component_heat"] + 0.3 * terms["component_size"]
    torch.testing.assert_close(terms["total"] - rest["total"], added, rtol=1e-3, atol=1e-4)
    terms["total"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_the_head_learns_beside_a_frozen_detector(data: CocoDataset, model: E2EC) -> None:
    terms = batch_losses(model, _batch(data), LOSS, epoch=0, train_detector=False)
    assert "box" not in terms
    terms["total"].backward()
    assert all(p.grad is None for p in model.detector.parameters())
    assert model.component_head is not None
    assert all(p.grad is not None for p in model.component_head.parameters())


def test_the_boxes_of_whole_objects_train_the_box_head(data: CocoDataset) -> None:
    """A detector that gives the whole objects' boxes has no box loss."""
    settings = replace(MODEL, preset="e2ec_dla34")
    model, batch = build_model(settings), _batch(data, settings)
    features = model.detect(batch.image)
    assert features.box_sides is not None
    sides = torch.zeros_like(features.box_sides)
    for row, slot in torch.nonzero(batch.object_valid).tolist():
        x, y = batch.object_cells[row, slot].long().tolist()
        low, high = batch.object_boxes[row, slot].chunk(2)
        sides[row, :, y, x] = torch.cat(
            [4 * batch.object_cells[row, slot] - low, high - 4 * batch.object_cells[row, slot]]
        )
    model.detect = lambda images, **_: features._replace(box_sides=sides)  # type: ignore[method-assign]
    terms = batch_losses(model, batch, LOSS, epoch=0, train_detector=True)
    assert float(terms["box"].detach()) == pytest.approx(0, abs=1e-6)


def test_counts_tell_objects_from_components(data: CocoDataset) -> None:
    counts = batch_counts(_batch(data))
    assert int(counts.instances) == 6  # contours: two cars in two parts each, two persons
    assert int(counts.objects) == 4
    assert int(counts.components) == 6


def test_the_losses_of_parts_add_up(data: CocoDataset, model: E2EC) -> None:
    model.eval()
    batch = _batch(data)
    counts = batch_counts(batch)
    whole = batch_losses(model, batch, LOSS, epoch=0, train_detector=True)
    doubled = batch_losses(
        model,
        batch,
        LOSS,
        epoch=0,
        train_detector=True,
        counts=type(counts)(*(2 * n for n in counts)),
    )
    for name in ("component_heat", "component_size", "scores", "boxes", "sides", "initial"):
        torch.testing.assert_close(2 * doubled[name], whole[name])


def test_the_grid_is_deep_snakes() -> None:
    assert GRID == (14, 56)
