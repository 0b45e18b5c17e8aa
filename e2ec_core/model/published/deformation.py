"""Global deformation: all vertices moved at once, from all their features (paper, 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from e2ec_core.model.precision import in_float32
from e2ec_core.model.published.heads import ConvHead
from e2ec_core.model.sampling import sample_vertices
from e2ec_core.model.structures import STRIDE, Features, Seeds


class GlobalDeformation(nn.Module):
    """Initial to coarse contour, from the features of the N vertices and the centre.

    The published form differs from the paper's text: the hidden layer has 4N units, no bias and no
    activation, and the feature map passes two convolutions first.
    """

    def __init__(
        self,
        channels: int = 64,
        vertices: int = 128,
        *,
        hidden: int = 256,
        scale: float = 4.0,
    ) -> None:
        """Build the layers.

        Args:
            channels: of the feature map.
            vertices: N.
            hidden: hidden channels of the map's transformation.
            scale: cells per unit of the output (published: 4).
        """
        super().__init__()
        self.transform = ConvHead(channels, channels, hidden=hidden)
        self.reduce = nn.Linear((vertices + 1) * channels, 4 * vertices, bias=False)
        self.expand = nn.Linear(4 * vertices, 2 * vertices)
        self.scale = scale

    def forward(self, features: Features, seeds: Seeds, contour: Tensor) -> Tensor:
        """Move the contour.

        The contour that the offsets are added to is detached, the sampling positions are not: the
        coarse loss reaches the initial contour through them, as published.

        Args:
            features: of the same batch.
            seeds: the centres.
            contour: [B, K, N, 2] initial contour, input px.

        Returns:
            [B, K, N, 2] coarse contour, input px.
        """
        feature = self.transform(features.feature)
        sampled = sample_centre_and_vertices(feature, seeds, contour)
        offsets = in_float32(self.expand, self.reduce(sampled)).view_as(contour)
        return contour.detach() + self.scale * STRIDE * offsets


class PaperDeformation(nn.Module):
    """Initial to coarse contour by the paper's text: one hidden layer of 2 N units, ReLU, 2 N.

    The features are read from the map as it is.
    """

    def __init__(
        self,
        channels: int = 64,
        vertices: int = 128,
        *,
        scale: float = 4.0,
    ) -> None:
        """Build the layers; arguments as in `GlobalDeformation`."""
        super().__init__()
        self.reduce = nn.Linear((vertices + 1) * channels, 2 * vertices)
        self.expand = nn.Linear(2 * vertices, 2 * vertices)
        self.scale = scale

    def forward(self, features: Features, seeds: Seeds, contour: Tensor) -> Tensor:
        """As `GlobalDeformation.forward`."""
        sampled = sample_centre_and_vertices(features.feature, seeds, contour)
        offsets = in_float32(self.expand, self.reduce(sampled).relu()).view_as(contour)
        return contour.detach() + self.scale * STRIDE * offsets


def sample_centre_and_vertices(feature: Tensor, seeds: Seeds, contour: Tensor) -> Tensor:
    """Features of the centre and the N vertices, channel-major: [B, K, C * (N + 1)]."""
    points = torch.cat([seeds.cells[:, :, None] * STRIDE, contour], dim=2)
    return sample_vertices(feature, points, stride=STRIDE).flatten(2)
