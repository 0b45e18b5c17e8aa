"""From a street with actors to an image with exact outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from street_scenes.actors import HALF_SIZE_M, Actor
from street_scenes.camera import Camera
from street_scenes.facades import paint_wall, walls_near
from street_scenes.ground import (
    ground_shadow,
    paint_ground,
    paint_sky,
    paint_skyline,
)
from street_scenes.light import Light
from street_scenes.mesh import Mesh
from street_scenes.order import paint_order
from street_scenes.outline import Silhouette, trace
from street_scenes.props import paint_prop, props_near
from street_scenes.raster import Patch, blend, paint_mesh
from street_scenes.scene import STREET_CLASSES, SyntheticInstance, SyntheticScene
from street_scenes.street import Street

VIEW_AHEAD_M = 150.0
VIEW_BEHIND_M = 10.0
MIN_PX_PER_M = 5.0
"""Objects that would be smaller (a person of eight pixels) are left out of the image."""


@dataclass(frozen=True, kw_only=True)
class _Thing:
    """Something painted that stands on the ground: an actor with its outline, or a prop."""

    patch: Patch
    footprint: NDArray[np.float64]
    depth: float = 0.0
    actor: Actor | None = None
    outline: Silhouette | None = None
    mesh: Mesh | None = None


def render(
    camera: Camera,
    light: Light,
    street: Street,
    actors: Sequence[Actor],
    *,
    seed: int,
    noise_seed: int = 0,
    min_area: float = 12.0,
) -> SyntheticScene:
    """Render a scene.

    Args:
        camera: The camera.
        light: The weather.
        street: The street.
        actors: Objects on it.
        seed: Seed of the sky and the lens.
        noise_seed: Seed of the sensor's noise, such as the number of the frame.
        min_area: Objects with a smaller amodal area, px^2, are left out of the image.

    Returns:
        The image and its instances, nearest first.
    """
    things = [t for actor in actors if (t := _paint_actor(actor, camera, light, min_area))]
    canvas = _background(camera, light, street, [t.mesh for t in things if t.mesh], seed)
    things += _props(street, camera, light)
    windows = np.array([thing.patch.window for thing in things]).reshape(-1, 4)
    footprints = np.array([thing.footprint for thing in things]).reshape(-1, 4, 2)
    order = paint_order(footprints, camera.position[:2], _touching(windows))
    owners = np.zeros((camera.height, camera.width), np.int32)
    for index in order:
        blend(canvas, things[index].patch)
        _claim(owners, things[index], index + 1)
    instances = [_instance(things[index], index + 1, owners) for index in reversed(order)]
    shown = tuple(i for i in instances if i is not None and i.visible_mask.any())
    return SyntheticScene(
        image_rgb=expose(canvas, seed, noise_seed), instances=shown, camera=camera
    )


def _background(
    camera: Camera, light: Light, street: Street, meshes: list[Mesh], seed: int
) -> NDArray[np.uint8]:
    canvas = paint_sky(camera, light, seed=seed)
    paint_skyline(canvas, camera, light, seed=seed)
    hulls = [_shadow_hulls(mesh, light) for mesh in meshes]
    paint_ground(canvas, camera, light, street, ground_shadow(camera, light, hulls))
    walls = list(walls_near(street, camera.position[0], VIEW_AHEAD_M, VIEW_BEHIND_M))
    for wall in sorted(walls, key=lambda wall: -wall.distance(camera)):
        paint_wall(canvas, wall, camera, light)
    return canvas


def _props(street: Street, camera: Camera, light: Light) -> list[_Thing]:
    things = []
    for prop in props_near(street, camera.position[0], VIEW_AHEAD_M * 0.8, VIEW_BEHIND_M):
        patch = paint_prop(prop, camera, light)
        if patch is not None:
            corners = np.array([(-0.2, -0.2), (0.2, -0.2), (0.2, 0.2), (-0.2, 0.2)])
            things.append(_Thing(patch=patch, footprint=corners + np.array([prop.x, prop.y])))
    return things


def _paint_actor(actor: Actor, camera: Camera, light: Light, min_area: float) -> _Thing | None:
    if not _in_sight(actor, camera):
        return None
    _, depth = camera.project(np.array([actor.x, actor.y, 0.8]))
    mesh = actor.mesh(camera.focal_px / max(float(depth), 1.0))
    patch = paint_mesh(mesh, camera, light, side=actor.side_of(*camera.position[:2]))
    outline = trace(patch) if patch else None
    if patch is None or outline is None or outline.area < min_area:
        return None
    return _Thing(
        patch=patch,
        footprint=actor.footprint(),
        depth=float(depth),
        actor=actor,
        outline=outline,
        mesh=mesh,
    )


def _in_sight(actor: Actor, camera: Camera) -> bool:
    """Whether the actor can be in the image at all; spares building most of them."""
    offset = np.array([actor.x, actor.y, 0.0]) - camera.position
    right, _, ahead = camera.rotation @ offset
    radius = np.hypot(*HALF_SIZE_M[actor.kind])
    half_view = np.arctan(camera.width / 2 / camera.focal_px)
    beyond = abs(right) * np.cos(half_view) - ahead * np.sin(half_view)
    farthest = min(VIEW_AHEAD_M, camera.focal_px / MIN_PX_PER_M)
    return bool(-radius < ahead < farthest and beyond < radius)


def _touching(windows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`[N, N]`: whether two windows `[N, 4]` (left, top, right, bottom) overlap."""
    low, high = windows[:, :2], windows[:, 2:]
    overlap = np.all(low[:, None] < high[None], axis=-1)
    return np.asarray(np.logical_and(overlap, overlap.T))


def _shadow_hulls(mesh: Mesh, light: Light) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sun = np.asarray(light.sun_direction)
    shadow = mesh.vertices - mesh.vertices[:, 2:] / sun[2] * sun
    footprint = mesh.vertices[mesh.vertices[:, 2] < 0.3] * [1, 1, 0]
    return _hull(shadow), _hull(footprint)


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(points) < 3:  # A rider does not touch the ground.
        return np.zeros((0, 3))
    hull = cv2.convexHull(points[:, :2].astype(np.float32))[:, 0]
    return np.column_stack([hull, np.zeros(len(hull))]).astype(np.float64)


def _claim(owners: NDArray[np.int32], thing: _Thing, index: int) -> None:
    """Mark the pixels that a thing covers as its own; those of a prop as nobody's."""
    if thing.outline is None:
        _erase(owners, thing.patch)
        return
    region = _region(owners, thing.outline)
    region[thing.outline.mask > 0] = index


def _erase(owners: NDArray[np.int32], patch: Patch) -> None:
    left, top, right, bottom = patch.window
    alpha = cv2.extractChannel(patch.rgba, 3)
    small = cv2.resize(alpha, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    owners[top:bottom, left:right][small > 127] = 0


def _region(owners: NDArray[np.int32], outline: Silhouette) -> NDArray[np.int32]:
    rows, columns = outline.mask.shape
    return owners[outline.top : outline.top + rows, outline.left : outline.left + columns]


def _instance(thing: _Thing, index: int, owners: NDArray[np.int32]) -> SyntheticInstance | None:
    if thing.actor is None or thing.outline is None:
        return None
    outline, (height, width) = thing.outline, owners.shape
    visible = (_region(owners, outline) == index).astype(np.uint8)
    low, high = outline.polygon.min(0), outline.polygon.max(0)
    name = thing.actor.class_name
    return SyntheticInstance(
        class_name=name,
        category_id=STREET_CLASSES[name],
        amodal=outline.polygon,
        visible_mask=visible,
        visible_window=(outline.left, outline.top),
        track_id=thing.actor.track_id,
        depth=thing.depth,
        occlusion=1 - int(visible.sum()) / max(int(outline.mask.sum()), 1),
        truncated=bool((low <= 0).any() or high[0] >= width - 1 or high[1] >= height - 1),
        vehicle_id=thing.actor.vehicle_id,
    )


def expose(image: NDArray[np.uint8], seed: int, noise_seed: int) -> NDArray[np.uint8]:
    """The image as a cheap camera would take it: lens blur, exposure, tint, curve and noise."""
    rng = np.random.default_rng([seed, 41])
    soft = cv2.GaussianBlur(image, (3, 3), float(rng.uniform(0.4, 0.7)))
    gain = float(rng.uniform(0.92, 1.12)) * (1 + rng.uniform(-0.03, 0.03, 3))
    curve = np.arange(256)[:, None] / 255 * gain
    table = np.clip(255 * curve ** float(rng.uniform(0.88, 1.02)), 0, 255).astype(np.uint8)
    toned = cv2.LUT(soft, table.reshape(256, 1, 3))
    strength = int(rng.integers(2, 6))
    grain = np.random.default_rng([seed, 42, noise_seed])
    noise = grain.integers(0, 2 * strength + 1, image.shape, dtype=np.uint8)
    lifted = cv2.add(toned, noise)
    return np.asarray(cv2.subtract(lifted, np.full_like(noise, strength)), np.uint8)
