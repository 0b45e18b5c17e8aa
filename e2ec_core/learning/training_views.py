"""Random views of labelled images, each with all that is learnt from it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from e2ec_core.data.dataset import CocoDataset
from e2ec_core.data.labelled import Instance, LabelledImage
from e2ec_core.geometry import Polygon, contour_to_mask, join_polygons
from e2ec_core.learning.augment import AugmentConfig, Image, View, change_colors, make_view, paste
from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.image_cache import ImageCache
from e2ec_core.learning.region_losses import IOU_CELLS
from e2ec_core.learning.samples import MASK_CELLS, Samples
from e2ec_core.learning.targets import make_targets, target_settings
from e2ec_core.learning.whole_outlines import (
    add_whole_outlines,
    with_assumed_whole,
    worth_learning,
)

_LOG = logging.getLogger(__name__)
_MOST_UNREADABLE = 20


class ViewKey(NamedTuple):
    """Which view of which image; all that is random follows from it and from the run's seed."""

    position: int
    """Of the image."""
    epoch: int = 0
    size: tuple[int, int] | None = None
    """(height, width) of the view, px; None takes the size of the run's `augment`."""


class TrainingViews(Dataset[Samples]):
    """Views of labelled images, one for a `ViewKey`, whichever process draws it.

    An image that cannot be read is left out: the next one that can be takes its place, which is
    logged once.

    Args:
        datasets: labelled images, with the same class names.
        config: the run.
    """

    def __init__(self, datasets: Sequence[CocoDataset], config: TrainConfig) -> None:
        images: list[Any] = [data.images for data in datasets]
        self.images = ConcatDataset[LabelledImage](images)
        if not len(self.images):
            raise ValueError("the datasets hold no image; check annotations and file lists")
        model = config.model
        self.config, self.targets = config, target_settings(config)
        self.has_regions = model.preset == "e2ec_lite"
        self.has_boxes = self.has_regions or model.initial == "octagon" or model.components
        # With components every part is a target of its own, but for classes that stay whole.
        self.joined = config.loss.parts == "joined" and not model.components
        self.both_outlines = model.both_outlines
        self._cache = ImageCache(config.image_cache)
        self._unreadable: set[str] = set()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: ViewKey) -> Samples:
        augment = self.config.augment
        if key.size is not None:
            augment = resized(augment, key.size)
        position, pixels = self._read(key.position)
        seed = (self.config.seed, key.epoch, position)
        rng = np.random.default_rng(seed)
        view = self._view(rng, position, pixels, augment)
        others = int(rng.integers(augment.paste + 1))
        if others:
            view = self._pasted(rng, view, others, augment)
        labelled = [i for i in view.instances if not i.crowd]
        rings = [
            [join_polygons(i.parts)]
            if self.joined or i.class_id in self.config.model.unsplit_ids
            else list(i.parts)
            for i in labelled
        ]
        height, width = augment.size
        class_ids = [i.class_id for i in labelled]
        sample = make_targets(rings, class_ids, (height, width), self.targets)
        if self.config.contours_per_view:
            worth = [worth_learning(i) if self.both_outlines else 0.0 for i in labelled]
            sample = pick_slots(rng, sample, self.config.contours_per_view, worth)
        image = change_colors(rng, view.image, augment)
        sample = sample._replace(
            image=torch.from_numpy(np.ascontiguousarray(image)),
            image_id=torch.tensor(self.images[position].image_id),
        )
        if self.has_regions:
            sample = sample._replace(masks=_masks(labelled if self.joined else None, sample))
        if self.both_outlines:
            sample = add_whole_outlines(sample, labelled, (height, width), self.targets)
            sample = sample._replace(whole_masks=_whole_masks(labelled, sample))
        return self._with_noise(sample, seed)

    def _with_noise(self, sample: Samples, seed: tuple[int, int, int]) -> Samples:
        """Filled slot by slot from streams of their own: cutting slots leaves other numbers."""
        slots = len(sample.valid)
        boxes, choices, points = (np.random.default_rng((*seed, kind)) for kind in range(3))
        if self.has_boxes:
            noise = boxes.standard_normal((slots, 4)).astype(np.float32)
            choice = choices.random((slots, 1), np.float32)
            sample = sample._replace(
                box_noise=torch.from_numpy(noise), box_choice=torch.from_numpy(choice)
            )
        if self.has_regions:
            moves = points.random((slots, IOU_CELLS**2, 2), np.float32)
            sample = sample._replace(point_noise=torch.from_numpy(moves))
        return sample

    def _read(self, position: int) -> tuple[int, Image]:
        """The image at a position, or the next one that can be read, and where it stands.

        Raises:
            ValueError: many images in a row cannot be read.
        """
        count = min(_MOST_UNREADABLE, len(self))
        for step in range(count):
            found = (position + step) % len(self)
            try:
                image = self.images[found]
                return found, self._cache.read(image)
            except (ValueError, OSError) as error:
                last = error
                self._report(str(self.images[found].path), error)
        raise ValueError(f"{count} images in a row cannot be read; the last: {last}")

    def _report(self, path: str, error: Exception) -> None:
        if path not in self._unreadable:
            self._unreadable.add(path)
            _LOG.warning("left out, another image takes its place: %s", error)

    def _view(
        self, rng: np.random.Generator, position: int, pixels: Image, augment: AugmentConfig
    ) -> View:
        origin = self.config.model.label_origin
        instances = self.images[position].instances
        if self.both_outlines:
            instances = with_assumed_whole(instances)
        return make_view(rng, pixels, instances, augment, origin)

    def _pasted(
        self, rng: np.random.Generator, view: View, count: int, augment: AugmentConfig
    ) -> View:
        other = self._view(rng, *self._read(int(rng.integers(len(self.images)))), augment)
        candidates = [i for i in other.instances if not i.crowd]
        for choice in rng.permutation(len(candidates))[:count]:
            view = paste(view, other.image, candidates[choice], augment)
        return view


def resized(augment: AugmentConfig, size: tuple[int, int]) -> AugmentConfig:
    """Views of another size that show the same part of the image at another scale."""
    base = augment.base_side
    if base is not None:
        base = round(base * max(size) / max(augment.size))
    return dataclasses.replace(augment, size=size, base_side=base)


def pick_slots(
    rng: np.random.Generator, targets: Samples, count: int, worth: Sequence[float] = ()
) -> Samples:
    """Keeps `count` slots of contours; the heatmap keeps all objects.

    Args:
        rng: source of randomness.
        targets: of one view.
        count: slots to keep: valid ones first, then those worth more, else at random.
        worth: whole numbers 0 to 2 by `instance_ids`; none: all alike.
    """
    valid, instances = targets.valid.numpy(), targets.instance_ids.numpy()
    gain = np.array([*worth, 0.0])[instances] if len(worth) else np.zeros(len(valid))
    order = torch.from_numpy(np.argsort(~valid * 4.0 - gain + rng.random(len(valid)))[:count])
    contours = ("cells", "contours", "keys", "boxes", "class_ids", "instance_ids", "valid")
    return targets._replace(**{name: getattr(targets, name)[order] for name in contours})


def _masks(instances: Sequence[Instance] | None, targets: Samples) -> Tensor:
    """Masks of whole instances, or of what the contours enclose if none are given."""
    masks = torch.zeros(len(targets.valid), MASK_CELLS, MASK_CELLS, dtype=torch.uint8)
    for slot in np.flatnonzero(targets.valid.numpy()).tolist():
        parts: Sequence[Polygon] = [targets.contours[slot].numpy().astype(np.float64)]
        if instances is not None:
            parts = instances[int(targets.instance_ids[slot])].parts
        masks[slot] = torch.from_numpy(box_mask(parts, targets.boxes[slot].numpy()))
    return masks


def _whole_masks(instances: Sequence[Instance], targets: Samples) -> Tensor:
    """Masks of amodal outlines, each over its box."""
    masks = torch.zeros(len(targets.valid), MASK_CELLS, MASK_CELLS, dtype=torch.uint8)
    for slot in np.flatnonzero(targets.whole_valid.numpy()).tolist():
        whole = instances[int(targets.instance_ids[slot])].whole
        assert whole is not None
        masks[slot] = torch.from_numpy(box_mask(whole, targets.whole_boxes[slot].numpy()))
    return masks


def box_mask(parts: Sequence[Polygon], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Mask of polygons over a box, uint8 [64, 64] of 0 and 1.

    Args:
        parts: polygons [P, 2], px.
        box: xyxy, px.
    """
    mask = np.zeros((MASK_CELLS, MASK_CELLS), np.uint8)
    scale = MASK_CELLS / np.maximum(box[2:] - box[:2], 1.0)
    for part in parts:
        mask |= contour_to_mask((part - box[:2]) * scale - 0.5, MASK_CELLS, MASK_CELLS)
    return mask
