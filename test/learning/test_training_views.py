"""Training samples: the same in any worker, with masks and contours that agree."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from e2ec_core.config import ModelConfig
from e2ec_core.data.coco import read_coco
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.labelled import Instance
from e2ec_core.geometry import contour_to_mask
from e2ec_core.inference import PredictorSettings
from e2ec_core.inference.frames import place, to_image_px
from e2ec_core.inference.preprocess import place_image
from e2ec_core.learning.augment import AugmentConfig, make_view
from e2ec_core.learning.config import DataConfig, LossConfig, TrainConfig
from e2ec_core.learning.image_cache import ImageCache
from e2ec_core.learning.samples import MASK_CELLS, Samples, stack_samples
from e2ec_core.learning.targets import TargetSettings, make_targets
from e2ec_core.learning.training_views import TrainingViews, ViewKey, box_mask, pick_slots

AUGMENT = AugmentConfig(size=(128, 128), base_side=160, scale=(0.8, 1.4), paste=2)
TARGETS = TargetSettings(num_classes=2, vertices=64, max_instances=8, border=0.0)
RUN = TrainConfig(
    model=ModelConfig(class_names=("disc", "box"), vertices=64),
    train=(DataConfig(annotations="", images=""),),
    augment=AUGMENT,
    max_instances=8,
)


@pytest.fixture(scope="module")
def data(shapes_dir: Path) -> CocoDataset:
    return read_coco(shapes_dir / "instances.json", shapes_dir / "images")


def _same(a: Samples, b: Samples) -> bool:
    return all(torch.equal(ours, theirs) for ours, theirs in zip(a, b, strict=True))


def test_datasets_without_an_image_are_refused(data: CocoDataset) -> None:
    with pytest.raises(ValueError, match="no image"):
        TrainingViews([replace(data, images=())], RUN)


def test_the_same_seed_epoch_and_index_give_the_same_sample(data: CocoDataset) -> None:
    first, second = (TrainingViews([data], replace(RUN, seed=3)) for _ in range(2))
    second[ViewKey(0)], second[ViewKey(4)]  # what was drawn before does not matter
    assert all(_same(first[ViewKey(i)], second[ViewKey(i)]) for i in range(3))


def test_another_seed_or_epoch_gives_other_samples(data: CocoDataset) -> None:
    views = TrainingViews([data], RUN)
    first = views[ViewKey(0)]
    assert not torch.equal(views[ViewKey(0, epoch=1)].image, first.image)
    other = TrainingViews([data], replace(RUN, seed=1))
    assert not torch.equal(other[ViewKey(0)].image, first.image)


@pytest.mark.parametrize("context", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_workers_draw_what_the_main_process_draws(data: CocoDataset, context: str) -> None:
    """From Python 3.14 workers no longer fork, and the data set travels to them pickled."""
    views = TrainingViews([data, data], RUN)
    keys = [[ViewKey(i, epoch=2) for i in batch] for batch in (range(6), range(6, 12))]
    plain = DataLoader(views, batch_sampler=keys, collate_fn=list)
    parallel = DataLoader(
        views,
        batch_sampler=keys,
        collate_fn=list,
        num_workers=2,
        multiprocessing_context=context,
    )
    samples = [sample for batch in plain for sample in batch]
    assert len(samples) == 12
    for ours, theirs in zip(samples, (s for batch in parallel for s in batch), strict=True):
        assert _same(ours, theirs)


def test_views_survive_pickling(data: CocoDataset) -> None:
    views = TrainingViews([data], replace(RUN, seed=5))
    bare = len(pickle.dumps(views))
    views[ViewKey(0)]
    assert len(pickle.dumps(views)) == bare  # decoded images stay here
    assert _same(pickle.loads(pickle.dumps(views))[ViewKey(1)], views[ViewKey(1)])


def test_masks_cover_the_same_as_the_contours(data: CocoDataset) -> None:
    views = TrainingViews([data], replace(RUN, augment=replace(AUGMENT, paste=0)))
    compared = 0
    for index in range(6):
        sample = views[ViewKey(index)]
        for slot in np.flatnonzero(sample.valid.numpy()):
            box, contour = sample.boxes[slot].numpy(), sample.contours[slot].numpy()
            cells = (contour - box[:2]) * MASK_CELLS / (box[2:] - box[:2]) - 0.5
            expected = contour_to_mask(cells, MASK_CELLS, MASK_CELLS).astype(bool)
            ours = sample.masks[slot].numpy().astype(bool)
            assert (ours & expected).sum() / (ours | expected).sum() > 0.95
            compared += 1
    assert compared >= 8


def test_contours_enclose_the_coloured_pixels_and_no_grey_ones(data: CocoDataset) -> None:
    plain = replace(AUGMENT, paste=0, color=0.0, blur=0.0, min_visible=0.0)
    views = TrainingViews([data], replace(RUN, augment=plain))
    around = np.ones((5, 5), np.uint8)
    for index in range(6):
        sample = views[ViewKey(index)]
        colored = np.ptp(sample.image.numpy().astype(int), axis=2) > 90  # the ground is grey
        contours = sample.contours[sample.valid].numpy()
        inside = np.bitwise_or.reduce([contour_to_mask(c - 0.5, 128, 128) for c in contours])
        assert colored[cv2.erode(inside, around) == 1].mean() > 0.995
        assert colored[cv2.dilate(inside, around) == 0].mean() < 0.005


def _centre_of(image: np.ndarray) -> np.ndarray:
    """Mean (x, y) of a white shape on black, px with centres at the integers."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weights = image[..., 0].astype(float)
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("rule", ["fit", "sbd", "kins", "cityscapes", "coco"])
@pytest.mark.parametrize("origin", ["corner", "centre"])
@pytest.mark.parametrize("crops", ["anywhere", "published"])
def test_what_views_teach_is_what_the_placement_undoes(rule: Any, origin: Any, crops: Any) -> None:
    """Where the network learns to see an object, it has to find it at test time as well.

    A box is shown to the network by the placement and by a view of the same scale; the contour
    that the view teaches, as far from the box's pixels, must come back to the box. Taking one
    origin for the other would be wrong by 0.25 px with KINS.
    """
    size, box = (375, 1242), np.array([[600, 170], [600, 210], [660, 210], [660, 170.0]])
    picture = np.zeros((*size, 3), np.uint8)
    picture[170:210, 600:660] = 255
    picture = cv2.GaussianBlur(picture, (0, 0), 4)  # so that sampling keeps the centre
    sides = {"short_side": 0, "long_side": 2048} if rule == "fit" else {}
    placement = place(size, rule, PredictorSettings(**sides))
    scale = placement.to_input[0, 0]
    augment = AugmentConfig(
        size=(384, 896),
        base_side=None,
        scale=(scale, scale),
        rotation=0.0,
        flip=0.0,
        crops=crops,
    )
    instance = Instance(class_id=0, parts=(box,))
    view = make_view(np.random.default_rng(0), picture, [instance], augment, origin)
    taught = view.instances[0].parts[0].mean(axis=0) - _centre_of(view.image)
    seen = _centre_of(place_image(picture, placement))
    found = to_image_px((seen + taught).astype(np.float32), placement, origin)
    np.testing.assert_allclose(found, box.mean(axis=0) - 0.5, atol=0.015)
    other: Any = "centre" if origin == "corner" else "corner"
    wrong = to_image_px((seen + taught).astype(np.float32), placement, other) - found
    np.testing.assert_allclose(np.abs(wrong), abs(1 / scale - 1) / 2, atol=0.01)


def test_pasting_adds_objects(data: CocoDataset) -> None:
    plain = TrainingViews([data], replace(RUN, augment=replace(AUGMENT, paste=0)))
    pasted = TrainingViews([data], replace(RUN, augment=replace(AUGMENT, paste=4)))
    counts = [sum(int(v[ViewKey(i)].valid.sum()) for i in range(6)) for v in (plain, pasted)]
    assert counts[1] > counts[0]


def test_the_mask_of_a_disc_has_the_disc_s_area() -> None:
    """`cv2.fillPoly` would set the outline's cells too, 2.4 % more than the disc holds."""
    angle = np.arange(200) * (2 * np.pi / 200)
    disc = 50 + 40 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    mask = box_mask([disc], np.array([10, 10, 90, 90], np.float32))
    assert mask.sum() / MASK_CELLS**2 == pytest.approx(np.pi / 4, rel=0.006)


def test_the_mask_of_a_box_is_full_and_that_of_half_is_half() -> None:
    box = np.array([10, 20, 42, 84], np.float32)
    full = np.array([[10, 20], [10, 84], [42, 84], [42, 20]], np.float64)
    assert box_mask([full], box).all()
    left = np.array([[10, 20], [10, 84], [26, 84], [26, 20]], np.float64)
    mask = box_mask([left], box)
    assert mask[:, :32].all()
    assert not mask[:, 32:].any()
    upper = np.array([[10, 20], [10, 52], [42, 52], [42, 20]], np.float64)
    lower = upper + (0, 32)
    assert box_mask([upper, lower], box).all()


def test_an_object_in_parts_is_one_target_when_joined(tmp_path: Path, data: CocoDataset) -> None:
    parts = tuple(
        np.array([[x, 20], [x, 100], [x + 30, 100], [x + 30, 20]], np.float64) for x in (20, 90)
    )
    image = replace(data.images[0], instances=(Instance(class_id=0, parts=parts),))
    one = replace(data, images=(image,))
    plain = AugmentConfig(
        size=(128, 160), base_side=None, scale=(1.0, 1.0), rotation=0.0, flip=0.0, paste=0
    )
    run = replace(RUN, augment=plain)
    joined = TrainingViews([one], run)[ViewKey(0)]
    assert joined.valid.sum() == 1
    np.testing.assert_allclose(joined.boxes[0], [20, 20, 120, 100])
    apart = TrainingViews([one], replace(run, loss=LossConfig(parts="each")))[ViewKey(0)]
    assert apart.valid.sum() == 2
    assert apart.masks[:2].float().mean() > 0.95  # each its own part only


def test_crowds_are_no_targets(data: CocoDataset) -> None:
    crowds = [
        replace(image, instances=tuple(replace(i, crowd=True) for i in image.instances))
        for image in data.images
    ]
    views = TrainingViews(
        [replace(data, images=crowds)], replace(RUN, augment=replace(AUGMENT, paste=4))
    )
    for index in range(3):
        sample = views[ViewKey(index)]
        assert not sample.valid.any()
        assert not sample.object_valid.any()


def test_slots_can_be_drawn_while_the_heatmap_keeps_all() -> None:
    outlines = [
        [np.array([[x, 10], [x, 40], [x + 20, 40], [x + 20, 10]], np.float64)] for x in (5, 40, 75)
    ]
    targets = make_targets(outlines, [0, 1, 0], (128, 128), TARGETS)
    chosen = [
        tuple(pick_slots(np.random.default_rng(seed), targets, 2).instance_ids.tolist())
        for seed in range(40)
    ]
    assert {i for ids in chosen for i in ids} == {0, 1, 2}
    picked = pick_slots(np.random.default_rng(0), targets, 2)
    assert picked.valid.tolist() == [True, True]
    np.testing.assert_array_equal(picked.heatmap, targets.heatmap)
    slot = picked.instance_ids[0]
    np.testing.assert_array_equal(picked.contours[0], targets.contours[slot])
    np.testing.assert_array_equal(picked.boxes[0], targets.boxes[slot])
    assert pick_slots(np.random.default_rng(0), targets, 5).valid.sum() == 3


def test_batches_travel_as_bytes_and_become_float_channels_first(data: CocoDataset) -> None:
    views = TrainingViews([data], RUN)
    samples = [views[ViewKey(0)], views[ViewKey(1)]]
    batch = stack_samples(samples)
    assert batch.image.shape == (2, 128, 128, 3)
    assert batch.image.dtype == batch.masks.dtype == torch.uint8
    slots = batch.valid.shape[1]
    assert slots == max(1, *(int(s.valid.sum()) for s in samples))
    assert batch.masks.shape == (2, slots, MASK_CELLS, MASK_CELLS)
    assert batch.image_id.tolist() == [0, 1]
    moved = batch.to(torch.device("cpu"))
    assert moved.image.shape == (2, 3, 128, 128)
    assert moved.image.dtype == moved.masks.dtype == torch.float32
    assert torch.equal(moved.image[1, 2], samples[1].image[..., 2].float())


@pytest.mark.parametrize(
    ("changes", "masks", "boxes"),
    [
        ({}, True, True),
        ({"initial": "octagon", "components": True}, True, True),
        ({"preset": "e2ec_dla34"}, False, False),
        ({"preset": "e2ec_dla34", "initial": "octagon"}, False, True),
    ],
)
def test_only_what_the_model_reads_travels(
    data: CocoDataset, changes: dict[str, Any], masks: bool, boxes: bool
) -> None:
    run = replace(RUN, model=replace(RUN.model, **changes))
    batch = stack_samples([TrainingViews([data], run)[ViewKey(0)]])
    assert (batch.masks.numel() > 0) == (batch.point_noise.numel() > 0) == masks
    assert (batch.box_noise.numel() > 0) == (batch.box_choice.numel() > 0) == boxes
    assert (batch.object_heat.numel() > 0) == ("components" in changes)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinning needs a CUDA device")
def test_the_loader_pins_every_tensor(data: CocoDataset) -> None:
    keys = [[ViewKey(0), ViewKey(1)]]
    views = TrainingViews([data], RUN)
    loader = DataLoader(
        views, batch_sampler=keys, num_workers=1, collate_fn=stack_samples, pin_memory=True
    )
    (batch,) = loader
    assert isinstance(batch, Samples)
    assert all(value.is_pinned() for value in batch if value.numel())


def test_an_unreadable_image_costs_one_image_and_is_named_once(
    data: CocoDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = replace(data.images[0], path=tmp_path / "gone.png")
    views = TrainingViews([replace(data, images=(gone, *data.images[1:]))], RUN)
    samples = [views[ViewKey(0, epoch=e)] for e in range(2)]
    assert [int(s.image_id) for s in samples] == [1, 1]
    assert _same(samples[0], TrainingViews([data], RUN)[ViewKey(1)])
    assert len(caplog.records) == 1
    assert "gone.png' does not exist" in caplog.text


def test_only_unreadable_images_are_an_error(data: CocoDataset, tmp_path: Path) -> None:
    image = replace(data.images[0], path=tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"1 images in a row .*gone\.png' does not exist"):
        TrainingViews([replace(data, images=(image,))], RUN)[ViewKey(0)]


def test_the_cache_is_bounded_by_bytes(data: CocoDataset, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((500, 400, 3), number, np.uint8))
    images = [replace(data.images[0], path=path) for path in paths]
    cache = ImageCache(2)  # three images of 0.6 MB
    for image in [*images, images[2]]:
        assert cache.read(image).shape == (500, 400, 3)
        assert cache.size <= 2_000_000
    assert cache.size == 1_800_000
    paths[2].unlink(), paths[0].unlink()
    assert int(cache.read(images[2])[0, 0, 0]) == 2  # kept
    with pytest.raises(ValueError, match="does not exist"):
        cache.read(images[0])  # dropped


def test_a_cache_of_nothing_still_reads(data: CocoDataset) -> None:
    cache = ImageCache(0)
    assert cache.read(data.images[0]).shape == (128, 160, 3)
    assert cache.size == 0
