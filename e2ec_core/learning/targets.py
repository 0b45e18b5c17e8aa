"""Training targets: from labelled polygons to heatmap, aligned contours and key vertices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from e2ec_core.geometry import (
    AlignmentMode,
    Polygon,
    align_contour,
    bounding_box,
    clean_polygon,
    clip_polygon,
    key_vertices,
    signed_area,
)
from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.heatmaps import draw_gaussian, gaussian_radius
from e2ec_core.learning.samples import Samples
from e2ec_core.model.component_detection import GRID
from e2ec_core.model.structures import STRIDE


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """How targets are made; the defaults are the published rules except where marked.

    Attributes:
        num_classes: channels C of the heatmap.
        vertices: N, vertices of a contour.
        directions: M of the multi-direction alignment; 0 for none.
        alignment: `monotone` never winds twice (deviation); `published` may.
        max_instances: K slots; of more instances the largest are kept.
        parts: `each` makes every polygon part of an instance a target of its own (published);
            `largest` takes only the largest part.
        components: for a model that finds the components of an instance: the heatmap's centres are
            those of whole instances, whose component maps are made as well.
        heatmap: for a detector with a heatmap; one of candidates learns whole instances instead.
        min_area: smaller parts, after clipping, are left out; px^2 (published 5 cells^2 = 80).
        key_tolerance: of Douglas-Peucker, px (published 3 cells = 12).
        key_tolerance_of_box: if set, a second limit as a fraction of the box's longer side; the
            smaller counts, so that small objects have key vertices as well (deviation).
        border: contours end at width - border and height - border px. 1 is the last pixel centre
            (deviation); the published labels end at the last cell, 4 px before the edge.
    """

    num_classes: int
    vertices: int = 128
    directions: int = 4
    alignment: AlignmentMode = "monotone"
    max_instances: int = 64
    parts: Literal["each", "largest"] = "each"
    components: bool = False
    heatmap: bool = True
    min_area: float = 80.0
    key_tolerance: float = 12.0
    key_tolerance_of_box: float | None = None
    border: float = 1.0

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.max_instances < 1:
            raise ValueError(
                "num_classes and max_instances must be at least 1, received "
                f"{self.num_classes}, {self.max_instances}"
            )
        if self.parts not in ("each", "largest"):
            raise ValueError(f"parts must be 'each' or 'largest', received {self.parts!r}")


def target_settings(config: TrainConfig) -> TargetSettings:
    """The rules of a run."""
    return TargetSettings(
        num_classes=len(config.model.class_names),
        components=config.model.components,
        heatmap=config.model.preset != "e2ec_lite",
        vertices=config.model.contour_vertices,
        directions=config.loss.directions,
        alignment=config.loss.alignment,
        max_instances=config.max_instances,
        parts="largest" if config.loss.parts == "largest" else "each",
        min_area=config.augment.min_area,
        key_tolerance_of_box=0.04 if config.loss.box_units else None,
        border=config.loss.border,
    )


class _Part(NamedTuple):
    polygon: Polygon
    box: NDArray[np.float64]
    area: float
    instance: int


def make_targets(
    polygons: Sequence[Sequence[ArrayLike]],
    class_ids: Sequence[int] | NDArray[np.int64],
    input_size: tuple[int, int],
    settings: TargetSettings,
) -> Samples:
    """Makes the targets of one image; image, masks and noise are left empty.

    Args:
        polygons: for each instance its polygon parts, each [P, 2] (x, y) in network-input px,
            either orientation; they may leave the image.
        class_ids: class of each instance, 0..C-1.
        input_size: (height, width) of the network input, px, multiples of 4.
        settings: the rules.

    Raises:
        ValueError: unequal numbers of polygons and classes, a class out of range, or an input size
            that is not a multiple of 4.
    """
    _check(polygons, class_ids, input_size, settings)
    instances = [
        _visible_parts(outlines, instance, input_size, settings)
        for instance, outlines in enumerate(polygons)
    ]
    targets = _empty(input_size, settings)
    for slot, part in enumerate(_largest([[p] for i in instances for p in i], settings)):
        _fill(targets, slot, part[0], int(class_ids[part[0].instance]), settings)
    if settings.components or not settings.heatmap:
        for slot, parts in enumerate(_largest([i for i in instances if i], settings)):
            _fill_object(targets, slot, parts, int(class_ids[parts[0].instance]), settings)
    return targets if settings.heatmap else targets._replace(heatmap=torch.zeros(0, 0, 0))


def _largest(groups: list[list[_Part]], settings: TargetSettings) -> list[list[_Part]]:
    """As many as there are slots, in their order."""
    order = sorted(range(len(groups)), key=lambda i: -sum(part.area for part in groups[i]))
    return [groups[i] for i in sorted(order[: settings.max_instances])]


def _enclosing(parts: Sequence[_Part]) -> NDArray[np.float64]:
    boxes = np.stack([part.box for part in parts])
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _check(
    polygons: Sequence[Sequence[ArrayLike]],
    class_ids: Sequence[int] | NDArray[np.int64],
    input_size: tuple[int, int],
    settings: TargetSettings,
) -> None:
    if len(polygons) != len(class_ids):
        raise ValueError(
            f"each instance needs one class, received {len(polygons)} instances and "
            f"{len(class_ids)} classes"
        )
    if any(side < STRIDE or side % STRIDE for side in input_size):
        raise ValueError(f"input_size must be multiples of {STRIDE}, received {input_size}")
    wrong = [int(c) for c in class_ids if not 0 <= c < settings.num_classes]
    if wrong:
        raise ValueError(
            f"class_ids must be within 0..{settings.num_classes - 1}, received {wrong[0]}"
        )


def _visible_parts(
    outlines: Sequence[ArrayLike],
    instance: int,
    input_size: tuple[int, int],
    settings: TargetSettings,
) -> list[_Part]:
    """The parts of one instance that are inside the image and large enough."""
    height, width = input_size
    room = 1.0 - settings.border
    parts = []
    for outline in outlines:
        polygon = clean_polygon(clip_polygon(outline, width + room, height + room))
        area = abs(signed_area(polygon))
        if len(polygon) >= 3 and area > settings.min_area:
            parts.append(_Part(polygon, bounding_box(polygon), area, instance))
    if parts and settings.parts == "largest":
        parts = [max(parts, key=lambda part: part.area)]
    return parts


def _empty(input_size: tuple[int, int], settings: TargetSettings) -> Samples:
    height, width = (side // STRIDE for side in input_size)
    slots, vertices = settings.max_instances, settings.vertices
    objects = 0 if settings.heatmap and not settings.components else slots
    grid = GRID if settings.components else (0, 0)
    channels = settings.num_classes if settings.heatmap else 1
    return Samples(
        image=torch.zeros(*input_size, 3, dtype=torch.uint8),
        image_id=torch.zeros((), dtype=torch.int64),
        heatmap=torch.zeros(channels, height, width),
        cells=torch.zeros(slots, 2),
        contours=torch.zeros(slots, vertices, 2),
        keys=torch.zeros(slots, vertices, dtype=torch.bool),
        boxes=torch.zeros(slots, 4),
        class_ids=torch.zeros(slots, dtype=torch.int64),
        instance_ids=torch.full((slots,), -1),
        valid=torch.zeros(slots, dtype=torch.bool),
        object_cells=torch.zeros(objects, 2),
        object_boxes=torch.zeros(objects, 4),
        object_class_ids=torch.zeros(objects, dtype=torch.int64),
        object_heat=torch.zeros(objects, *grid),
        object_sizes=torch.zeros(objects, 2, *grid),
        object_valid=torch.zeros(objects, dtype=torch.bool),
        masks=torch.zeros(slots, 0, 0, dtype=torch.uint8),
        point_noise=torch.zeros(slots, 0, 2),
        box_noise=torch.zeros(slots, 0),
        box_choice=torch.zeros(slots, 0),
        whole_contours=torch.zeros(slots, 0, 2),
        whole_keys=torch.zeros(slots, 0, dtype=torch.bool),
        whole_boxes=torch.zeros(slots, 0),
        whole_masks=torch.zeros(slots, 0, 0, dtype=torch.uint8),
        whole_valid=torch.zeros(slots, dtype=torch.bool),
    )


def _fill(
    targets: Samples, slot: int, part: _Part, class_id: int, settings: TargetSettings
) -> None:
    """Fills the slot of one contour."""
    contour = align_contour(
        part.polygon, settings.vertices, settings.directions, settings.alignment
    )
    if settings.components or not settings.heatmap:  # a heatmap has centres of whole objects
        cell = _centre_cell(targets.heatmap, part.box)
    else:
        cell = _draw_centre(targets.heatmap[class_id], part.box)
    targets.cells[slot] = torch.from_numpy(cell)
    targets.contours[slot] = torch.from_numpy(contour)
    targets.keys[slot] = torch.from_numpy(key_vertices(contour, key_tolerance(part.box, settings)))
    targets.boxes[slot] = torch.from_numpy(part.box)
    targets.class_ids[slot] = class_id
    targets.instance_ids[slot] = part.instance
    targets.valid[slot] = True


def key_tolerance(box: NDArray[np.float64], settings: TargetSettings) -> float:
    """Tolerance of Douglas-Peucker for an outline inside a box xyxy, px."""
    if settings.key_tolerance_of_box is None:
        return settings.key_tolerance
    longer = float((box[2:] - box[:2]).max())
    return min(settings.key_tolerance, settings.key_tolerance_of_box * longer)


def _fill_object(
    targets: Samples, slot: int, parts: Sequence[_Part], class_id: int, settings: TargetSettings
) -> None:
    """Fills the slot of one whole object, whose components are `parts`."""
    box = _enclosing(parts)
    if settings.heatmap:
        cell = _draw_centre(targets.heatmap[class_id], box)
    else:
        cell = _centre_cell(targets.heatmap, box)
    targets.object_cells[slot] = torch.from_numpy(cell)
    targets.object_boxes[slot] = torch.from_numpy(box)
    targets.object_class_ids[slot] = class_id
    targets.object_valid[slot] = True
    if not settings.components:
        return
    rows, columns = GRID
    scale = np.array([columns, rows]) / np.maximum(box[2:] - box[:2], 1.0)
    for part in parts:
        size = (part.box[2:] - part.box[:2]) * scale
        place = ((part.box[:2] + part.box[2:]) / 2 - box[:2]) * scale
        # The centre of an object in one part lies on the edge of a cell: rounding errors must not
        # push it now to one side and now to the other.
        x, y = np.clip(np.floor(place + 1e-6), 0, [columns - 1, rows - 1]).astype(int).tolist()
        wide, high = np.maximum(np.ceil(size), 1.0).tolist()
        radius = max(0, int(gaussian_radius(high, wide)))
        draw_gaussian(targets.object_heat[slot].numpy(), (x, y), radius)
        targets.object_sizes[slot, :, y, x] = torch.from_numpy(size)


def _centre_cell(heatmap: Tensor, box: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = heatmap.shape[-2:]
    centre = (box[:2] + box[2:]) / (2 * STRIDE)
    return np.clip(np.round(centre), 0, [width - 1, height - 1])


def _draw_centre(heatmap: Tensor, box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws the Gaussian of a box into one class's heatmap; returns the cell of its centre."""
    cell = _centre_cell(heatmap, box)
    cells_wide, cells_high = np.maximum(np.ceil((box[2:] - box[:2]) / STRIDE), 1.0)
    radius = max(0, int(gaussian_radius(float(cells_high), float(cells_wide))))
    draw_gaussian(heatmap.numpy(), (int(cell[0]), int(cell[1])), radius)
    return cell
