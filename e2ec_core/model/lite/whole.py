"""The amodal outline of an object, grown from its visible one."""

from __future__ import annotations

from torch import Tensor, nn

from e2ec_core.model.lite.maps import MapsLayout
from e2ec_core.model.lite.region import RegionEncoder
from e2ec_core.model.lite.stages import LiteDeformation, LiteEvolution
from e2ec_core.model.structures import Features, Seeds, WholeContours


class WholeOutline(nn.Module):
    """Global deformation and an evolution from the visible contour to the amodal one.

    They begin at the visible outline because that is the answer for all that nothing hides. Their
    region is larger than that of the visible stages, since what is hidden lies beside the box of
    what is seen, and coarser, since hidden outlines are guesses. The visible contour gets no
    gradient from here.

    Args:
        maps: that the stages read.
        channels: of the shape map.
        code: length of the region's code.
        vertices: N.
    """

    CELLS = 16
    MARGIN = 1.75

    def __init__(self, maps: MapsLayout, *, channels: int, code: int, vertices: int) -> None:
        super().__init__()
        self.region = RegionEncoder(
            maps, channels=channels, code=code, cells=self.CELLS, margin=self.MARGIN
        )
        self.deformation = LiteDeformation(channels, code, vertices)
        self.evolution = LiteEvolution(maps, channels, code, reach=0.32)

    def forward(self, features: Features, seeds: Seeds, visible: Tensor) -> WholeContours:
        """Finds the amodal contours.

        Args:
            features: of the batch.
            seeds: where the visible contours grew.
            visible: final visible contours, [B, K, N, 2] input px.
        """
        region = self.region(features, seeds)
        seeds = seeds._replace(region=region)
        coarse: Tensor = self.deformation(features, seeds, visible.detach())
        evolved: Tensor = self.evolution(features, seeds, coarse.detach())
        return WholeContours([coarse, evolved], region)
