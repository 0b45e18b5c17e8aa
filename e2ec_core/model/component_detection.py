"""Components: the visible parts of an object, found inside its box, with a contour each.

Deep Snake's scheme for Cityscapes (Peng et al., CVPR 2020), which the paper's rows marked `*`
use: the detector finds whole objects, a second detector on the pooled features of every box finds
the parts that occluders leave, and the contours of the parts make up the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from e2ec_core.model.peaks import HEATMAP_BIAS
from e2ec_core.model.precision import in_float32
from e2ec_core.model.sampling import MapLayout, place_in_boxes, unit_grid
from e2ec_core.model.structures import Features, Proposals, Seeds, cells_at

GRID = (14, 56)
"""Rows and columns of the component maps, over the box of an instance."""
_SIZE_SCALE = 8.0
"""Grid cells per unit of the head's output, so that sizes are learnt as fast as the rest."""


class ComponentMaps(NamedTuple):
    """What the component head gives for K instance boxes, on a grid over each box.

    Attributes:
        heat: [B, K, 14, 56] logits of component centres.
        size: [B, K, 2, 14, 56] width and height of the component, in cells of the grid.
    """

    heat: Tensor
    size: Tensor


class Components(NamedTuple):
    """C component slots of each of K instances, by falling score.

    Attributes:
        boxes: [B, K, C, 4] xyxy, input px.
        found: [B, K, C] bool, False in slots to ignore.
    """

    boxes: Tensor
    found: Tensor


class ComponentHead(nn.Module):
    """Finds the components of instances and makes one seed of each.

    The features inside a box are pooled to 7 x 28 cells (the mean of 2 x 2 samples each), pass
    four convolutions and are doubled in size. Sizes are learnt in cells of the grid and not, as
    stated for Deep Snake, in cells of the feature map, since a pooled region knows no scale.

    Args:
        layout: of the feature map.
        unsplit: for each class, whether its instances stay whole.
        hidden: channels of the convolutions.
        slots: C, component peaks looked at in each instance (Deep Snake: 50).
        score: least score of a component (0.25).
        component_iou: of two components whose boxes overlap by more, the better one stays (0.1).
        instance_iou: the same for instances of one class (0.7).
        contours_per_instance: slots for contours over slots for instances.
    """

    unsplit: Tensor

    def __init__(
        self,
        layout: MapLayout,
        unsplit: Sequence[bool],
        *,
        hidden: int = 256,
        slots: int = 50,
        score: float = 0.25,
        component_iou: float = 0.1,
        instance_iou: float = 0.7,
        contours_per_instance: int = 2,
    ) -> None:
        super().__init__()
        self.slots, self.score = slots, score
        self.component_iou, self.instance_iou = component_iou, instance_iou
        self.contours_per_instance = contours_per_instance
        self.layout = layout
        widths = (layout.channels, hidden, hidden, hidden)
        layers = [(nn.Conv2d(width, hidden, 3, padding=1), nn.ReLU()) for width in widths]
        self.convs = nn.Sequential(*(module for pair in layers for module in pair))
        rows, columns = GRID
        self.heat = _branch(hidden, (HEATMAP_BIAS,))
        whole = (columns / _SIZE_SCALE, rows / _SIZE_SCALE)
        self.size = _branch(hidden, whole)  # starts from the whole box
        self.register_buffer("unsplit", torch.tensor(unsplit), persistent=False)

    def forward(self, features: Features, boxes: Tensor) -> ComponentMaps:
        """Maps over instance boxes.

        Args:
            features: of the batch.
            boxes: [B, K, 4] xyxy, input px.
        """
        batch, slots = boxes.shape[:2]
        points = place_in_boxes(unit_grid(*GRID, boxes), boxes)
        sampled = self.layout.sample(features.feature, points)
        pooled = F.avg_pool2d(sampled.flatten(0, 1).unflatten(2, GRID), 2)
        x = self.convs(pooled)
        size = in_float32(self.size[-1], self.size[:-1](x))
        return ComponentMaps(
            heat=self.heat(x).view(batch, slots, *GRID),
            size=_SIZE_SCALE * size.view(batch, slots, 2, *GRID),
        )

    def propose(self, features: Features, instances: Proposals) -> Proposals:
        """Seeds at the components of detected instances.

        An instance of an unsplit class, or in which no component is found, keeps its whole box
        (the latter is our addition: its contour would be lost).

        Args:
            features: of the batch.
            instances: K of them with boxes, best first.

        Returns:
            `contours_per_instance` K slots, those of one instance next to each other.
        """
        whole = instances.boxes
        assert whole is not None, "components need a detector with a box head"
        parts = decode_components(self(features, whole), whole, self.slots, self.score)
        found = greedy_nms(parts.boxes, parts.found, self.component_iou)
        other_class = instances.class_ids[:, :, None] != instances.class_ids[:, None]
        kept = greedy_nms(whole, instances.scores > 0, self.instance_iou, apart=other_class)
        is_whole = self.unsplit[instances.class_ids] | ~found.any(2)
        used = torch.cat([is_whole[..., None], found & ~is_whole[..., None]], 2) & kept[..., None]
        cells = cells_at(features, (parts.boxes[..., :2] + parts.boxes[..., 2:]) / 2)
        cells = torch.cat([instances.seeds.cells[:, :, None], cells], 2).flatten(1, 2)
        boxes = torch.cat([whole[:, :, None], parts.boxes], 2).flatten(1, 2)
        index, filled = first_true(used.flatten(1), self.contours_per_instance * whole.shape[1])
        instance = index // (self.slots + 1)
        of_slot, of_instance = index[..., None], instance[..., None]
        return Proposals(
            seeds=Seeds(cells.take_along_dim(of_slot, 1), boxes.take_along_dim(of_slot, 1)),
            scores=torch.where(filled, instances.scores.gather(1, instance), 0.0),
            class_ids=instances.class_ids.gather(1, instance),
            boxes=whole.take_along_dim(of_instance, 1),
            instance_ids=instance,
        )


def _branch(channels: int, biases: Sequence[float]) -> nn.Sequential:
    """Doubles the map, to as many channels as there are biases to start from."""
    out = nn.Conv2d(channels, len(biases), 1)
    assert out.bias is not None
    with torch.no_grad():
        out.bias.copy_(torch.tensor(biases))
    return nn.Sequential(nn.ConvTranspose2d(channels, channels, 2, stride=2), nn.ReLU(), out)


def decode_components(maps: ComponentMaps, boxes: Tensor, slots: int, score: float) -> Components:
    """The best cells of the component maps, without a test for local maxima.

    Args:
        maps: over the boxes.
        boxes: [B, K, 4] xyxy of the instances, input px.
        slots: C.
        score: cells below it are not `found`.
    """
    rows, columns = GRID
    best, index = maps.heat.to(boxes.dtype).sigmoid().flatten(2).topk(slots, dim=2)
    low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]
    width, height = (high - low).unbind(-1)
    cell_size = torch.stack([width / columns, height / rows], -1)
    cells = torch.stack([index % columns, index // columns], -1)
    centre = low + (cells + 0.5) * cell_size
    sizes = maps.size.flatten(3).transpose(2, 3).to(boxes.dtype)
    sizes = sizes.gather(2, index[..., None].expand(-1, -1, -1, 2)).clamp(min=0)
    half = sizes * cell_size / 2
    return Components(boxes=torch.cat([centre - half, centre + half], -1), found=best > score)


def greedy_nms(
    boxes: Tensor, found: Tensor, iou_threshold: float, *, apart: Tensor | None = None
) -> Tensor:
    """Non-maximum suppression in a fixed number of steps, without waiting for the device.

    Args:
        boxes: [..., C, 4] xyxy by falling score.
        found: [..., C] bool, boxes that count.
        iou_threshold: a box goes if one that stays before it overlaps it by more.
        apart: [..., C, C] bool, pairs that do not suppress each other.

    Returns:
        [..., C] bool, the boxes that stay.
    """
    a, b = boxes[..., :, None, :], boxes[..., None, :, :]
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(
        min=0
    )
    overlap = shared[..., 0] * shared[..., 1]
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    union = area[..., :, None] + area[..., None, :] - overlap
    count = boxes.shape[-2]
    order = torch.arange(count, device=boxes.device)
    suppresses = (overlap > iou_threshold * union) & (order[:, None] < order)
    if apart is not None:
        suppresses = suppresses & ~apart
    for i in range(count):
        found = found & ~(suppresses[..., i, :] & found[..., i : i + 1])
    return found


def first_true(flags: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Places of the first `count` True values in order.

    Args:
        flags: [B, n] bool, n at least `count` and below 2^24.
        count: M.

    Returns:
        int64 [B, M], and bool [B, M] that is False where there are fewer.
    """
    length = flags.shape[1]
    rank = torch.arange(length, 0, -1, device=flags.device, dtype=torch.float32)
    value, index = (flags * rank).topk(count, dim=1)
    return index, value > 0
