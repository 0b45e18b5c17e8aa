"""What the generator hands out: an image and the exact shapes in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from street_scenes.camera import Camera

STREET_CLASSES: dict[str, int] = {
    "person": 1,
    "bicycle": 2,
    "car": 3,
    "motorcycle": 4,
    "bus": 6,
    "truck": 8,
}
"""COCO category ids of the classes that appear in synthetic scenes."""


@dataclass(frozen=True, kw_only=True)
class SyntheticInstance:
    """One object of a scene.

    Attributes:
        class_name: A key of `STREET_CLASSES`.
        category_id: COCO category id (1-based, with COCO's gaps).
        amodal: float32 `[P, 2]`, image px, counter-clockwise on the screen: the outline the
            object would have if nothing stood before it, cut at the image border.
        visible_mask: uint8 `[h, w]` 0/1, the visible pixels inside `visible_window`.
        visible_window: Column and row of the mask's first pixel, image px.
        track_id: Stays with the object through a drive.
        depth: Distance of the object's centre along the optical axis, m.
        occlusion: Share of the amodal area hidden by nearer things, 0..1.
        truncated: Whether the image border cuts the object.
        vehicle_id: Track id of the bicycle or motorcycle that a person rides, else None.
    """

    class_name: str
    category_id: int
    amodal: NDArray[np.float32]
    visible_mask: NDArray[np.uint8]
    visible_window: tuple[int, int]
    track_id: int
    depth: float
    occlusion: float
    truncated: bool
    vehicle_id: int | None = None

    def full_mask(self, height: int, width: int) -> NDArray[np.uint8]:
        """The visible mask as uint8 `[height, width]` 0/1."""
        mask = np.zeros((height, width), np.uint8)
        left, top = self.visible_window
        rows, columns = self.visible_mask.shape
        mask[top : top + rows, left : left + columns] = self.visible_mask
        return mask


@dataclass(frozen=True, kw_only=True)
class SyntheticScene:
    """A rendered scene.

    Attributes:
        image_rgb: uint8 `[H, W, 3]`.
        instances: Objects with at least one visible pixel, nearest first.
        camera: The camera that took the image.
    """

    image_rgb: NDArray[np.uint8]
    instances: tuple[SyntheticInstance, ...]
    camera: Camera


def check_size(seed: int, width: int, height: int) -> None:
    """Raise ValueError unless seed and image size (px) can be rendered."""
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    if width < 64 or height < 64:
        raise ValueError(f"the image must have at least 64x64 px, got {width}x{height}")
