"""The result of the model for one image: closed contours with class and score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from e2ec_core.geometry import contours_to_masks, paint_contours

Stage = Literal["initial", "coarse", "final"]
HARDLY_HIDDEN = 0.05
"""Hidden share below which the amodal contour is the visible one."""
STAGES: tuple[Stage, ...] = ("initial", "coarse", "final")


@dataclass(frozen=True, kw_only=True)
class Contours:
    """Instances found in one image, sorted by falling score.

    Pixels: x right, y down, (0, 0) the centre of the top-left pixel. Contours are closed
    implicitly, run counter-clockwise as seen on the screen and start at the bottom.

    Attributes:
        vertices: float32 [K, N, 2] (x, y), source-image px; vertices may lie outside the image.
        scores: float32 [K] in 0..1.
        class_ids: int64 [K].
        stage: the stage of the model the contours come from.
        image_size: (height, width) of the source image, px.
        instance_ids: int64 [K], equal for the visible parts of one object, which share its class
            and score; numbers of this image alone. None: every contour is an object of its own.
        track_ids: int64 [K], equal for one object in all images of a video (`e2ec_core.tracking`).
            None: not tracked.
        amodal_vertices: as `vertices`, of the whole objects, also where something hides them.
            None: not asked for, or not known to the model.
    """

    vertices: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    stage: Stage
    image_size: tuple[int, int]
    instance_ids: NDArray[np.int64] | None = None
    track_ids: NDArray[np.int64] | None = None
    amodal_vertices: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Any) -> Contours:
        """Selects instances by slice, index array or boolean mask (anything that keeps [K])."""
        arrays = (
            "vertices",
            "scores",
            "class_ids",
            "instance_ids",
            "track_ids",
            "amodal_vertices",
        )
        values = {name: getattr(self, name) for name in arrays}
        chosen: dict[str, Any] = {n: v[index] for n, v in values.items() if v is not None}
        return replace(self, **chosen)

    def by_instance(self) -> list[NDArray[np.int64]]:
        """Indices of the contours of each object, objects in the order of their first contours."""
        if self.instance_ids is None:
            return list(np.arange(len(self))[:, None])
        ids, first = np.unique(self.instance_ids, return_index=True)
        return [np.flatnonzero(self.instance_ids == i) for i in ids[np.argsort(first)]]

    def label(self, index: int, class_names: Sequence[str]) -> str:
        """Class, track and score of one contour in words, e.g. `car #7 0.83`."""
        name = class_names[int(self.class_ids[index])]
        track = "" if self.track_ids is None else f" #{self.track_ids[index]}"
        return f"{name}{track} {self.scores[index]:.2f}"

    @property
    def boxes_xyxy(self) -> NDArray[np.float32]:
        """Bounding boxes of the contours, float32 [K, 4] (x_min, y_min, x_max, y_max), px."""
        if len(self) == 0:
            return np.zeros((0, 4), np.float32)
        return np.concatenate([self.vertices.min(axis=1), self.vertices.max(axis=1)], axis=1)

    @property
    def areas(self) -> NDArray[np.float32]:
        """Enclosed areas (absolute shoelace sums), float32 [K], square px."""
        return _areas(self.vertices)

    @property
    def hidden(self) -> NDArray[np.float32] | None:
        """Share of each object that something hides, float32 [K] in 0..1; None if not known.

        It is 1 - visible area / amodal area, inside the image.
        """
        if self.amodal_vertices is None:
            return None
        whole = _areas(self.amodal_vertices)
        seen = np.divide(self.areas, whole, out=np.ones_like(whole), where=whole > 0)
        return (1 - seen).clip(0, 1)

    def masks(self) -> NDArray[np.bool_]:
        """The insides of the contours, bool [K, H, W], in their order.

        A pixel is set if its centre lies inside. Contours that overlap share pixels. Where an
        object has several contours, `masks[group].any(axis=0)` for each `group` of
        `by_instance()` is the object's. K images: `label_image` is K times smaller.
        """
        return contours_to_masks(self.vertices, *self.image_size)

    def label_image(self) -> NDArray[np.uint16]:
        """Which instance is seen at every pixel, uint16 [H, W].

        0 is background and i + 1 the instance at position i, for an object of several contours
        the position of its first. Where contours overlap, the better instance is in front.
        """
        image = np.zeros(self.image_size, np.uint16)
        labels = np.zeros(len(self), np.int64)
        for group in self.by_instance():
            labels[group] = group[0] + 1
        paint_contours(image, list(self.vertices), labels.tolist())
        return image


def clip_to_image(contours: Contours) -> Contours:
    """The contours with vertices beyond the image's edge moved onto it.

    The network may place vertices a few px outside; nobody who reads the messages expects that.
    """
    height, width = contours.image_size
    edge = np.array([width - 0.5, height - 0.5], np.float32)  # pixel centres are integers
    seen, whole = (
        None if v is None else np.clip(v, np.float32(-0.5), edge)
        for v in (contours.vertices, contours.amodal_vertices)
    )
    assert seen is not None
    return replace(contours, vertices=seen, amodal_vertices=whole)


def _areas(vertices: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y = vertices[..., 0], vertices[..., 1]
    doubled = x * np.roll(y, -1, axis=-1) - np.roll(x, -1, axis=-1) * y
    areas: NDArray[np.float32] = np.abs(doubled.sum(axis=-1, dtype=np.float64) / 2).astype(
        np.float32
    )
    return areas
