"""Amodal outlines: which are known, how they reach the targets, and what learns from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from e2ec_core.config import ModelConfig
from e2ec_core.data.coco import read_coco
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.labelled import Instance
from e2ec_core.geometry import Polygon
from e2ec_core.learning.augment import AugmentConfig, View, paste
from e2ec_core.learning.config import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    PartRates,
    TrainConfig,
)
from e2ec_core.learning.optimizer import freeze_parts
from e2ec_core.learning.samples import Samples, stack_samples
from e2ec_core.learning.total_loss import batch_counts, batch_losses
from e2ec_core.learning.training_views import TrainingViews, ViewKey
from e2ec_core.learning.whole_outlines import with_assumed_whole, worth_learning
from e2ec_core.model.build import build_model
from street_scenes import make_scene
from street_scenes.writers import write_coco_dataset

MODEL = ModelConfig(
    class_names=("person", "car"), vertices=32, evolutions=1, outlines=("visible", "amodal")
)


def _square(x: float, y: float, side: float = 20) -> Polygon:
    return np.array([[x, y], [x, y + side], [x + side, y + side], [x + side, y]], np.float64)


def _object(*parts: Polygon) -> Instance:
    return Instance(class_id=0, parts=parts)


@pytest.mark.parametrize(("gap", "known"), [(30, True), (8, True), (1, False), (-5, False)])
def test_objects_are_whole_where_nothing_touches_them(gap: float, known: bool) -> None:
    pair = with_assumed_whole([_object(_square(0, 0)), _object(_square(20 + gap, 3))])
    assert [instance.whole is not None for instance in pair] == [known, known]


def test_parts_and_crowds_are_not_taken_for_whole_objects() -> None:
    crowd = replace(_object(_square(200, 0)), crowd=True)
    cut, many = with_assumed_whole([_object(_square(0, 0), _square(60, 0)), crowd])
    assert cut.whole is None
    assert many.whole is None


def test_a_labelled_whole_outline_is_kept() -> None:
    labelled = replace(_object(_square(0, 0)), whole=(_square(0, 0, 50),))
    first, _ = with_assumed_whole([labelled, _object(_square(10, 10))])
    assert first.whole is not None
    np.testing.assert_array_equal(first.whole[0], _square(0, 0, 50))


def test_whole_outlines_go_on_behind_what_is_pasted() -> None:
    (below,) = with_assumed_whole([_object(_square(20, 20, 40))])
    view = View(image=np.zeros((100, 100, 3), np.uint8), instances=(below,))
    config = AugmentConfig(size=(128, 128), min_area=10)
    covered, _ = paste(
        view, np.ones_like(view.image), _object(_square(40, 0, 90)), config
    ).instances
    assert covered.box_xyxy[2] == pytest.approx(40, abs=1)
    assert covered.whole is not None
    np.testing.assert_array_equal(covered.whole[0], _square(20, 20, 40))


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    """Six scenes; some of their objects hide others."""
    folder = tmp_path_factory.mktemp("streets")
    scenes = (make_scene(seed, 320, 192) for seed in range(6))
    path = write_coco_dataset(scenes, folder, "train", segmentation="visible")
    return read_coco(path, folder / "train", class_names=MODEL.class_names)


def _views(data: CocoDataset, **changes: object) -> TrainingViews:
    augment = AugmentConfig(
        size=(192, 192), base_side=320, scale=(1.0, 1.0), rotation=0, paste=0, min_area=10
    )
    run = TrainConfig(model=MODEL, train=(DataConfig(annotations="", images=""),), augment=augment)
    return TrainingViews([data], replace(run, **changes))


def _batch(data: CocoDataset) -> Samples:
    views = _views(data)
    return stack_samples([views[ViewKey(i)] for i in range(6)]).to(torch.device("cpu"))


def test_targets_of_hidden_objects_enclose_those_of_their_visible_parts(
    streets: CocoDataset,
) -> None:
    batch = _batch(streets)
    both = batch.valid & batch.whole_valid
    assert both.sum() > 20
    seen, whole = batch.boxes[both], batch.whole_boxes[both]
    assert (whole[:, :2] <= seen[:, :2] + 1.5).all()
    assert (whole[:, 2:] >= seen[:, 2:] - 1.5).all()
    larger = (whole[:, 2:] - whole[:, :2]).prod(1) > 1.2 * (seen[:, 2:] - seen[:, :2]).prod(1)
    assert 3 < larger.sum() < both.sum()
    contours = batch.whole_contours[both]
    torch.testing.assert_close(contours.amin(1), whole[:, :2], atol=3.0, rtol=0)
    masks = batch.whole_masks[both].flatten(1).mean(1)
    assert masks.min() > 0.1


def test_a_model_of_one_outline_gets_no_second_one(streets: CocoDataset) -> None:
    one = _views(streets, model=replace(MODEL, outlines=("visible",)))[ViewKey(0)]
    assert one.whole_contours.numel() == one.whole_masks.numel() == 0
    assert not one.whole_valid.any()


def _losses(batch: Samples, rates: PartRates) -> tuple[dict[str, torch.Tensor], torch.nn.Module]:
    torch.manual_seed(0)
    model = build_model(MODEL).train()
    model.detector.requires_grad_(False)
    freeze_parts(model, OptimizerConfig(rates=rates))
    terms = batch_losses(
        model,
        batch,
        LossConfig(box_units=True, dynamic_matching_from=0),
        epoch=0,
        train_detector=False,
        counts=batch_counts(batch),
    )
    terms["total"].backward()
    return terms, model


AMODAL_TERMS = {"amodal_coarse", "amodal_evolution", "amodal_mask", "amodal_iou"}


def test_both_outlines_learn_together(streets: CocoDataset) -> None:
    terms, model = _losses(_batch(streets), PartRates())
    assert terms.keys() >= AMODAL_TERMS | {"initial", "coarse", "evolution1", "mask", "iou"}
    for name, parameter in model.named_parameters():
        if not name.startswith("detector."):
            assert parameter.grad is not None, name


def test_the_visible_outline_can_stay_as_it_is(streets: CocoDataset) -> None:
    terms, model = _losses(_batch(streets), PartRates(contours=0))
    assert terms.keys() == AMODAL_TERMS | {"total"}
    learning = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learning
    assert all(name.startswith("amodal.") for name in learning)


def test_the_amodal_loss_does_not_move_the_visible_outline(streets: CocoDataset) -> None:
    batch = _batch(streets)
    unknown = batch._replace(whole_valid=torch.zeros_like(batch.whole_valid))
    gradients = []
    for one in (batch, unknown):
        _, model = _losses(one, PartRates())
        gradients.append({n: p.grad for n, p in model.initial.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=0, atol=0)


def test_slots_without_a_whole_outline_count_nothing(streets: CocoDataset) -> None:
    batch = _batch(streets)
    unknown = batch._replace(whole_valid=torch.zeros_like(batch.whole_valid))
    terms, _ = _losses(unknown, PartRates(contours=0))
    assert terms["total"] == 0


def test_scenes_say_both_outlines(streets: CocoDataset) -> None:
    known = [i for image in streets.images for i in image.instances]
    assert all(instance.whole for instance in known)


def test_hidden_objects_are_worth_more_than_whole_ones_and_those_more_than_unknown_ones() -> None:
    plain = _object(_square(0, 0))
    whole = replace(plain, whole=plain.parts)
    hidden = replace(plain, whole=(_square(0, 0, 25),))
    assert [worth_learning(i) for i in (plain, whole, hidden)] == [0, 1, 2]


def test_views_keep_the_slots_that_teach_amodal_outlines(streets: CocoDataset) -> None:
    few = _views(streets, contours_per_view=2)
    picked = [few[ViewKey(i)] for i in range(6)]
    hidden = sum(
        int(
            (p.whole_boxes[:, 2:] - p.whole_boxes[:, :2])
            .prod(1)
            .gt(1.2 * (p.boxes[:, 2:] - p.boxes[:, :2]).prod(1))[p.valid]
            .sum()
        )
        for p in picked
    )
    assert all(bool(p.whole_valid[p.valid].all()) for p in picked)
    assert hidden >= 4
