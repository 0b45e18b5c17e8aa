"""The initial contour: learned offsets from the instance's centre (paper, section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from e2ec_core.model.published.heads import ConvHead
from e2ec_core.model.structures import STRIDE, Features, Seeds


class InitialContour(nn.Module):
    """Regresses all vertices at once, as offsets from the centre cell.

    The head is evaluated only at the K centres.
    """

    def __init__(
        self, channels: int = 64, vertices: int = 128, *, hidden: int = 256, scale: float = 10.0
    ) -> None:
        """Build the head.

        Args:
            channels: of the feature map.
            vertices: N.
            hidden: hidden channels of the head.
            scale: cells per unit of the head's output (published: 10).
        """
        super().__init__()
        self.head = ConvHead(channels, 2 * vertices, hidden=hidden, coordinates=True)
        self.scale = scale
        self.vertices = vertices
        for conv in (self.head.conv, self.head.out):
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, features: Features, seeds: Seeds) -> Tensor:
        """Initial contours [B, K, N, 2] (x, y), input px, first vertex at the bottom."""
        raw = self.head.at_cells(features.feature, seeds.cells)
        offsets = raw.unflatten(2, (self.vertices, 2))
        contour: Tensor = (seeds.cells[:, :, None] + self.scale * offsets) * STRIDE
        return contour
