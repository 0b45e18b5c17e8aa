"""Pedestrians and riders: jointed figures made of tubes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from street_scenes.looks import Look
from street_scenes.mesh import Color, Mesh, Points, ellipsoid, join, limbs, loft
from street_scenes.poses import Pose


def build_person(
    look: Look, pose: Pose, *, hip_height: float | None = None, detail: int = 2
) -> Mesh:
    """A figure facing x; its feet stand on the ground unless `hip_height` (m) is given.

    `detail` is 0 (for some ten pixels) to 3 (filling the image).
    """
    size = look.height
    joints = _Legs(look, pose)
    sides = (4, 5, 8, 12)[detail]
    parts = [_leg_limbs(look, joints, sides), _arm_limbs(look, pose, sides)]
    parts += [*_trunk(look, pose, joints, (6, 8, 12, 20)[detail]), *_head(look, pose, detail)]
    mesh = join(parts)
    lift = -float(mesh.vertices[:, 2].min()) if hip_height is None else hip_height - 0.52 * size
    return mesh.moved(0, 0, lift)


class _Legs:
    """Leg joints `[2, 3]` (left, right), for a pelvis at 0.52 of the height."""

    def __init__(self, look: Look, pose: Pose) -> None:
        size = look.height
        side = np.array([1.0, -1.0]) * 0.05 * size * look.build
        self.hips = np.stack([np.zeros(2), side, np.full(2, 0.51 * size)], 1)
        thigh, shin = 0.25 * size, 0.235 * size
        hip, knee = np.array(pose.hips), np.array(pose.hips) - np.array(pose.knees)
        out = np.array([[0, pose.straddle, 0], [0, -pose.straddle, 0]])
        self.knees = self.hips + thigh * _down(hip) + out
        self.ankles = self.knees + shin * _down(knee)
        self.heels = self.ankles - 0.02 * size * _forward(knee * 0.5)
        self.toes = self.ankles + 0.085 * size * _forward(knee * 0.5) - [0, 0, 0.022 * size]

    def reach(self, levels: Points) -> tuple[Points, Points]:
        """Hindmost and foremost x of the thighs at heights `[L]`, each `[L]`."""
        fall = np.minimum(self.knees[:, 2] - self.hips[:, 2], -0.05)
        share = np.clip((levels[:, None] - self.hips[:, 2]) / fall, 0, 1.3)
        x = self.hips[:, 0] + (self.knees[:, 0] - self.hips[:, 0]) * share
        return x.min(1), x.max(1)


def _down(angle: Points) -> Points:
    zero = np.zeros_like(angle)
    return np.stack([np.sin(angle), zero, -np.cos(angle)], -1)


def _forward(angle: Points) -> Points:
    zero = np.zeros_like(angle)
    return np.stack([np.cos(angle), zero, np.sin(angle)], -1)


def _leg_limbs(look: Look, joints: _Legs, sides: int) -> Mesh:
    size, build = look.height, look.build
    shin = look.skin if look.legs < 1 else look.bottom
    thigh = [0.053 * size * build, 0.037 * size * build]
    calf = [0.036 * size * build, 0.026 * size]
    foot = [0.028 * size, 0.021 * size]
    return limbs(
        np.concatenate([joints.hips, joints.knees, joints.heels]),
        np.concatenate([joints.knees, joints.ankles, joints.toes]),
        np.array([thigh, thigh, calf, calf, foot, foot]),
        [look.bottom, look.bottom, shin, shin, look.shoes, look.shoes],
        sides=sides,
    )


def _stack(
    levels: Points, deep: Points, wide: Points, shift: Points, color: Color, sides: int, layer: int
) -> Mesh:
    """Elliptic rings at heights, each shifted forward: trunks and skirts."""
    angles = np.arange(sides) * (2 * np.pi / sides)
    x = deep[:, None] * np.cos(angles) + shift[:, None]
    y = wide[:, None] * np.sin(angles)
    rings = np.stack([x, y, np.broadcast_to(levels[:, None], x.shape)], -1)
    return loft(rings, color, layer=layer)


def _trunk(look: Look, pose: Pose, joints: _Legs, sides: int) -> list[Mesh]:
    size, build = look.height, look.build
    levels = np.array([0.46, 0.5, 0.55, 0.61, 0.68, 0.75, 0.79, 0.815, 0.832, 0.845]) * size
    wide = np.array([0.06, 0.092, 0.1, 0.09, 0.098, 0.108, 0.105, 0.086, 0.058, 0.034])
    deep = np.array([0.045, 0.066, 0.07, 0.062, 0.068, 0.071, 0.062, 0.052, 0.042, 0.032])
    wide, deep = wide * size * build, deep * size * build
    shift = (levels - 0.52 * size) * np.tan(pose.lean)
    low, top = ([0, 2, 3], [2, 4, 6, 8, 9]) if sides < 8 else (slice(0, 4), slice(2, None))
    parts = [
        _stack(levels[low], deep[low], wide[low], shift[low], look.bottom, sides, 0),
        _stack(levels[top], deep[top] * 1.06, wide[top] * 1.04, shift[top], look.top, sides, 1),
    ]
    if look.skirt:
        parts.append(_skirt(look, joints, 0.6, 0.3, look.bottom, sides))
    if look.coat > 0:
        parts.append(_skirt(look, joints, 0.62, 0.5 - 0.24 * look.coat, look.top, sides))
    if look.backpack:
        at = np.array([-0.09 * size + shift[4], 0, 0.7 * size])
        parts.append(
            ellipsoid(at, (0.065 * size, 0.085 * size, 0.125 * size), look.backpack, layer=1)
        )
    return parts


def _skirt(look: Look, joints: _Legs, high: float, low: float, color: Color, sides: int) -> Mesh:
    """Cloth around both thighs between two shares of the body height."""
    size = look.height
    levels = np.linspace(high, low, 5) * size
    back, front = joints.reach(levels)
    flare = np.linspace(0.0, 0.02, 5)
    deep = (front - back) / 2 + (0.066 + flare) * size * look.build
    wide = (np.array([0.093, 0.104, 0.108, 0.108, 0.108]) + flare) * size * look.build
    return _stack(levels, deep, wide, (front + back) / 2, color, sides, 1)


def _head(look: Look, pose: Pose, detail: int) -> list[Mesh]:
    """Neck and head; hair or helmet are faces of the head, so nothing can show through."""
    size = look.height
    shift = 0.36 * size * np.tan(pose.lean)
    center = np.array([shift + 0.012 * size, 0, 0.928 * size])
    neck = np.array([[shift, 0, 0.82 * size]])
    radii = np.array([[0.036, 0.032]]) * size
    throat = limbs(
        neck,
        center[None] - [0, 0, 0.05 * size],
        radii,
        [look.skin],
        sides=(4, 5, 8, 12)[detail],
        layer=1,
    )
    rings, sides = ((5, 6), (7, 8), (11, 16), (15, 24))[detail]
    skull = _skull(rings, sides)
    middle = skull.vertices[skull.faces].mean(1)
    covered = _covered(middle[:, 0], middle[:, 2] / 1.3, look)
    grown = skull.vertices.copy()
    grown[np.unique(skull.faces[covered])] *= 1.22 if look.helmet else 1.1
    if look.long_hair and not look.helmet:
        behind = grown[:, 0] < 0.1
        grown[behind & (grown[:, 2] < 0), 2] *= 1.7
    head = Mesh(
        vertices=grown * (0.053 * size) + center,
        faces=skull.faces,
        colors=np.where(covered[:, None], look.helmet or look.hair, look.skin),
        gloss=np.where(covered, 0.5 if look.helmet else 0.05, 0.0),
        layers=skull.layers,
        sides=skull.sides,
    )
    return [throat, head, *([_face(center, size, look)] if detail >= 2 else [])]


@lru_cache(maxsize=8)
def _skull(rings: int, sides: int) -> Mesh:
    return ellipsoid((0, 0, 0), (1, 0.84, 1.3), (1, 1, 1), rings=rings, sides=sides, layer=2)


def _covered(x: Points, z: Points, look: Look) -> NDArray[np.bool_]:
    """Which faces of a unit head are under hair or helmet."""
    scalp = (z > 0.62 - 0.25 * (x < 0.75)) & (x < 0.95) | (x < 0.35) & (z > 0.1)
    low = -0.95 if look.long_hair and not look.helmet else -0.35
    return scalp | (x < 0.12) & (z > low)


def _face(center: Points, size: float, look: Look) -> Mesh:
    """Eyes with brows, nose and mouth: patches that lie on the front of the head."""
    dark = (0.05, 0.04, 0.04)
    lips = (look.skin[0] * 0.75, look.skin[1] * 0.5, look.skin[2] * 0.5)
    shadow = (look.skin[0] * 0.7, look.skin[1] * 0.65, look.skin[2] * 0.62)
    # Middle to the left and up, width and height, in units of the head's half depth.
    marks = np.array([
        (0.32, 0.2, 0.2, 0.13), (-0.32, 0.2, 0.2, 0.13), (0.32, 0.42, 0.3, 0.07),
        (-0.32, 0.42, 0.3, 0.07), (0.0, -0.12, 0.14, 0.22), (0.0, -0.55, 0.4, 0.1),
    ])  # fmt: skip
    y, z = marks[:, :1], marks[:, 1:2]
    corners_y = y + marks[:, 2:3] / 2 * np.array([-1, 1, 1, -1])
    corners_z = z + marks[:, 3:] / 2 * np.array([-1, -1, 1, 1])
    depth = np.sqrt(1 - (y / 0.84) ** 2 - (z / 1.3) ** 2) + 0.02
    points = np.stack([np.broadcast_to(depth, corners_y.shape), corners_y, corners_z], -1)
    colors = np.array([dark, dark, look.hair, look.hair, shadow, lips])
    faces = np.arange(points.size // 3).reshape(-1, 4)
    return Mesh.of(points.reshape(-1, 3) * (0.053 * size) + center, faces, colors, layer=3)


def _arm_limbs(look: Look, pose: Pose, sides: int) -> Mesh:
    size, build = look.height, look.build
    sign = np.array([1.0, -1.0])
    zero = np.zeros(2)
    lean = np.full(2, 0.27 * size * np.tan(pose.lean))
    shoulders = np.stack([lean, sign * 0.1 * size * build, np.full(2, 0.78 * size)], 1)
    upper = _down(np.array(pose.shoulders)) + np.stack([zero, sign * pose.spread, zero], 1)
    bend = np.array(pose.elbows)
    inward = sign * pose.spread * (0.4 - 0.9 * np.minimum(bend, 1.5))
    lower = _down(np.array(pose.shoulders) + bend) + np.stack([zero, inward, zero], 1)
    upper /= np.linalg.norm(upper, axis=1, keepdims=True)
    lower /= np.linalg.norm(lower, axis=1, keepdims=True)
    elbows = shoulders + 0.165 * size * upper
    wrists = elbows + 0.15 * size * lower
    sleeve = [0.036 * size * build, 0.029 * size]
    forearm = [0.028 * size, 0.02 * size]
    hand = [0.02 * size, 0.017 * size]
    cover = look.top if look.sleeves > 0.9 else look.skin
    return limbs(
        np.concatenate([shoulders, elbows, wrists]),
        np.concatenate([elbows, wrists, wrists + 0.04 * size * lower]),
        np.array([sleeve, sleeve, forearm, forearm, hand, hand]),
        [look.top, look.top, cover, cover, look.skin, look.skin],
        sides=sides,
        layer=1,
    )
