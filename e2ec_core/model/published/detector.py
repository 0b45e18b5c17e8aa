"""The dense part of the published model: image to centre heatmap and feature map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e2ec_core.model.structures import BOX_SCALE, Features

MEAN_RGB = (0.47026115, 0.44719302, 0.40789654)
STD_RGB = (0.27809835, 0.27408164, 0.28863828)
"""COCO statistics of the published model, of values 0..1."""


class Normalize(nn.Module):
    """RGB 0..255 to the normalised BGR that the published weights expect."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Constants of the architecture, not weights: not stored in checkpoints.
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD_RGB).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] RGB, 0..255 -> [B, 3, H, W] BGR, same dtype."""
        # In float32 whatever the model's dtype, and in this order of operations, as the published
        # input was made: contours in float64 differ by 1e-3 px otherwise.
        normalised = (images.float() / 255 - self.mean.float()) / self.std.float()
        return normalised.flip(1).to(images.dtype)


class CenterNetDetector(nn.Module):
    """CenterNet (Objects as Points, Zhou et al., 2019) reduced to what E2EC needs."""

    def __init__(
        self,
        *,
        normalize: nn.Module,
        backbone: nn.Module,
        neck: nn.Module,
        heatmap_head: nn.Module,
        box_head: nn.Module | None = None,
    ) -> None:
        """Assemble the detector.

        Args:
            normalize: RGB 0..255 to the backbone's input.
            backbone: image to a list of maps with strides 1, 2, 4, ...
            neck: maps of stride 4 and up to one map of stride 4.
            heatmap_head: this map to centre logits, one channel per class.
            box_head: this map to the four sides of boxes, in units of `BOX_SCALE`, for stages that
                start from boxes.
        """
        super().__init__()
        self.normalize = normalize
        self.backbone = backbone
        self.neck = neck
        self.heatmap_head = heatmap_head
        self.box_head = box_head

    def forward(self, images: Tensor) -> Features:
        """[B, 3, H, W] float RGB, 0..255 -> heatmap, feature map of stride 4, boxes if any."""
        maps = self.backbone(self.normalize(images))
        feature = self.neck(maps[2:])
        sides = None if self.box_head is None else BOX_SCALE * self.box_head(feature)
        return Features(heatmap=self.heatmap_head(feature), feature=feature, box_sides=sides)
