"""What is learnt from one view: image, targets, masks and random numbers as plain tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MASK_CELLS = 64
"""Side of the stored object masks, each over its own box."""


class Samples(NamedTuple):
    """One training view, or a batch of B views, whose tensors have a leading [B].

    K slots hold contours; slots without one are zero and not valid. L slots hold whole objects if
    the model finds their components or its detector gives candidates, else L is 0. A batch has as
    many slots as its fullest view uses. What the model does not read has no elements, so that
    nothing of it travels: see `masks` and the noise.
    """

    image: Tensor
    """[H, W, 3] uint8 RGB; on the training device [3, H, W] float32, still 0..255."""
    image_id: Tensor
    """[] int64."""
    heatmap: Tensor
    """[C, H/4, W/4] float32, exactly 1 at centres; [0, 0, 0] for a detector without heatmap."""
    cells: Tensor
    """[K, 2] float32, integer heatmap cells (x, y) of the centres."""
    contours: Tensor
    """[K, N, 2] float32 (x, y), network-input px, counter-clockwise on the screen, aligned, the
    first vertex at the bottom."""
    keys: Tensor
    """[K, N] bool, key vertices."""
    boxes: Tensor
    """[K, 4] float32 (x_min, y_min, x_max, y_max), network-input px."""
    class_ids: Tensor
    """[K] int64."""
    instance_ids: Tensor
    """[K] int64, positions in the given labels; -1 in unused slots."""
    valid: Tensor
    """[K] bool."""
    object_cells: Tensor
    """[L, 2] float32, heatmap cells (x, y) of whole objects' centres."""
    object_boxes: Tensor
    """[L, 4] float32 xyxy around all visible components, network-input px."""
    object_class_ids: Tensor
    """[L] int64."""
    object_heat: Tensor
    """[L, 14, 56] float32 over the object's box, exactly 1 at the centres of components; [L, 0, 0]
    for a model without components."""
    object_sizes: Tensor
    """[L, 2, 14, 56] float32, width and height of components in cells of the grid, at centres;
    [L, 2, 0, 0] likewise."""
    object_valid: Tensor
    """[L] bool."""
    masks: Tensor
    """[K, 64, 64] uint8 of 0 and 1, each over its contour's box; float32 on the device; [K, 0, 0]
    for a model without region encoder."""
    point_noise: Tensor
    """[K, IOU_CELLS^2, 2] float32, uniform in 0..1, that moves the points at which masks are read;
    [K, 0, 2] likewise."""
    box_noise: Tensor
    """[K, 4] float32, normal, that moves the sides of true boxes; [K, 0] for a model without box
    head."""
    box_choice: Tensor
    """[K, 1] float32, uniform in 0..1, that chooses true or predicted boxes; [K, 0] likewise."""
    whole_contours: Tensor
    """[K, N, 2] float32, as `contours`, of amodal outlines; [K, 0, 2] for a model without a second
    outline, as are the next three."""
    whole_keys: Tensor
    """[K, N] bool, key vertices of the amodal contours."""
    whole_boxes: Tensor
    """[K, 4] float32 xyxy around the amodal contours, network-input px."""
    whole_masks: Tensor
    """[K, 64, 64] uint8 of 0 and 1, each over its amodal box; float32 on the device."""
    whole_valid: Tensor
    """[K] bool, slots whose amodal outline is known."""

    def to(self, device: torch.device) -> Samples:
        """Copies a batch to the training device, where pixels and masks become float32."""
        moved = Samples(*(value.to(device, non_blocking=True) for value in self))
        return moved._replace(
            image=moved.image.permute(0, 3, 1, 2).float(),
            masks=moved.masks.float(),
            whole_masks=moved.whole_masks.float(),
        )


_PER_VIEW = {"image", "image_id", "heatmap"}


def stack_samples(samples: Sequence[Samples]) -> Samples:
    """Makes a batch of views, which must be of one size and one model.

    Raises:
        ValueError: no view.
    """
    if not samples:
        raise ValueError("a batch needs at least one view, received none")
    slots = _used(sample.valid for sample in samples)
    objects = _used(sample.object_valid for sample in samples)
    stacked: dict[str, Tensor] = {}
    for name, values in zip(Samples._fields, zip(*samples, strict=True), strict=True):
        if name not in _PER_VIEW:
            count = objects if name.startswith("object_") else slots
            values = tuple(value[:count] for value in values)
        stacked[name] = torch.stack(values)
    return Samples(**stacked)


def _used(valid: Iterable[Tensor]) -> int:
    """The most slots that one view uses, at least 1."""
    return max(1, *(int(flags.sum()) for flags in valid))
