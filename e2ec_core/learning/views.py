"""Training samples: random views of labelled images, with their targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from e2ec_core.config import LabelOrigin
from e2ec_core.data.coco import CocoDataset, Instance, LabelledImage
from e2ec_core.geometry import Polygon, contour_to_mask, join_polygons
from e2ec_core.image_files import read_image
from e2ec_core.learning.augment import AugmentConfig, View, change_colors, make_view, paste
from e2ec_core.learning.region_losses import IOU_CELLS
from e2ec_core.learning.targets import (
    TargetBatch,
    Targets,
    TargetSettings,
    make_targets,
    stack_targets,
)

MASK_CELLS = 64
"""Side of the stored object masks, each over its own box."""

# A module's cache, not an object's: data sets must be picklable to reach spawned workers.
_read_cached = lru_cache(maxsize=600)(read_image)


class SampleNoise(NamedTuple):
    """Random numbers of one view, float32; they do not depend on the batch it comes into."""

    boxes: NDArray[np.float32]
    """[K, 4], normal."""
    choices: NDArray[np.float32]
    """[K], uniform in 0..1."""
    points: NDArray[np.float32]
    """[K, IOU_CELLS^2, 2], uniform in 0..1."""


class Noise(NamedTuple):
    """`SampleNoise` of a batch as tensors, with a leading [B]."""

    boxes: Tensor
    choices: Tensor
    points: Tensor


class Sample(NamedTuple):
    """One view: image uint8 [H, W, 3], targets, masks uint8 [K, 64, 64] over the boxes, id."""

    image: NDArray[np.uint8]
    targets: Targets
    masks: NDArray[np.uint8]
    image_id: int
    noise: SampleNoise


class ViewKey(NamedTuple):
    """Which view: position of the image, and (height, width) of the view in px."""

    position: int
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B views as tensors.

    Attributes:
        images: float32 [B, 3, H, W], RGB in 0..255.
        targets: aligned contours and the rest.
        masks: float32 [B, K, 64, 64] in 0..1, each over its target's box.
        image_ids: ids of the images, for reports.
        noise: what is random in the losses.
    """

    images: Tensor
    targets: TargetBatch
    masks: Tensor
    image_ids: tuple[int, ...]
    noise: Noise

    def to(self, device: torch.device) -> Batch:
        """Copy on a device."""
        return Batch(
            images=self.images.to(device, non_blocking=True),
            targets=self.targets.to(device),
            masks=self.masks.to(device, non_blocking=True),
            image_ids=self.image_ids,
            noise=Noise(*(n.to(device, non_blocking=True) for n in self.noise)),
        )


class TrainingViews(Dataset[Sample]):
    """Views of a dataset, drawn afresh each epoch but always the same for a seed and an epoch.

    Every sample has its own random generator, seeded by (seed, epoch, index), so that workers
    never share random numbers and a resumed run sees what the unbroken one would have seen.

    Args:
        datasets: labelled images, with the same class names.
        augment: how views are drawn.
        targets: rules of the targets.
        seed: of the run.
        joined: make one ring of an object seen in several parts (else `targets.parts` decides).
        origin: what the labels' (0, 0) is taken for, see `ModelConfig.label_origin`.
        contours: contours learnt per view, chosen at random; 0 learns all. The heatmap keeps all.
        unsplit: with components, where every part is a target, the ids of the classes whose
            objects are joined all the same.
    """

    def __init__(
        self,
        datasets: Sequence[CocoDataset],
        augment: AugmentConfig,
        targets: TargetSettings,
        *,
        seed: int = 0,
        joined: bool = True,
        origin: LabelOrigin = "corner",
        contours: int = 0,
        unsplit: Sequence[int] = (),
    ) -> None:
        self.images: list[LabelledImage] = [i for d in datasets for i in d.images]
        if not self.images:
            raise ValueError("the datasets hold no image; check annotations and file lists")
        self.augment, self.settings, self.seed = augment, targets, seed
        self.joined, self.origin, self.contours = joined, origin, contours
        self.epoch = 0
        self.unsplit = frozenset(unsplit)
        if targets.components:
            self.joined = False

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | ViewKey) -> Sample:
        index, augment = key, self.augment
        if isinstance(key, tuple):
            index, augment = key.position, resized(self.augment, key.size)
        assert isinstance(index, int)
        rng = np.random.default_rng((self.seed, self.epoch, index))
        view = self._view(rng, index, augment)
        others = int(rng.integers(augment.paste + 1))
        if others:
            view = self._pasted(rng, view, others, augment)
        labelled = [i for i in view.instances if not i.crowd]
        rings = [
            [join_polygons(i.parts)]
            if self.joined or i.class_id in self.unsplit
            else list(i.parts)
            for i in labelled
        ]
        height, width = augment.size
        class_ids = [i.class_id for i in labelled]
        targets = make_targets(rings, class_ids, (height, width), self.settings)
        if self.contours:
            targets = pick_slots(rng, targets, self.contours)
        return Sample(
            image=change_colors(rng, view.image, augment),
            targets=targets,
            masks=_masks(labelled if self.joined else None, targets),
            image_id=self.images[index].image_id,
            noise=_noise((self.seed, self.epoch, index), len(targets.valid)),
        )

    def _view(self, rng: np.random.Generator, index: int, augment: AugmentConfig) -> View:
        image = self.images[index]
        pixels = _read_cached(image.path)
        return make_view(rng, pixels, image.instances, augment, self.origin)

    def _pasted(
        self, rng: np.random.Generator, view: View, count: int, augment: AugmentConfig
    ) -> View:
        other = self._view(rng, int(rng.integers(len(self.images))), augment)
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


def _noise(seed: tuple[int, int, int], slots: int) -> SampleNoise:
    # Filled slot by slot from streams of their own: cutting slots leaves the others' numbers.
    boxes, choices, points = (np.random.default_rng((*seed, kind)) for kind in range(3))
    return SampleNoise(
        boxes=boxes.standard_normal((slots, 4)).astype(np.float32),
        choices=choices.random(slots, np.float32),
        points=points.random((slots, IOU_CELLS**2, 2), np.float32),
    )


def pick_slots(rng: np.random.Generator, targets: Targets, count: int) -> Targets:
    """Targets with `count` slots, filled from the valid ones at random; the heatmap stays."""
    order = np.argsort(~targets.valid * 2.0 + rng.random(len(targets.valid)))[:count]
    picked = {
        field.name: getattr(targets, field.name)[order]
        for field in dataclasses.fields(targets)
        if field.name not in ("heatmap", "components")
    }
    return dataclasses.replace(targets, **picked)


def _masks(instances: Sequence[Instance] | None, targets: Targets) -> NDArray[np.uint8]:
    """Masks of whole instances, or of what the contours enclose if none are given."""
    masks = np.zeros((len(targets.valid), MASK_CELLS, MASK_CELLS), np.uint8)
    for slot in np.flatnonzero(targets.valid):
        parts: Sequence[Polygon] = [targets.contours[slot].astype(np.float64)]
        if instances is not None:
            parts = instances[targets.instance_ids[slot]].parts
        masks[slot] = box_mask(parts, targets.boxes[slot])
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


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples; slots are cut to the most that one view uses."""
    targets = stack_targets([s.targets for s in samples], trim=True)
    slots = targets.valid.shape[1]
    images = torch.from_numpy(np.stack([s.image for s in samples]))
    return Batch(
        images=images.permute(0, 3, 1, 2).float(),
        targets=targets,
        masks=torch.from_numpy(np.stack([s.masks[:slots] for s in samples])).float(),
        image_ids=tuple(s.image_id for s in samples),
        noise=Noise(
            *(
                torch.from_numpy(np.stack([values[:slots] for values in kind]))
                for kind in zip(*(s.noise for s in samples), strict=True)
            )
        ),
    )
