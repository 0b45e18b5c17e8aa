"""Sky and ground, computed per pixel."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from street_scenes.camera import Camera
from street_scenes.light import Light
from street_scenes.street import Street, noise_tile

Image = NDArray[Any]
"""uint8 values."""
Plane = NDArray[Any]
"""Floating-point values per pixel or per entry of a table."""

LUT_STEP_M = 0.02
LUT_HALF_M = 40.96
FAR_M = 400.0


def paint_sky(camera: Camera, light: Light, *, seed: int, drift: float = 0.0) -> Image:
    """Sky with clouds for the whole image, uint8 `[H, W, 3]`."""
    rays = cv2.resize(camera.rays, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    up = np.clip(rays[..., 2] / np.linalg.norm(rays, axis=2), 0.0, 1.0)
    blend = (1 - (1 - up) ** 4)[..., None]
    sky = np.asarray(light.horizon, np.float32) * (1 - blend)
    sky += np.asarray(light.zenith, np.float32) * blend
    height = np.maximum(up, 0.03)
    tile = noise_tile(seed % 4 + 100, 512, 1.7)
    x = rays[..., 0] / height * 60 + drift + seed % 997
    y = rays[..., 1] / height * 60 + seed % 641
    noise = _sample(tile, x, y)
    amount = np.clip((noise - 1.2 + 2.4 * light.clouds) * 0.9, 0, 1) * np.clip(up * 9, 0, 1)
    lit = 0.93 - 0.16 * np.clip(noise - 0.6, 0, 1)
    cloud = lit[..., None] * (0.5 + 0.5 * np.asarray(light.horizon, np.float32))
    amount = amount[..., None] * 0.9
    sky = sky * (1 - amount) + cloud * amount
    small = np.clip(sky * 255, 0, 255).astype(np.uint8)
    size = (camera.width, camera.height)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR))


def paint_skyline(canvas: Image, camera: Camera, light: Light, *, seed: int) -> None:
    """Hazy woods and roofs where sky and ground meet, in place."""
    rays = camera.rays[camera.height // 2]
    bearing = np.arctan2(rays[:, 1], rays[:, 0]) * 400
    tile = noise_tile(seed % 4 + 200, 512, 1.1)
    level = -camera.rotation[2, 2] / camera.rotation[1, 2] * -camera.focal_px
    horizon = camera.matrix[1, 2] + level
    for number, (rise, fade) in enumerate(((0.045, 0.75), (0.028, 0.5))):
        row = np.zeros_like(bearing) + 37 * number
        noise = _sample(tile, bearing[None], row[None])[0]
        top = horizon - camera.focal_px * rise * (1 + 0.35 * noise)
        color = np.array([0.2, 0.27, 0.19]) * np.asarray(light.sky) * 1.3
        color = color * (1 - fade) + np.asarray(light.horizon) * fade
        columns = np.arange(camera.width)
        edge = np.concatenate([columns, [camera.width, 0]]), np.append(top, [horizon + 3] * 2)
        outline = np.round(np.stack(edge, 1) * 16).astype(np.int32)
        cv2.fillPoly(canvas, [outline], (color * 255).tolist(), cv2.LINE_AA, 4)


def _sample(tile: Plane, x: Plane, y: Plane) -> Plane:
    """Bilinear look-up in a tile that repeats."""
    size = np.float32(tile.shape[0])
    return cv2.remap(
        tile,
        np.asarray(np.mod(x, size), np.float32),
        np.asarray(np.mod(y, size), np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def paint_ground(
    canvas: Image, camera: Camera, light: Light, street: Street, shadow: Image
) -> None:
    """Paint road, kerbs, pavements and verges below the horizon, in place.

    Args:
        canvas: uint8 `[H, W, 3]`.
        camera: The camera.
        light: The weather.
        street: The street.
        shadow: uint8 `[H, W]`, share of the light that is missing, 0..255.
    """
    sink = -camera.rays[:, 0, 2]
    first = int(np.argmax(sink > camera.position[2] / FAR_M))
    if sink[first] <= 0:
        return
    rays = camera.rays[first:]
    distance = (camera.position[2] / sink[first:])[:, None]
    along = camera.position[0] + rays[..., 0] * distance
    across = camera.position[1] + rays[..., 1] * distance - _course(street, along)
    ground = _cross_section(street, across, distance / camera.focal_px)
    ground += _markings(street, along, across, distance, camera)[..., None]
    ground *= _texture(street, along, across, distance)[..., None]
    light_level = np.asarray(light.sky) + np.asarray(light.sun) * light.sun_direction[2]
    dark = 1 - shadow[first:, :, None].astype(np.float32) / 255
    ground *= light_level.astype(np.float32) * dark
    haze = (1 - np.exp(-distance / light.haze_m)).astype(np.float32)[..., None]
    ground = ground * (1 - haze) + np.asarray(light.horizon, np.float32) * haze
    canvas[first:] = np.clip(ground * 255, 0, 255).astype(np.uint8)


def _course(street: Street, along: Plane) -> Plane:
    """World y of the centre line, by table: sines of every pixel are dear."""
    low, high = float(along.min()) - 1, float(along.max()) + 1
    samples = np.linspace(low, high, 2048)
    table = street.center(samples).astype(np.float32)
    position = (along - low) * np.float32(2047 / (high - low))
    row = table[None]
    return cv2.remap(row, position, np.zeros_like(position), cv2.INTER_LINEAR)


@lru_cache(maxsize=16)
def _profile(street: Street) -> Plane:
    """Albedo across the street at eight levels of blur, `[8, P, 3]`."""
    across = np.arange(-LUT_HALF_M, LUT_HALF_M, LUT_STEP_M)
    away = np.abs(across)
    rng = np.random.default_rng([street.seed, 21])
    asphalt = rng.uniform(0.27, 0.4) * np.array([1, 1, 1.02])
    slabs = rng.uniform(0.42, 0.55) * np.array([1.02, 1, 0.95])
    grass = np.array([0.24, 0.33, 0.13]) * rng.uniform(0.8, 1.2)
    colors = np.tile(asphalt, (len(across), 1))
    wheel_tracks = 0.93 + 0.07 * np.cos(away / street.lane_width * 4 * np.pi)
    colors *= np.where(away < street.kerb, wheel_tracks, 1)[:, None]
    lanes = street.lanes * street.lane_width
    if street.cycling and street.seed % 3:
        colors[(away > lanes) & (away < lanes + street.cycling)] = asphalt * (1.45, 0.8, 0.7)
    colors[away > street.kerb - 0.3] = asphalt * 0.85
    colors[away > street.kerb] = (0.58, 0.57, 0.55)
    colors[away > street.kerb + 0.16] = slabs
    verge = street.facade if street.town > 0.45 else street.kerb + street.pavement
    colors[away > verge] = slabs * 0.8 if street.town > 0.45 else grass
    if street.lanes == 1 or street.parking == 0:
        colors[np.abs(away - street.kerb + 0.35) < 0.06] = 0.7
    levels: list[Plane] = [colors]
    for level in range(1, 8):
        width = 2 ** (level + 1) + 1
        levels.append(cv2.blur(colors, (1, width)))
    return np.stack(levels).astype(np.float32)


def _cross_section(street: Street, across: Plane, footprint: Plane) -> Plane:
    profile = _profile(street)
    column = (across + np.float32(LUT_HALF_M)) / np.float32(LUT_STEP_M)
    level = np.clip(np.log2(np.maximum(footprint / LUT_STEP_M, 1.0)), 0, 7)
    row = np.broadcast_to(level, across.shape).astype(np.float32)
    return cv2.remap(profile, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _markings(
    street: Street, along: Plane, across: Plane, distance: Plane, camera: Camera
) -> Plane:
    """Brightness added by lane lines and zebra crossings."""
    footprint = (distance / camera.focal_px).astype(np.float32)
    reach = (distance * footprint / camera.position[2]).astype(np.float32)
    paint = np.zeros_like(across)
    dash = _stripe(np.mod(along, 9.0) - 2, 3.0, reach)
    for lane in range(1 - street.lanes, street.lanes):
        offset = np.abs(across - lane * street.lane_width)
        paint += _stripe(offset, 0.13, footprint) * (dash if lane or street.town < 0.7 else 1)
    lanes = street.lanes * street.lane_width
    borders = [lanes, lanes + street.cycling]
    for border in borders[not street.cycling : 2 if street.parking else 1]:
        paint += 0.7 * _stripe(np.abs(np.abs(across) - border), 0.12, footprint)
    crossing = np.mod(along - (street.seed % 50), 70.0) - 35
    zebra = _stripe(crossing, 3.2, reach) * _stripe(np.mod(across, 1.0) - 0.5, 0.5, footprint)
    on_road = np.abs(across) < street.kerb - 0.4
    paint = np.where(np.abs(crossing) < 1.8, zebra * on_road, paint)
    return np.clip(paint, 0, 1) * 0.42


def _stripe(offset: Plane, width: float, footprint: Plane) -> Plane:
    """Share of a pixel that a stripe around offset 0 covers, 0..1."""
    blurred = np.maximum(footprint, 0.02)
    cover = (width / 2 - np.abs(offset)) / blurred + 0.5
    return np.clip(cover, 0, 1) * np.minimum(1, width / blurred)


def _texture(street: Street, along: Plane, across: Plane, distance: Plane) -> Plane:
    """Grain of the asphalt, patches and stains; factors around 1."""
    tile = noise_tile(street.seed % 5, 512, 0.6)
    near = (0.13 / (1 + distance / 9)).astype(np.float32)
    grain = _sample(tile, along * 38, across * 38) * near
    stains = _sample(tile, along * 3.1, across * 7) * np.float32(0.045)
    slabs = np.abs(across) > street.kerb + 0.16
    joint = np.minimum(np.mod(along, 0.6), np.mod(across, 0.6)) < 0.02
    gaps = (joint & slabs) * np.clip(0.22 - distance / 90, 0, 1).astype(np.float32)
    return 1 + grain + stains - gaps


def ground_shadow(
    camera: Camera,
    light: Light,
    hulls: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> Image:
    """Shadows on the ground, uint8 `[H, W]`, share of the light that is missing.

    Args:
        camera: The camera.
        light: The weather.
        hulls: For every object its shadow in the sun and its footprint, world `[P, 3]`, z = 0.
    """
    sunny, contact = (np.zeros((camera.height, camera.width), np.uint8) for _ in range(2))
    for shadow, footprint in hulls:
        _fill(sunny, camera, shadow, light.shadow_strength)
        _fill(contact, camera, footprint, 0.75)
    sharp = cv2.GaussianBlur(sunny, (0, 0), 1.0)
    soft = cv2.GaussianBlur(contact, (0, 0), camera.height / 160)
    return cv2.max(sharp, soft)


def _fill(mask: Image, camera: Camera, outline: NDArray[np.float64], level: float) -> None:
    pixels, depth = camera.project(outline)
    if len(outline) < 3 or depth.min() < 0.3:
        return
    hull = cv2.convexHull(np.clip(pixels, -4000, 8000).astype(np.float32))
    fixed = np.round(hull * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, fixed, int(level * 255), cv2.LINE_AA, 4)
