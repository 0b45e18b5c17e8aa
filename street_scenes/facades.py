"""House fronts, walls and hedges: textured upright rectangles along the street."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from street_scenes.camera import Camera
from street_scenes.light import Light
from street_scenes.street import Street, noise_tile

Image = NDArray[Any]
"""uint8 RGB."""

TEXEL_M = 0.06
SLOT_M = 15.0
NEAR_M = 0.3
WALLS = (
    (0.78, 0.72, 0.6), (0.62, 0.34, 0.25), (0.85, 0.83, 0.78), (0.55, 0.5, 0.46), (0.7, 0.55, 0.4),
    (0.5, 0.28, 0.22), (0.66, 0.68, 0.7), (0.82, 0.74, 0.66), (0.45, 0.47, 0.5),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Wall:
    """An upright rectangle.

    Attributes:
        start: World `(x, y)` of the left lower corner as seen from the street, m.
        end: World `(x, y)` of the right lower corner, m.
        height: m.
        seed: Seed of the texture.
        kind: `front`, `blank` (an end wall) or `hedge`.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    height: float
    seed: int
    kind: str

    def distance(self, camera: Camera) -> float:
        """Distance of the middle from the camera, m."""
        x = (self.start[0] + self.end[0]) / 2 - camera.position[0]
        y = (self.start[1] + self.end[1]) / 2 - camera.position[1]
        return float(np.hypot(x, y))


def walls_near(street: Street, along: float, ahead: float, behind: float) -> Iterator[Wall]:
    """Every wall along both sides of a stretch of the street."""
    first, last = int((along - behind) // SLOT_M), int((along + ahead) // SLOT_M)
    for slot in range(first, last + 1):
        for side in (-1, 1):
            yield from _slot_walls(street, slot, side)


def _slot_walls(street: Street, slot: int, side: int) -> Iterator[Wall]:
    rng = np.random.default_rng([street.seed, 71 + side, slot + (1 << 20)])
    # A few designs and heights let the cache serve most houses.
    seed = int(rng.integers(40))
    low, high = slot * SLOT_M, (slot + 1) * SLOT_M
    gap = 0.0 if rng.random() < street.town else float(rng.uniform(2, 6))
    low, high = low + gap / 2, high - gap / 2
    floors = int(rng.integers(3, 7)) if rng.random() < street.town else int(rng.integers(1, 4))
    height = 3.1 * floors + 1.1
    back = float(rng.uniform(0, 2.5)) * (1 - street.town)
    front = side * (street.facade + back)
    deep = side * (street.facade + back + 12)
    if rng.random() > 0.45 + 0.55 * street.town:
        height, front = 0.0, deep
    # Seen from the street the left end comes first: towards x on the left side, back on the right.
    ends = (low, high) if side > 0 else (high, low)
    if height:
        yield _wall(street, (ends[0], deep), (ends[0], front), height, seed, "blank")
        yield _wall(street, (ends[1], front), (ends[1], deep), height, seed, "blank")
        yield _wall(street, (ends[0], front), (ends[1], front), height, seed, "front")
    if not height or (street.setback > 2 and rng.random() < 0.7):
        edge = side * (street.kerb + street.pavement + 0.3)
        low, high = slot * SLOT_M, (slot + 1) * SLOT_M
        ends = (low, high) if side > 0 else (high, low)
        yield _wall(street, (ends[0], edge), (ends[1], edge), float(rng.choice([0.9, 1.3, 1.8])),
                    seed % 7, "hedge")  # fmt: skip


def _wall(
    street: Street, start: tuple[float, float], end: tuple[float, float], height: float,
    seed: int, kind: str,
) -> Wall:  # fmt: skip
    return Wall(
        start=street.place(*start), end=street.place(*end), height=height, seed=seed, kind=kind
    )


def paint_wall(canvas: Image, wall: Wall, camera: Camera, light: Light) -> None:
    """Paint a wall onto an image, uint8 `[H, W, 3]`, in place, if its face is seen."""
    start, end = np.array([*wall.start, 0.0]), np.array([*wall.end, 0.0])
    run = end - start
    normal = np.array([run[1], -run[0], 0.0]) / np.linalg.norm(run)
    eye = np.asarray(camera.position)
    if (eye - start) @ normal <= 0.05:
        return
    top = np.array([0, 0, wall.height])
    outline = _clip_near(np.stack([start, end, end + top, start + top]), camera)
    if outline is None:
        return
    window = _window(outline, camera)
    if window is None:
        return
    left, top_row, right, bottom = window
    texture = _fitted(_texture(wall.kind, wall.seed, round(wall.height / TEXEL_M)), outline)
    rows, columns = texture.shape[:2]
    axes = np.stack([run / columns, -top / rows, start + top - eye], 1)
    shift = np.array([[1, 0, -left], [0, 1, -top_row], [0, 0, 1.0]])
    homography = shift @ camera.matrix @ camera.rotation @ axes
    size = (right - left, bottom - top_row)
    picture = cv2.warpPerspective(
        texture, homography, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    _composite(canvas, _lit(picture, normal, wall.distance(camera), light), outline, window)


def _clip_near(corners: NDArray[np.float64], camera: Camera) -> NDArray[np.float64] | None:
    """Project the part of a polygon that lies before the camera, image px `[P, 2]`."""
    _, depth = camera.project(corners)
    kept: list[NDArray[np.float64]] = []
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        if depth[i] > NEAR_M:
            kept.append(corners[i])
        if (depth[i] > NEAR_M) != (depth[j] > NEAR_M):
            share = (NEAR_M - depth[i]) / (depth[j] - depth[i])
            kept.append(corners[i] + share * (corners[j] - corners[i]))
    if len(kept) < 3:
        return None
    return np.clip(camera.project(np.stack(kept))[0], -20000, 20000)


def _window(outline: NDArray[np.float64], camera: Camera) -> tuple[int, int, int, int] | None:
    low, high = np.floor(outline.min(0)) - 1, np.ceil(outline.max(0)) + 2
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    right, bottom = min(int(high[0]), camera.width), min(int(high[1]), camera.height)
    return (left, top, right, bottom) if right > left and bottom > top else None


def _fitted(texture: Image, outline: NDArray[np.float64]) -> Image:
    """The texture shrunk to about the size at which it is seen, against flicker."""
    extent = np.ptp(outline, axis=0)
    rows, columns = texture.shape[:2]
    wanted = (
        int(np.clip(extent[0] * 1.3, 4, columns)),
        int(np.clip(extent[1] * 1.3, 4, rows)),
    )
    if wanted == (columns, rows):
        return texture
    return np.asarray(cv2.resize(texture, wanted, interpolation=cv2.INTER_AREA), np.uint8)


def _lit(picture: Image, normal: NDArray[np.float64], distance: float, light: Light) -> Image:
    sunlit = max(float(normal @ light.sun_direction), 0.0)
    level = np.asarray(light.sky) * 0.95 + np.asarray(light.sun) * sunlit
    haze = 1 - np.exp(-distance / light.haze_m)
    gain, offset = level * (1 - haze), np.asarray(light.horizon) * haze * 255
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table[:, None].reshape(256, 1, 3)), np.uint8)


def _composite(
    canvas: Image,
    picture: Image,
    outline: NDArray[np.float64],
    window: tuple[int, int, int, int],
) -> None:
    left, top, right, bottom = window
    mask = np.zeros(picture.shape[:2], np.uint8)
    fixed = np.round((outline - (left, top)) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, fixed, 255, cv2.LINE_AA, 4)
    region = canvas[top:bottom, left:right]
    alpha = cv2.merge([mask] * 3)
    kept = cv2.multiply(region, cv2.bitwise_not(alpha), scale=1 / 255)
    region[:] = cv2.add(kept, cv2.multiply(picture, alpha, scale=1 / 255))


@lru_cache(maxsize=256)
def _texture(kind: str, seed: int, rows: int) -> Image:
    """Albedo of a wall, uint8 `[rows, 220, 3]`, top row first, for walls some 13 m long."""
    columns = round(13 / TEXEL_M)
    rng = np.random.default_rng([seed, 81])
    if kind == "hedge":
        return _leaves(rng, columns, rows)
    color = np.array(WALLS[rng.integers(len(WALLS))]) * rng.uniform(0.85, 1.1)
    grain = noise_tile(7, 512, 0.7)
    tiles = np.tile(grain, (rows // 512 + 1, columns // 512 + 1))[:rows, :columns]
    wall = color * (1 + 0.05 * tiles[..., None])
    wall *= np.linspace(1.03, 0.9, rows)[:, None, None]
    picture: Image = np.clip(wall * 255, 0, 255).astype(np.uint8)
    if kind == "front":
        _add_windows(picture, rng)
        _add_ground_floor(picture, rng)
    picture[: max(rows // 60, 3)] = np.clip(color * 140, 0, 255)
    return picture


def _leaves(rng: np.random.Generator, columns: int, rows: int) -> Image:
    grain = rng.normal(0, 1, (rows, columns)).astype(np.float32)
    noise = cv2.GaussianBlur(grain, (0, 0), 0.9)
    level = 0.8 + 0.28 * noise + np.linspace(0.25, -0.25, rows, dtype=np.float32)[:, None]
    color = level[..., None] * np.array([58, 84, 34])
    return np.asarray(np.clip(color, 0, 255), np.uint8)


def _add_windows(picture: Image, rng: np.random.Generator) -> None:
    rows, columns = picture.shape[:2]
    storey, pitch = round(3.1 / TEXEL_M), round(rng.uniform(2.1, 3.4) / TEXEL_M)
    wide, high = round(rng.uniform(1.0, 1.5) / TEXEL_M), round(rng.uniform(1.3, 1.9) / TEXEL_M)
    frame = np.array([0.9, 0.9, 0.88]) if rng.random() < 0.7 else np.array([0.25, 0.2, 0.17])
    count = max((columns - pitch // 2) // pitch, 0)
    margin = (columns - count * pitch + pitch - wide) // 2
    for sill in range(rows - storey - round(0.9 / TEXEL_M), high, -storey):
        for number in range(count):
            _add_window(picture, margin + number * pitch, sill - high, wide, high, frame, rng)
        ledge = picture[sill + 12 : sill + 15]
        ledge[:] = np.clip(ledge * 1.12, 0, 255).astype(np.uint8)


def _add_window(
    picture: Image, left: int, top: int, wide: int, high: int, frame: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    pane = picture[max(top, 0) : top + high, left : left + wide]
    if pane.size == 0:
        return
    glass = np.array([38, 46, 56]) + rng.uniform(0, 40)
    shade = np.linspace(1.35, 0.75, pane.shape[0])[:, None, None]
    pane[:] = np.clip(glass * shade, 0, 255)
    if rng.random() < 0.3:
        pane[: int(pane.shape[0] * rng.uniform(0.3, 1))] = rng.uniform(120, 205)
    border = np.clip(frame * 215, 0, 255)
    pane[:2], pane[-2:], pane[:, :2], pane[:, -2:] = border, border, border, border
    middle = pane.shape[1] // 2
    pane[:, middle : middle + 1] = border
    under = picture[top + high : top + high + 2, max(left - 1, 0) : left + wide + 1]
    under[:] = np.clip(under * 1.25, 0, 255)


def _add_ground_floor(picture: Image, rng: np.random.Generator) -> None:
    """A shop, or a door among windows."""
    rows, columns = picture.shape[:2]
    meter = round(1 / TEXEL_M)
    floor = rows - round(2.9 * meter)
    if rng.random() < 0.5 or floor < 0:
        door = int(rng.integers(meter, max(columns - 2 * meter, meter + 1)))
        picture[rows - round(2.2 * meter) :, door : door + meter] = rng.uniform(35, 110, 3)
        frame = np.array([0.9, 0.9, 0.88])
        for left in range(meter, columns - 2 * meter, round(2.6 * meter)):
            if abs(left - door) > 1.6 * meter:
                top = rows - round(2.3 * meter)
                _add_window(picture, left, top, round(1.3 * meter), round(1.4 * meter), frame, rng)
        return
    picture[floor:] = rng.uniform(60, 150)
    sign = rng.uniform(30, 200, 3)
    picture[floor : floor + round(0.5 * meter)] = sign
    letters = slice(floor + round(0.16 * meter), floor + round(0.36 * meter))
    start = int(rng.integers(meter, max(columns // 2, meter + 1)))
    for left in range(start, min(start + 3 * meter, columns), 7):
        picture[letters, left : left + int(rng.integers(3, 6))] = 235
    for left in range(4, columns - meter, 2 * meter):
        pane = picture[floor + round(0.6 * meter) : rows - round(0.45 * meter), left:][
            :, : 2 * meter - 4
        ]
        shade = np.linspace(1.3, 0.8, pane.shape[0])[:, None, None]
        pane[:] = np.clip(np.array([52, 56, 60]) * shade * rng.uniform(0.7, 1.5), 0, 255)
