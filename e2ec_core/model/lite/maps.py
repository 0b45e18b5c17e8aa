"""The maps that the lite contour stages read, from those of a frozen detector."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2ec_core.model.sampling import MapLayout
from e2ec_core.model.structures import Features

DETAIL_CHANNELS = 32
"""Channels of the detail map."""


class MapsLayout(NamedTuple):
    """Channels and places of a set of maps, named as in `Features`."""

    feature: MapLayout
    fine: MapLayout
    pyramid: tuple[MapLayout, ...]

    def with_detail(self) -> MapsLayout:
        """What `StageMaps` makes of a detector's maps of stride 8, 2 and (4, 8, ...)."""
        return MapsLayout(
            feature=self.feature,
            fine=self.pyramid[0]._replace(channels=DETAIL_CHANNELS),
            pyramid=self.pyramid[1:],
        )


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False, momentum=0.02)


class StageMaps(nn.Module):
    """A detector's maps, normalised, with a learnt detail map in place of the finest two.

    The maps of a trained detector differ in scale by a factor of 25 (stride 2 over stride 8),
    which no optimiser makes up for: each is normalised by its mean and deviation over the
    training data.

    Args:
        layout: of the detector's maps, of stride 8 (`feature`), 2 (`fine`), and 4, 8 and 16
            (`pyramid`).
    """

    def __init__(self, layout: MapsLayout) -> None:
        super().__init__()
        self.feature = _norm(layout.feature.channels)
        self.fine = _norm(layout.fine.channels)
        self.pyramid = nn.ModuleList(_norm(level.channels) for level in layout.pyramid)
        self.detail = DetailNet(layout)

    def forward(self, features: Features) -> Features:
        """The features with the stages' maps, see `MapsLayout.with_detail`; candidates stay."""
        assert features.fine is not None
        feature, fine = self.feature(features.feature), self.fine(features.fine)
        pairs = zip(self.pyramid, features.pyramid, strict=True)
        s4, *pyramid = (norm(level) for norm, level in pairs)
        return features._replace(
            feature=feature.contiguous(),
            fine=self.detail(fine, s4, torch.cat([feature, pyramid[0]], 1)).contiguous(),
            pyramid=tuple(level.contiguous() for level in pyramid),
        )


class DetailNet(nn.Module):
    """One map of stride 4 from the stem's edges and the neck's objects, on which outlines lie.

    The stem, trained for boxes, hardly knows which edges are outlines; here they are mixed with
    what the coarser maps know, once for the image.

    Args:
        layout: of the detector's maps.
        channels: of the detail map.
    """

    def __init__(self, layout: MapsLayout, channels: int = DETAIL_CHANNELS) -> None:
        super().__init__()
        s4, s8 = layout.pyramid[:2]
        self.from_s2 = nn.Conv2d(layout.fine.channels, channels, 3, 2, 1, bias=False)
        self.from_s4 = nn.Conv2d(s4.channels, channels, 1, bias=False)
        self.from_s8 = nn.Conv2d(layout.feature.channels + s8.channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.mix = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.mix_norm = nn.BatchNorm2d(channels)

    def forward(self, s2: Tensor, s4: Tensor, s8: Tensor) -> Tensor:
        """The detail map [B, channels, H/4, W/4] from maps of strides 2, 4 and 8."""
        coarse = F.interpolate(
            self.from_s8(s8), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        x = F.gelu(self.norm(self.from_s2(s2) + self.from_s4(s4) + coarse))
        return F.gelu(self.mix_norm(self.mix(x)))
