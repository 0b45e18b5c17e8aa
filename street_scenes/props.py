"""Trees, lamp posts and signs: things without a class that can stand before objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from street_scenes.camera import Camera
from street_scenes.light import Light
from street_scenes.mesh import Color, Mesh, box, ellipsoid, join, limbs
from street_scenes.raster import Patch, paint_mesh
from street_scenes.street import Street

PropKind = Literal["tree", "lamp", "sign"]
SPRITE_WIDTH, SPRITE_HEIGHT = 192, 256
GREY: Color = (0.34, 0.35, 0.36)


@dataclass(frozen=True, kw_only=True)
class Prop:
    """A tree, lamp post or sign at world `(x, y)`, m."""

    kind: PropKind
    x: float
    y: float
    height: float
    seed: int
    side: int


def props_near(street: Street, along: float, ahead: float, behind: float) -> Iterator[Prop]:
    """Everything without a class along a stretch of the street."""
    rng = np.random.default_rng([street.seed, 91])
    trees, lamps = float(rng.uniform(8, 16)), float(rng.uniform(24, 34))
    share = float(rng.uniform(0.15, 0.9))
    rows: list[tuple[PropKind, float, float, int]] = [
        ("tree", trees, share, 0), ("lamp", lamps, 1.0, 1), ("sign", 37.0, 0.5, 2),
    ]  # fmt: skip
    for kind, spacing, likely, number in rows:
        for slot in range(int((along - behind) // spacing), int((along + ahead) // spacing) + 1):
            for side in (-1, 1):
                rng = np.random.default_rng([street.seed, 93 + number, slot + (1 << 20), side + 1])
                if rng.random() < likely:
                    yield _prop(street, kind, slot * spacing, side, rng)


def _prop(
    street: Street, kind: PropKind, along: float, side: int, rng: np.random.Generator
) -> Prop:
    inset = 0.7 if kind != "tree" or street.pavement > 3.4 else street.pavement + 1.2
    across = side * (street.kerb + inset)
    x, y = street.place(along + float(rng.uniform(-1.5, 1.5)), across)
    height = {"tree": float(rng.uniform(5, 9)), "lamp": 6.5, "sign": 2.6}[kind]
    return Prop(kind=kind, x=x, y=y, height=height, seed=int(rng.integers(1 << 30)), side=side)


def paint_prop(prop: Prop, camera: Camera, light: Light) -> Patch | None:
    """Paint a prop; None when it is out of sight."""
    if prop.kind == "tree":
        return _paint_tree(prop, camera, light)
    mesh = _lamp(prop.side) if prop.kind == "lamp" else _sign(prop.seed % 4)
    return paint_mesh(mesh.moved(prop.x, prop.y), camera, light)


@lru_cache(maxsize=2)
def _lamp(side: int) -> Mesh:
    pole = np.array([[0, 0, 0], [0, 0, 6.3]])
    arm = np.array([[0, 0, 6.25], [0, -side * 1.6, 6.5]])
    starts, ends = np.stack([pole[0], arm[0]]), np.stack([pole[1], arm[1]])
    radii = np.array([[0.09, 0.06], [0.05, 0.04]])
    head = box((0.24, 0.6, 0.1), (0, -side * 1.7, 6.48), (0.5, 0.5, 0.5))
    return join([limbs(starts, ends, radii, [GREY, GREY], sides=6), head])


@lru_cache(maxsize=4)
def _sign(kind: int) -> Mesh:
    ends = (np.array([[0.0, 0, 0]]), np.array([[0.0, 0, 2.2]]))
    pole = limbs(*ends, np.array([[0.035, 0.035]]), [GREY], sides=5)
    blue, white, yellow = (0.05, 0.2, 0.6), (0.9, 0.9, 0.9), (0.9, 0.7, 0.08)
    green = (0.05, 0.35, 0.2)
    if kind == 3:
        rim, middle = (
            ellipsoid((0, 0, 2.3), (thick, size, size), color, rings=12, sides=4, layer=layer)
            for thick, size, color, layer in ((0.02, 0.36, white, 0), (0.03, 0.28, yellow, 1))
        )
        return join([pole, rim, middle])
    # Plain rectangles: a round one would pass for a clock, a ball or a stop sign.
    wide, high, color = ((0.5, 0.5, blue), (0.75, 0.3, green), (0.42, 0.62, blue))[kind]
    plate = box((0.03, wide, high), (0, 0, 2.25), white)
    field = box((0.04, wide - 0.06, high - 0.06), (0, 0, 2.25), color, layer=1)
    mark = box((0.05, wide * 0.35, high * 0.45), (0, 0, 2.25), white, layer=2)
    return join([pole, plate, field, mark])


def _paint_tree(prop: Prop, camera: Camera, light: Light) -> Patch | None:
    (foot, crown), depth = camera.project(
        np.array([[prop.x, prop.y, 0.0], [prop.x, prop.y, prop.height]])
    )
    # Closer, the flat picture of a tree would be seen for what it is.
    if depth.min() < 5:
        return None
    tall = foot[1] - crown[1]
    wide = tall * SPRITE_WIDTH / SPRITE_HEIGHT
    left, top = round(foot[0] - wide / 2), round(crown[1])
    width, height = max(round(wide), 2), max(round(tall), 3)
    if left >= camera.width or left + width <= 0 or top >= camera.height or top + height <= 0:
        return None
    how = cv2.INTER_AREA if height < SPRITE_HEIGHT else cv2.INTER_LINEAR
    sprite = cv2.resize(_tree(prop.seed % 12), (width, height), interpolation=how)
    x0, y0 = max(-left, 0), max(-top, 0)
    sprite = sprite[y0 : camera.height - top, x0 : camera.width - left]
    rgba = _lit_sprite(sprite, light, float(depth[0]))
    return Patch(left=left + x0, top=top + y0, scale=1, rgba=rgba)


def _lit_sprite(sprite: NDArray[Any], light: Light, distance: float) -> NDArray[np.uint8]:
    level = np.asarray(light.sky) * 0.9 + np.asarray(light.sun) * 0.55
    haze = 1 - np.exp(-distance / light.haze_m)
    gain = np.append(level * (1 - haze), 1.0)
    lit = sprite * gain.astype(np.float32)
    lit[..., :3] += sprite[..., 3:] * (np.asarray(light.horizon) * haze).astype(np.float32)
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


@lru_cache(maxsize=12)
def _tree(species: int) -> NDArray[np.uint8]:
    """A tree, uint8 RGBA `[256, 192, 4]`, premultiplied, lit from above."""
    rng = np.random.default_rng([species, 95])
    scale = 2
    size = np.array([SPRITE_WIDTH, SPRITE_HEIGHT]) * scale
    canvas = np.zeros((size[1], size[0], 4), np.uint8)
    center, crown = size[0] / 2, size[1] * rng.uniform(0.34, 0.4)
    bark = (70, 56, 44, 255)
    trunk = np.array([[center - 11, size[1]], [center + 11, size[1]],
                      [center + 7, crown], [center - 7, crown]])  # fmt: skip
    cv2.fillConvexPoly(canvas, trunk.astype(np.int32), bark, cv2.LINE_AA)
    for angle in (-0.7, -0.3, 0.35, 0.75):
        tip = (int(center + np.sin(angle) * 120), int(crown + 60 - np.cos(angle) * 120))
        cv2.line(canvas, (int(center), int(crown + 120)), tip, bark, 8, cv2.LINE_AA)
    leaf = np.array([[70, 100, 40], [84, 110, 48], [60, 88, 44], [110, 110, 50]])[species % 4]
    radii = np.array([rng.uniform(0.36, 0.46) * size[0], rng.uniform(0.27, 0.33) * size[1]])
    _leafage(canvas, rng, np.array([center, crown]), radii, leaf)
    small = cv2.resize(canvas, (SPRITE_WIDTH, SPRITE_HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _leafage(
    canvas: NDArray[np.uint8], rng: np.random.Generator, center: NDArray[np.float64],
    radii: NDArray[np.float64], leaf: NDArray[np.int64],
) -> None:  # fmt: skip
    """Clumps of leaves, the shaded ones first and the sunlit ones on top of them."""
    clumps = rng.normal(0, 0.42, (26, 2))
    clumps /= np.maximum(np.linalg.norm(clumps, axis=1, keepdims=True) / 0.75, 1)
    for stage in range(3):
        points = (clumps[:, None] + rng.normal(0, 0.13, (26, 70, 2))).reshape(-1, 2)
        points[:, 1] -= 0.09 * stage
        bright = 0.55 + 0.25 * stage - 0.28 * points[:, 1] + rng.normal(0, 0.11, len(points))
        colors = np.clip(leaf * bright[:, None], 0, 255)
        centers = (center + points * radii).astype(np.int64)
        sizes = rng.integers(3, 8, len(points))
        for (x, y), size, color in zip(
            centers.tolist(), sizes.tolist(), colors.tolist(), strict=True
        ):
            cv2.circle(canvas, (x, y), size, [*color, 255], -1, cv2.LINE_AA)
