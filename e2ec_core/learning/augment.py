"""Random views of labelled images: one affine for pixels and vertices, colours, pasted objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.config import LabelOrigin
from e2ec_core.data.labelled import Instance, Truth
from e2ec_core.geometry import (
    Polygon,
    clip_polygon,
    contour_to_mask,
    mask_to_polygons,
    signed_area,
)
from e2ec_core.settings import check, setting

Image = NDArray[np.uint8]
Affine = NDArray[np.float64]

_LIGHT = 0.1
"""Published spread of the light along each principal component of colour."""
_LIGHT_VALUES = np.array([0.2141788, 0.01817699, 0.00341571])
_LIGHT_AXES = np.array(
    [
        [-0.56089297, 0.71832671, 0.41158938],
        [-0.5832747, 0.00994535, -0.81221408],
        [-0.58752847, -0.69563484, 0.41340352],
    ]
)
"""Published principal components of COCO's colours in 0..1; rows R, G, B."""
_GREY = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How views are drawn."""

    size: tuple[int, ...] = setting(
        (448, 448), "(height, width) of a view, multiples of 32, input px"
    )
    base_side: int | None = setting(
        512,
        "an image's longer side is scaled to this before the random scale, px; null keeps the "
        "image's own size",
        low=1,
        optional=True,
    )
    scale: tuple[float, ...] = setting((0.6, 1.6), "range of the random scale")
    rotation: float = setting(8.0, "largest rotation, degrees", low=0.0, high=180.0)
    flip: float = setting(0.5, "probability of a horizontal flip", low=0.0, high=1.0)
    color: float = setting(
        0.4, "largest relative change of brightness, contrast and saturation", low=0.0, high=1.0
    )
    blur: float = setting(0.1, "probability of a slight blur", low=0.0, high=1.0)
    paste: int = setting(4, "largest number of objects pasted from other images", low=0)
    min_visible: float = setting(
        0.3,
        "objects of which less than this share lies in the view are not learnt",
        low=0.0,
        high=1.0,
    )
    min_area: float = setting(
        80.0, "smallest area of an object that is learnt, square input px", low=0.0
    )
    crops: Literal["anywhere", "published"] = setting(
        "anywhere",
        "`anywhere` lets views reach every part of the image; `published` draws their middle near "
        "the image's, so that its sides are seldom or never seen, and draws the size of the "
        "window instead of its inverse, the scale, uniformly",
        choices=("anywhere", "published"),
    )
    colors: Literal["tinted", "published"] = setting(
        "tinted",
        "`tinted` also shifts the channels' balance; `published` changes brightness, contrast and "
        "saturation in random order, then adds coloured light (PCA)",
        choices=("tinted", "published"),
    )

    def __post_init__(self) -> None:
        check(self, "augment.")
        if len(self.size) != 2 or any(side < 32 or side % 32 for side in self.size):
            raise ValueError(
                f"augment.size is {self.size}; give height and width, multiples of 32"
            )
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(f"augment.scale is {self.scale}; give (least, most), both above 0")

    @property
    def trained_side(self) -> int:
        """Long side of images in views of scale 1, px."""
        return self.base_side or max(self.size)


@dataclass(frozen=True, kw_only=True)
class View:
    """One training view: image uint8 RGB [H, W, 3], objects in view px (edges at integers)."""

    image: Image
    instances: tuple[Instance, ...]


def draw_affine(
    rng: np.random.Generator, config: AugmentConfig, image_size: tuple[int, int], focus: Polygon
) -> Affine:
    """Draws a 2x3 matrix from image px to view px (both with edges at the integers).

    The window holds a random point of `focus` somewhere inside, so that every part of the image
    is seen, its borders too; `config.crops` can ask for the published rule instead.

    Args:
        rng: source of randomness.
        config: ranges.
        image_size: (height, width) of the image.
        focus: points [P, 2], image px, of which one is drawn.
    """
    height, width = config.size
    scale = (config.base_side or max(image_size)) / max(image_size) * _draw_scale(rng, config)
    angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation))
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < config.flip:
        linear = linear @ np.diag([-1.0, 1.0])
    if config.crops == "published":  # in px with their centres at the integers
        anchor = _published_centre(rng, image_size, width / scale) + 0.5
        target = np.array([width, height]) / 2 + 0.5
        return np.concatenate([linear, (target - linear @ anchor)[:, None]], axis=1)
    anchor = focus[rng.integers(len(focus))]
    target = rng.uniform(0.15, 0.85, 2) * (width, height)
    matrix = np.concatenate([linear, (target - linear @ anchor)[:, None]], axis=1)
    return _pull_inside(matrix, image_size, config.size)


def _draw_scale(rng: np.random.Generator, config: AugmentConfig) -> float:
    least, most = config.scale
    if config.crops == "published":
        return 1 / rng.uniform(1 / most, 1 / least)
    return rng.uniform(least, most)


def _published_centre(
    rng: np.random.Generator, image_size: tuple[int, int], window: float
) -> NDArray[np.float64]:
    """Middle (x, y) of a published crop: whole px, at most about a quarter off the image's.

    Args:
        rng: source of randomness.
        image_size: (height, width) of the image.
        window: width of the crop, image px; small ones stray less.
    """
    middle = []
    for side in (image_size[1], image_size[0]):
        stray = side // 4
        while stray and window - stray <= stray:
            stray //= 2
        middle.append(rng.integers(side // 2 - stray - 1, side // 2 + stray + 1))
    return np.array(middle, np.float64)


def _pull_inside(matrix: Affine, image_size: tuple[int, int], size: Sequence[int]) -> Affine:
    """Shifts the view so that as little as possible of it lies outside the image."""
    height, width = image_size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    placed = apply_affine(matrix, corners)
    low, high = placed.min(axis=0), placed.max(axis=0)
    wanted = np.array([size[1], size[0]], np.float64)
    centred = (wanted - low - high) / 2
    shift = np.where(high - low < wanted, centred, np.clip(0.0, wanted - high, -low))
    moved = matrix.copy()
    moved[:, 2] += shift
    return moved


def apply_affine(matrix: Affine, points: Polygon) -> Polygon:
    """Moves points [P, 2] by a 2x3 matrix."""
    moved: Polygon = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def between_centres(matrix: Affine) -> Affine:
    """A matrix between px with edges at the integers as one between px with centres there."""
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return centred


def warp_image(image: Image, matrix: Affine, size: Sequence[int]) -> Image:
    """Warps an image; `matrix` speaks of px with edges at the integers, OpenCV of centres."""
    centred = between_centres(matrix)
    shrink = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if shrink < 0.5:  # bilinear sampling would skip pixels; an even kernel would shift them
        image = np.asarray(cv2.blur(image, (round(1 / shrink) | 1,) * 2), np.uint8)
    return np.asarray(
        cv2.warpAffine(image, centred, (size[1], size[0]), flags=cv2.INTER_LINEAR), np.uint8
    )


def move_instance(
    instance: Instance, matrix: Affine, size: Sequence[int], config: AugmentConfig
) -> Instance | None:
    """Moves an object into the view and cuts it at the border; None if too little is left."""
    moved = [apply_affine(matrix, part) for part in instance.parts]
    parts = _cut(moved, size)
    before, area = (sum(abs(signed_area(part)) for part in some) for some in (moved, parts))
    if area < max(config.min_area, config.min_visible * before):
        return None
    whole = instance.whole and _cut([apply_affine(matrix, part) for part in instance.whole], size)
    return replace(instance, parts=parts, whole=whole or None, truth=Truth())


def _cut(parts: Sequence[Polygon], size: Sequence[int]) -> tuple[Polygon, ...]:
    """What of polygons lies in a view of (height, width) px."""
    cut = (clip_polygon(part, size[1] + 1, size[0] + 1) for part in parts)  # edges bound it
    return tuple(part for part in cut if len(part) >= 3 and abs(signed_area(part)) > 1.0)


def make_view(
    rng: np.random.Generator,
    image: Image,
    instances: Sequence[Instance],
    config: AugmentConfig,
    origin: LabelOrigin = "corner",
) -> View:
    """Draws one view of an image.

    Args:
        rng: source of randomness.
        image: the image.
        instances: its objects.
        config: how views are drawn.
        origin: what the labels' (0, 0) is taken for, see `ModelConfig.label_origin`.
    """
    size = image.shape[:2]
    focus = rng.uniform((0.0, 0.0), (size[1], size[0]), (1, 2))
    if instances and rng.random() < 0.8:
        focus = np.concatenate(instances[int(rng.integers(len(instances)))].parts)
    matrix = draw_affine(rng, config, (size[0], size[1]), focus)
    labels = matrix if origin == "corner" else between_centres(matrix)
    moved = (move_instance(i, labels, config.size, config) for i in instances)
    return View(
        image=warp_image(image, matrix, config.size),
        instances=tuple(i for i in moved if i is not None),
    )


def change_colors(rng: np.random.Generator, image: Image, config: AugmentConfig) -> Image:
    """Changes brightness, contrast and saturation, and sometimes blurs."""
    change = _published_colors if config.colors == "published" else _tinted_colors
    changed = change(rng, image, config.color)
    if rng.random() < config.blur:
        blurred = cv2.GaussianBlur(changed, (3, 3), rng.uniform(0.4, 1.2))
        changed = np.asarray(blurred, np.uint8)
    return changed


def _tinted_colors(rng: np.random.Generator, image: Image, most: float) -> Image:
    brightness, contrast, saturation = 1 + rng.uniform(-most, most, 3)
    tint = 1 + rng.uniform(-0.25, 0.25, 3) * most
    grey = np.tile(_GREY, (3, 1))
    matrix = (
        contrast * brightness * tint[:, None] * (saturation * np.eye(3) + (1 - saturation) * grey)
    )
    level = (1 - contrast) * brightness * float(image.mean())
    changed = cv2.transform(image, np.concatenate([matrix, np.full((3, 1), level)], axis=1))
    return np.asarray(changed, np.uint8)


def _published_colors(rng: np.random.Generator, image: Image, most: float) -> Image:
    """The published changes; the result is rounded to whole levels in 0..255 (deviation)."""
    # Contrast and saturation blend with the grey of the image as it was, as CenterNet does.
    grey, mean = np.tile(_GREY, (3, 1)), _GREY @ image.reshape(-1, 3).mean(axis=0)
    matrix, level = np.eye(3), np.zeros(3)
    for change in rng.permutation(["brightness", "contrast", "saturation"]):
        factor = 1 + rng.uniform(-most, most)
        matrix, level = factor * matrix, factor * level
        if change == "contrast":
            level += (1 - factor) * mean
        elif change == "saturation":
            matrix += (1 - factor) * grey
    level += 255 * _LIGHT_AXES @ (_LIGHT_VALUES * rng.normal(0, _LIGHT, 3))
    changed = cv2.transform(image, np.concatenate([matrix, level[:, None]], axis=1))
    return np.asarray(changed, np.uint8)


def raster(parts: Sequence[Polygon], size: Sequence[int]) -> Image:
    """Mask of polygons in px with edges at the integers, uint8 [H, W] of 0 and 1."""
    mask = np.zeros((size[0], size[1]), np.uint8)
    for part in parts:
        low = np.clip(np.floor(part.min(axis=0)), 0, size[::-1]).astype(int)
        high = np.clip(np.ceil(part.max(axis=0)), 0, size[::-1]).astype(int)
        window = mask[low[1] : high[1], low[0] : high[0]]  # most objects are small
        window |= contour_to_mask(part - low - 0.5, *window.shape)
    return mask


def paste(view: View, image: Image, instance: Instance, config: AugmentConfig) -> View:
    """Lays an object of another view over this one; what it covers is no longer visible.

    Whole outlines stay: they go on behind the object.

    Args:
        view: the view below.
        image: the other view's pixels, of the same size.
        instance: the object, in the other view's px.
        config: thresholds for what is still learnt.
    """
    size = view.image.shape[:2]
    mask = raster(instance.parts, size)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0.7)[..., None]
    blended = view.image * (1 - soft) + image * soft
    kept = []
    for below in view.instances:
        seen = raster(below.parts, size)
        covered = seen & mask
        if not covered.any():
            kept.append(below)
            continue
        left = mask_to_polygons(seen & ~covered, min_area=16.0)
        area = sum(abs(signed_area(part)) for part in left)
        if area >= max(config.min_area, config.min_visible * seen.sum()):
            kept.append(replace(below, parts=tuple(part + 0.5 for part in left)))
    return View(image=blended.astype(np.uint8), instances=(*kept, instance))
