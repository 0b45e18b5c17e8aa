"""Coloured quad meshes and the solids they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Color = tuple[float, float, float]
Vector = Sequence[float] | NDArray[np.float64]
Points = NDArray[np.float64]
OPENING_LAYER = -1
"""Layer of faces that are not painted but belong to the outline, such as a wheel's spokes'
plane: otherwise the image border would open the wheel and its inside would be lost."""


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Quads with one colour each; a triangle repeats its last vertex.

    Faces are wound so that their normal points outward; faces that look away are not drawn.

    Attributes:
        vertices: `[V, 3]`, object frame (x forward, y left, z up), m.
        faces: `[F, 4]`, vertex indices.
        colors: `[F, 3]`, RGB albedo, 0..1.
        gloss: `[F]`, 0 (cloth) .. 1 (glass).
        layers: `[F]`, lower layers are painted first; within a layer the farther face is.
        sides: `[F]`, 1 or -1 for faces shown only when the camera stands to the left or to the
            right of the object, 0 for all others.
    """

    vertices: Points
    faces: NDArray[np.int64]
    colors: NDArray[np.float64]
    gloss: NDArray[np.float64]
    layers: NDArray[np.int64]
    sides: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        vertices: Points,
        faces: NDArray[np.int64],
        color: Color | NDArray[np.float64],
        *,
        gloss: float = 0.0,
        layer: int = 0,
        side: int = 0,
    ) -> Mesh:
        """A mesh of one material, or of one colour per face."""
        count = len(faces)
        return cls(
            vertices=vertices,
            faces=faces,
            colors=np.broadcast_to(np.asarray(color, np.float64), (count, 3)),
            gloss=np.full(count, gloss),
            layers=np.full(count, layer),
            sides=np.full(count, side),
        )

    def moved(self, x: float, y: float, z: float = 0.0, *, yaw: float = 0.0) -> Mesh:
        """This mesh turned about the z axis (rad) and then shifted (m)."""
        cosine, sine = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1.0]])
        return self.with_vertices(self.vertices @ turn + np.array([x, y, z]))

    def with_vertices(self, vertices: Points) -> Mesh:
        """This mesh with other vertex positions."""
        return replace(self, vertices=vertices)

    def on_layer(self, layer: int) -> Mesh:
        """This mesh with all faces on one layer."""
        return replace(self, layers=np.full_like(self.layers, layer))


def join(meshes: Sequence[Mesh]) -> Mesh:
    """All meshes as one."""
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        vertices=np.concatenate([mesh.vertices for mesh in meshes]),
        faces=np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=True)]),
        colors=np.concatenate([mesh.colors for mesh in meshes]),
        gloss=np.concatenate([mesh.gloss for mesh in meshes]),
        layers=np.concatenate([mesh.layers for mesh in meshes]),
        sides=np.concatenate([mesh.sides for mesh in meshes]),
    )


@lru_cache(maxsize=256)
def grid_faces(rows: int, columns: int, *, wrap: bool = False) -> NDArray[np.int64]:
    """Quads between neighbouring rows of a `rows x columns` grid, `[F, 4]`.

    With `wrap` the last column joins the first.
    """
    index = np.arange(rows * columns).reshape(rows, columns)
    if wrap:
        index = np.concatenate([index, index[:, :1]], 1)
    quads = [index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]]
    faces = np.stack(quads, -1).reshape(-1, 4)
    faces.setflags(write=False)  # It is shared by all grids of this size.
    return faces


def loft(
    rings: Points,
    color: Color | NDArray[np.float64],
    *,
    caps: bool = True,
    gloss: float = 0.0,
    layer: int = 0,
    side: int = 0,
) -> Mesh:
    """A closed skin over rings.

    Args:
        rings: `[R, N, 3]`, closed rings, ordered so that `ring direction x travel direction`
            points outward; rings that run the other way are turned.
        color: RGB, or one RGB per face `[(R - 1) * N + 2 * N * caps, 3]` (side faces by ring and
            then by point; caps last).
        caps: Close both ends.
        gloss: 0..1.
        layer: Painting layer.
        side: See `Mesh.sides`.
    """
    count, size = rings.shape[:2]
    vertices = rings.reshape(-1, 3)
    faces = grid_faces(count, size, wrap=True)
    if caps:
        centers = rings[[0, -1]].mean(1)
        vertices = np.concatenate([vertices, centers])
        ring = np.arange(size)
        following = np.roll(ring, -1)
        first, last = np.full(size, count * size), np.full(size, count * size + 1)
        top = (count - 1) * size
        fans = [
            np.stack([following, ring, first, first], 1),
            np.stack([ring + top, following + top, last, last], 1),
        ]
        faces = np.concatenate([faces, *fans])
    if _signed_volume(vertices, faces) < 0:
        faces = faces[:, ::-1]
    return Mesh.of(vertices, faces, color, gloss=gloss, layer=layer, side=side)


def face_normals(corners: Points) -> Points:
    """Outward normals of quads `[F, 4, 3]`, twice as long as the area, `[F, 3]`."""
    return _cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])


def _cross(a: Points, b: Points) -> Points:
    # Written out: np.cross costs five times as much for the few faces of a part.
    return np.stack(
        [
            a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1],
            a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2],
            a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0],
        ],
        1,
    )


def _signed_volume(vertices: Points, faces: NDArray[np.int64]) -> float:
    corners = vertices[faces] - vertices.mean(0)
    normals = face_normals(corners)
    return float((normals * corners.mean(1)).sum())


def patch(
    points: Points,
    color: Color,
    outward: Points,
    *,
    gloss: float = 0.0,
    layer: int = 0,
    side: int = 0,
) -> Mesh:
    """An open grid of quads `[R, C, 3]` whose normals follow the vector `outward`."""
    faces = grid_faces(*points.shape[:2])
    vertices = points.reshape(-1, 3)
    corners = vertices[faces]
    normals = face_normals(corners)
    if normals.sum(0) @ outward < 0:
        faces = faces[:, ::-1]
    return Mesh.of(vertices, faces, color, gloss=gloss, layer=layer, side=side)


def box(
    size: tuple[float, float, float],
    center: tuple[float, float, float],
    color: Color,
    *,
    gloss: float = 0.0,
    layer: int = 0,
    side: int = 0,
) -> Mesh:
    """An axis-parallel box."""
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    half_x, half_y, half_z = np.asarray(size) / 2
    ring = np.column_stack([np.zeros(4), signs[:, 0] * half_y, signs[:, 1] * half_z])
    reach = np.array([half_x, 0, 0])
    rings = np.stack([ring - reach, ring + reach]) + np.asarray(center)
    return loft(rings, color, gloss=gloss, layer=layer, side=side)


_LIMB_ENDS = (
    ((0.5, 0.85),),
    ((0.75, 0.65), (0.0, 1.0)),
    ((0.85, 0.5), (0.5, 0.87), (0.0, 1.0)),
)
"""By level of detail: distance beyond the limb's end and girth of each ring, in radii."""


def limbs(
    starts: Points,
    ends: Points,
    radii: Points,
    colors: Sequence[Color],
    *,
    sides: int = 8,
    gloss: float = 0.0,
    layer: int = 0,
) -> Mesh:
    """Tapered tubes with rounded ends: arms, legs, frame tubes.

    Args:
        starts: `[L, 3]`, m.
        ends: `[L, 3]`, m.
        radii: `[L, 2]`, at the start and at the end, m.
        colors: One RGB per limb.
        sides: Points per ring.
        gloss: 0..1.
        layer: Painting layer.
    """
    axes = ends - starts
    axes = axes / (np.linalg.norm(axes, axis=1, keepdims=True) + 1e-9)
    sideways = np.abs(axes[:, 1:2]) > 0.8
    helper = np.where(sideways, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    first = _cross(axes, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = _cross(axes, first)
    angles = np.arange(sides) * (2 * np.pi / sides)
    circle = np.cos(angles)[:, None] * first[:, None] + np.sin(angles)[:, None] * second[:, None]
    # Half a sphere at either end, of as many rings as the number of sides is worth.
    half = _LIMB_ENDS[min(max(sides - 4, 0), 2)]
    along = np.array([-a for a, _ in half] + [a for a, _ in half[::-1]])
    girth = np.array([g for _, g in half] + [g for _, g in half[::-1]])
    reach = np.repeat(radii, len(half), axis=1)
    bases = np.repeat(np.stack([starts, ends], 1), len(half), axis=1)
    centers = bases + axes[:, None] * (along * reach)[..., None]
    rings = centers[:, :, None] + circle[:, None] * (girth * reach)[..., None, None]
    vertices, faces = _tube_vertices_and_faces(rings)
    each = len(faces) // len(starts)
    shades = np.repeat(np.asarray(colors, np.float64), each, axis=0)
    return Mesh.of(vertices, faces, shades, gloss=gloss, layer=layer)


def _tube_vertices_and_faces(rings: Points) -> tuple[Points, NDArray[np.int64]]:
    """Skins with caps over the rings `[L, R, N, 3]` of several tubes."""
    count, levels, sides = rings.shape[:3]
    per_tube = levels * sides + 2
    caps = rings[:, [0, -1]].mean(2)
    vertices = np.concatenate([rings.reshape(count, -1, 3), caps], 1).reshape(-1, 3)
    ring = np.arange(sides)
    following = np.roll(ring, -1)
    low, high = np.full(sides, levels * sides), np.full(sides, levels * sides + 1)
    top = (levels - 1) * sides
    one = np.concatenate(
        [
            grid_faces(levels, sides, wrap=True),
            np.stack([following, ring, low, low], 1),
            np.stack([ring + top, following + top, high, high], 1),
        ]
    )
    faces = one[None] + (np.arange(count) * per_tube)[:, None, None]
    return vertices, faces.reshape(-1, 4)


def torus(
    center: Vector,
    radius: float,
    thickness: float,
    color: Color,
    *,
    segments: int = 24,
    sides: int = 5,
    layer: int = 0,
) -> Mesh:
    """A tyre in the x-z plane, `thickness` being the radius of its tube."""
    around = np.linspace(0, 2 * np.pi, segments + 1)
    tube = np.arange(sides) * (2 * np.pi / sides)
    reach = radius - thickness + thickness * np.cos(tube)
    x = np.cos(around)[:, None] * reach
    z = np.sin(around)[:, None] * reach
    y = np.broadcast_to(thickness * np.sin(tube), x.shape)
    rings = np.stack([x, y, z], -1) + np.asarray(center)
    return loft(rings, color, caps=False, layer=layer)


def ellipsoid(
    center: Vector,
    radii: tuple[float, float, float],
    color: Color,
    *,
    rings: int = 6,
    sides: int = 10,
    gloss: float = 0.0,
    layer: int = 0,
) -> Mesh:
    """An axis-parallel ellipsoid."""
    polar = np.linspace(0.12, np.pi - 0.12, rings)
    around = np.arange(sides) * (2 * np.pi / sides)
    unit = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(around),
            np.sin(polar)[:, None] * np.sin(around),
            np.broadcast_to(np.cos(polar)[:, None], (rings, sides)),
        ],
        -1,
    )
    return loft(unit * np.asarray(radii) + np.asarray(center), color, gloss=gloss, layer=layer)


def disc(
    center: Vector,
    inner: float,
    outer: float,
    color: Color,
    *,
    facing: int,
    segments: int = 20,
    gloss: float = 0.0,
    layer: int = 0,
    floor: float = -1.0,
) -> Mesh:
    """A ring or disc in the x-z plane that looks to y = +inf or -inf (`facing` 1 or -1).

    Points below `floor` (m) are raised to it, which cuts a wheel arch off at the sill.
    """
    angles = np.linspace(0, 2 * np.pi, segments + 1)
    circle = np.stack([np.cos(angles), np.zeros(segments + 1), np.sin(angles)], 1)
    points = np.stack([circle * inner, circle * outer]) + np.asarray(center)
    points[..., 2] = np.maximum(points[..., 2], floor)
    outward = np.array([0.0, facing, 0.0])
    return patch(points, color, outward, gloss=gloss, layer=layer, side=facing)
