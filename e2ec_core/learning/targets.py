"""Training targets: from labelled polygons to heatmap, aligned contours and key vertices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
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
from e2ec_core.learning.component_losses import (
    ComponentBatch,
    ComponentTargets,
    fill_component,
    no_components,
    stack_components,
)
from e2ec_core.learning.heatmaps import draw_gaussian, gaussian_radius

STRIDE = 4
"""Network-input px per heatmap cell."""


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
        box_of: what box and centre enclose: the `part` that the contour follows (published), or
            all visible parts of the `instance`, as detectors are trained on (deviation).
        components: for a model that finds the components of an instance: the heatmap's centres are
            those of whole instances, whose component maps are made as well.
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
    box_of: Literal["part", "instance"] = "part"
    components: bool = False
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
        if self.box_of not in ("part", "instance"):
            raise ValueError(f"box_of must be 'part' or 'instance', received {self.box_of!r}")


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Targets of one image in NumPy; slots beyond the instances are zero and not `valid`.

    Attributes:
        heatmap: float32 [C, H/4, W/4], exactly 1 at centres.
        cells: float32 [K, 2], integer heatmap cells (x, y) of the centres.
        contours: float32 [K, N, 2] (x, y), network-input px, counter-clockwise on the screen,
            aligned, the first vertex at the bottom.
        keys: bool [K, N], key vertices.
        boxes: float32 [K, 4] (x_min, y_min, x_max, y_max), network-input px.
        class_ids: int64 [K].
        instance_ids: int64 [K], positions in the given labels; -1 in empty slots.
        valid: bool [K].
        components: where the settings ask for them; K slots of instances, which need not be the
            contours' slots.
    """

    heatmap: NDArray[np.float32]
    cells: NDArray[np.float32]
    contours: NDArray[np.float32]
    keys: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    instance_ids: NDArray[np.int64]
    valid: NDArray[np.bool_]
    components: ComponentTargets | None = None


@dataclass(frozen=True, kw_only=True)
class TargetBatch:
    """Targets of B images as tensors: the arrays of `Targets` with a leading [B]."""

    heatmap: Tensor
    cells: Tensor
    contours: Tensor
    keys: Tensor
    boxes: Tensor
    class_ids: Tensor
    instance_ids: Tensor
    valid: Tensor
    components: ComponentBatch | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> TargetBatch:
        """Copy on a device."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if (value := getattr(self, f.name)) is not None
        }
        return TargetBatch(**moved)


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
) -> Targets:
    """Makes the targets of one image.

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
    if targets.components is not None:
        for slot, parts in enumerate(_largest([i for i in instances if i], settings)):
            box = _enclosing(parts)
            cell = _draw_centre(targets.heatmap[int(class_ids[parts[0].instance])], box)
            fill_component(targets.components, slot, cell, box, [part.box for part in parts])
    return targets


def _largest(groups: list[list[_Part]], settings: TargetSettings) -> list[list[_Part]]:
    """As many as there are slots, in their order."""
    order = sorted(range(len(groups)), key=lambda i: -sum(part.area for part in groups[i]))
    return [groups[i] for i in sorted(order[: settings.max_instances])]


def _enclosing(parts: Sequence[_Part]) -> NDArray[np.float64]:
    boxes = np.stack([part.box for part in parts])
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def stack_targets(targets: Sequence[Targets], *, trim: bool = False) -> TargetBatch:
    """Stacks the targets of several images.

    Args:
        targets: of one or more images with the same settings and input size.
        trim: cut the slots to the most that one image uses (at least one). Saves work on a CPU;
            leave it off where a compiled model wants fixed shapes.

    Raises:
        ValueError: no targets.
    """
    if not targets:
        raise ValueError("targets must hold at least one image, received none")
    slots = len(targets[0].valid)
    if trim:
        slots = max(1, max(int(t.valid.sum()) for t in targets))
    stacked = {}
    for field in fields(Targets):
        if field.name == "components":
            continue
        arrays = [getattr(t, field.name) for t in targets]
        if field.name != "heatmap":
            arrays = [array[:slots] for array in arrays]
        stacked[field.name] = torch.from_numpy(np.stack(arrays))
    components = [t.components for t in targets if t.components is not None]
    return TargetBatch(
        **stacked, components=stack_components(components, trim=trim) if components else None
    )


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
    if parts and settings.box_of == "instance":
        whole = _enclosing(parts)
        parts = [part._replace(box=whole) for part in parts]
    if parts and settings.parts == "largest":
        parts = [max(parts, key=lambda part: part.area)]
    return parts


def _empty(input_size: tuple[int, int], settings: TargetSettings) -> Targets:
    height, width = (side // STRIDE for side in input_size)
    slots, vertices = settings.max_instances, settings.vertices
    return Targets(
        heatmap=np.zeros((settings.num_classes, height, width), np.float32),
        cells=np.zeros((slots, 2), np.float32),
        contours=np.zeros((slots, vertices, 2), np.float32),
        keys=np.zeros((slots, vertices), np.bool_),
        boxes=np.zeros((slots, 4), np.float32),
        class_ids=np.zeros(slots, np.int64),
        instance_ids=np.full(slots, -1, np.int64),
        valid=np.zeros(slots, np.bool_),
        components=no_components(slots) if settings.components else None,
    )


def _fill(
    targets: Targets, slot: int, part: _Part, class_id: int, settings: TargetSettings
) -> None:
    contour = align_contour(
        part.polygon, settings.vertices, settings.directions, settings.alignment
    )
    size = part.box[2:] - part.box[:2]
    tolerance = settings.key_tolerance
    if settings.key_tolerance_of_box is not None:
        tolerance = min(tolerance, settings.key_tolerance_of_box * float(size.max()))
    if settings.components:
        targets.cells[slot] = _centre_cell(targets.heatmap, part.box)
    else:
        targets.cells[slot] = _draw_centre(targets.heatmap[class_id], part.box)
    targets.contours[slot] = contour
    targets.keys[slot] = key_vertices(contour, tolerance)
    targets.boxes[slot] = part.box
    targets.class_ids[slot] = class_id
    targets.instance_ids[slot] = part.instance
    targets.valid[slot] = True


def _centre_cell(heatmap: NDArray[np.float32], box: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = heatmap.shape[-2:]
    centre = (box[:2] + box[2:]) / (2 * STRIDE)
    return np.clip(np.round(centre), 0, [width - 1, height - 1])


def _draw_centre(heatmap: NDArray[np.float32], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws the Gaussian of a box into one class's heatmap; returns the cell of its centre."""
    cell = _centre_cell(heatmap, box)
    cells_wide, cells_high = np.maximum(np.ceil((box[2:] - box[:2]) / STRIDE), 1.0)
    radius = max(0, int(gaussian_radius(float(cells_high), float(cells_wide))))
    draw_gaussian(heatmap, (int(cell[0]), int(cell[1])), radius)
    return cell
