"""Passenger cars: sedan, hatchback, estate, off-roader, van and pick-up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from street_scenes.mesh import Color, Mesh, Points, box, join, loft, patch
from street_scenes.wheels import wheel, wheel_arch

GLASS: Color = (0.045, 0.055, 0.065)
TRIM: Color = (0.05, 0.05, 0.055)
PAINTS: tuple[Color, ...] = (
    (0.85, 0.86, 0.87), (0.62, 0.64, 0.66), (0.36, 0.38, 0.4), (0.06, 0.06, 0.07),
    (0.55, 0.05, 0.06), (0.08, 0.16, 0.42), (0.16, 0.32, 0.6), (0.1, 0.25, 0.18),
    (0.78, 0.74, 0.64), (0.3, 0.2, 0.14), (0.85, 0.6, 0.08), (0.9, 0.91, 0.92),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CarShape:
    """Proportions of a car body. Lengths in m; places along the body as 0 (rear) .. 1 (front).

    Attributes:
        length: Bumper to bumper.
        width: Without mirrors.
        height: Ground to roof.
        belt: Height of the lower edge of the windows.
        hood: Height of the hood at its front.
        tail: Height of the rear deck.
        cabin: Rear window's foot, roof's rear end, roof's front end, windscreen's foot.
        wheel: Wheel radius.
        axles: Places of the rear and the front axle.
        glazed_rear: Whether the rear side windows are glass (vans have metal there).
    """

    length: float
    width: float
    height: float
    belt: float
    hood: float
    tail: float
    cabin: tuple[float, float, float, float]
    wheel: float
    axles: tuple[float, float] = (0.19, 0.81)
    glazed_rear: bool = True


SHAPES: dict[str, CarShape] = {
    "sedan": CarShape(length=4.65, width=1.82, height=1.45, belt=0.95, hood=0.72, tail=0.98,
                      cabin=(0.13, 0.29, 0.56, 0.74), wheel=0.32),
    "hatchback": CarShape(length=4.05, width=1.75, height=1.48, belt=0.95, hood=0.74, tail=0.95,
                          cabin=(0.015, 0.1, 0.55, 0.76), wheel=0.31),
    "estate": CarShape(length=4.7, width=1.83, height=1.5, belt=0.95, hood=0.74, tail=0.95,
                       cabin=(0.012, 0.09, 0.57, 0.75), wheel=0.33),
    "offroader": CarShape(length=4.6, width=1.92, height=1.74, belt=1.1, hood=0.95, tail=1.1,
                          cabin=(0.012, 0.08, 0.56, 0.72), wheel=0.37),
    "van": CarShape(length=5.2, width=1.97, height=2.05, belt=1.2, hood=0.98, tail=1.2,
                    cabin=(0.008, 0.02, 0.7, 0.88), wheel=0.35, axles=(0.2, 0.83),
                    glazed_rear=False),
    "pickup": CarShape(length=5.3, width=1.92, height=1.8, belt=1.12, hood=0.98, tail=1.05,
                       cabin=(0.38, 0.42, 0.61, 0.72), wheel=0.4),
}  # fmt: skip


CAR_SHARES = {"sedan": 0.31, "hatchback": 0.26, "estate": 0.15, "offroader": 0.2, "van": 0.08}


def build_car(rng: np.random.Generator, *, kind: str | None = None, detail: int = 2) -> Mesh:
    """A random car standing on the ground, centred on the origin, facing x.

    Args:
        rng: Source of shape, paint and details.
        kind: A key of `SHAPES`; None draws one of `CAR_SHARES`.
        detail: 0 (for a car of some fifty pixels) to 3 (filling the image).
    """
    drawn = list(CAR_SHARES)[rng.choice(len(CAR_SHARES), p=list(CAR_SHARES.values()))]
    base = SHAPES[kind or drawn]
    stretch = rng.uniform(0.95, 1.06, 3)
    shape = CarShape(
        length=base.length * stretch[0],
        width=base.width * stretch[1],
        height=base.height * stretch[2],
        belt=base.belt * stretch[2],
        hood=base.hood * stretch[2],
        tail=base.tail * stretch[2],
        cabin=base.cabin,
        wheel=base.wheel * rng.uniform(0.97, 1.06),
        axles=base.axles,
        glazed_rear=base.glazed_rear,
    )
    paint = np.asarray(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.9, 1.1)
    color: Color = (float(paint[0]), float(paint[1]), float(paint[2]))
    body = BodyGrid(shape, detail)
    parts = [body.mesh(color), *_cabin(shape, color, detail)]
    parts += _wheels(shape, rng, detail)
    parts += _front_and_rear(shape, body, color, rng)
    if kind == "pickup":
        parts.append(body.decal((0.03, 0.36), (-0.2, 0.2), (0.07, 0.07, 0.07), gloss=0.0))
    if detail:
        parts += _flanks(shape, body, color)
    return join(parts)


class BodyGrid:
    """The body below the windows, as a grid of rings from the rear to the front.

    `along` runs 0..1 from rear to front, `around` runs -1..1 from the right sill over the deck
    to the left sill.
    """

    def __init__(self, shape: CarShape, detail: int) -> None:
        self.shape = shape
        self.cells = (2, 2) if detail < 2 else (5, 4)
        stations = [0, 0.008, 0.025, 0.06, 0.12, 0.2, 0.3, 0.42, 0.54, 0.66, 0.74, 0.8, 0.87]
        stations += [0.93, 0.965, 0.985, 0.995, 1.0]
        self.along = np.array(stations if detail >= 2 else [*stations[:-1:2], 0.985, 1.0])
        self.rings = self._rings()
        if detail == 0:
            self.rings = self.rings[:, ::2]
        if detail == 3:
            self.rings = _refined(_refined(self.rings).swapaxes(0, 1)).swapaxes(0, 1)
            self.along = np.interp(
                np.linspace(0, len(self.along) - 1, len(self.rings)),
                np.arange(len(self.along)),
                self.along,
            )

    def _rings(self) -> Points:
        shape, u = self.shape, self.along
        windscreen = shape.cabin[3]
        deck = np.interp(
            u,
            [0, 0.01, 0.04, shape.cabin[0] + 0.02, windscreen, 0.95, 0.985, 1],
            [shape.tail - 0.14, shape.tail - 0.04, shape.tail, shape.belt, shape.belt,
             shape.hood, shape.hood - 0.05, shape.hood - 0.14],
        )  # fmt: skip
        sill = np.interp(u, [0, 0.03, 0.12, 0.88, 0.97, 1], [0.36, 0.27, 0.2, 0.2, 0.22, 0.3])
        ends = np.minimum(u, 1 - u)
        half = (
            shape.width
            / 2
            * np.interp(
                ends, [0, 0.008, 0.025, 0.06, 0.14, 0.5], [0.78, 0.86, 0.92, 0.965, 0.99, 1.0]
            )
        )
        # Half a cross-section: share of the half width, share of the height, extra height.
        across = np.array([0.93, 0.985, 1.0, 0.998, 0.975, 0.93, 0.84, 0.5, 0.0])
        upward = np.array([0.0, 0.1, 0.35, 0.62, 0.8, 0.93, 0.99, 1.0, 1.0])
        crown = np.array([0, 0, 0, 0, 0, 0, 0.0, 0.035, 0.045])
        y = half[:, None] * across
        z = sill[:, None] + (deck - sill)[:, None] * upward + crown
        y = np.concatenate([-y, y[:, -2::-1]], 1)
        z = np.concatenate([z, z[:, -2::-1]], 1)
        x = np.broadcast_to(((u - 0.5) * shape.length)[:, None], y.shape)
        return np.stack([x, y, z], -1)

    def mesh(self, color: Color) -> Mesh:
        """The painted body."""
        return loft(self.rings, color, gloss=0.55, layer=1)

    def point(self, along: NDArray[np.float64], around: NDArray[np.float64]) -> Points:
        """Points of the surface, `[...]`, `[...]` to `[..., 3]`."""
        rows = np.interp(along, self.along, np.arange(len(self.along)))
        columns = (around + 1) / 2 * (self.rings.shape[1] - 1)
        row = np.minimum(rows.astype(int), len(self.along) - 2)
        column = np.clip(columns.astype(int), 0, self.rings.shape[1] - 2)
        a, b = (rows - row)[..., None], (columns - column)[..., None]
        top = self.rings[row, column] * (1 - b) + self.rings[row, column + 1] * b
        low = self.rings[row + 1, column] * (1 - b) + self.rings[row + 1, column + 1] * b
        surface: Points = top * (1 - a) + low * a
        return surface

    def decal(
        self,
        along: tuple[float, float],
        around: tuple[float, float],
        color: Color,
        *,
        gloss: float = 0.2,
        lift: float = 0.006,
    ) -> Mesh:
        """A patch of another material on the surface."""
        u, v = np.meshgrid(
            np.linspace(*along, self.cells[0]), np.linspace(*around, self.cells[1]), indexing="ij"
        )
        points = self.point(u, v)
        outward = points.mean((0, 1)) * np.array([0.3, 1, 1]) - np.array([0, 0, 0.5])
        side = 0 if abs(np.mean(around)) < 0.6 else int(np.sign(np.mean(around)))
        points = points + lift * np.sign(points) * np.array([0, 1, 0])
        return patch(points, color, outward, gloss=gloss, layer=3, side=side)


def _refined(points: Points) -> Points:
    """`[2 R - 1, ...]`: a row on the cubic through four neighbours between each two rows."""
    before = np.concatenate([points[:1], points[:-2]])
    after = np.concatenate([points[2:], points[-1:]])
    middle = (9 * (points[:-1] + points[1:]) - before - after) / 16
    result = np.empty((2 * len(points) - 1, *points.shape[1:]))
    result[::2], result[1::2] = points, middle
    return result


def _cabin(shape: CarShape, color: Color, detail: int) -> list[Mesh]:
    """Windows, pillars and roof as a loft of rounded rectangles from the belt upwards."""
    rear_foot, rear_roof, front_roof, front_foot = shape.cabin
    heights = np.array([0.0, 0.3, 0.62, 0.84, 0.95, 1.0])
    lean = np.array([0.0, 0.28, 0.62, 0.9, 1.04, 1.14])
    narrow = np.array([0.935, 0.885, 0.825, 0.765, 0.69, 0.53])
    if not shape.glazed_rear:  # Vans stand upright.
        narrow = np.array([0.95, 0.93, 0.9, 0.87, 0.83, 0.7])
    z = shape.belt - 0.03 + (shape.height - shape.belt + 0.03) * heights
    rear = (rear_foot + (rear_roof - rear_foot) * lean - 0.5) * shape.length
    front = (front_foot + (front_roof - front_foot) * lean - 0.5) * shape.length
    half = shape.width / 2 * narrow
    levels = [0, 2, 3, 5] if detail == 0 else [0, 1, 2, 3, 4, 5]
    place, side, kinds = _cabin_plan(shape)
    x = rear[levels, None] + (front - rear)[levels, None] * place
    y = half[levels, None] * side
    rings = np.stack([x, y, np.broadcast_to(z[levels, None], x.shape)], -1)
    glass = np.array([kind == "glass" for kind in kinds])
    pillar = np.array([kind == "pillar" for kind in kinds])
    band = np.where(glass[:, None], GLASS, np.where(pillar[:, None], TRIM, color))
    painted = np.broadcast_to(color, band.shape)
    # Three levels up to the roof's edge have windows; the rest and the two caps are paint.
    glazed = sum(0 < level < 4 for level in levels)
    solid = len(levels) + 1 - glazed
    mesh = loft(rings, np.concatenate([band] * glazed + [painted] * solid), layer=2)
    gloss = [np.where(glass, 1.0, 0.5)] * glazed + [np.full(len(kinds), 0.5)] * solid
    return [replace(mesh, gloss=np.concatenate(gloss))]


def _cabin_plan(
    shape: CarShape,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Plan of the cabin: place along (0..1), side (-1..1), and what follows each point."""
    glazed = "glass" if shape.glazed_rear else "body"
    half: list[tuple[float, float, str]] = [
        (1.0, 0.0, "glass"), (0.997, 0.45, "glass"), (0.985, 0.84, "body"),
        (0.955, 0.97, "glass"), (0.75, 1.0, "glass"), (0.53, 1.0, "pillar"),
        (0.49, 1.0, glazed), (0.3, 1.0, glazed), (0.13, 0.99, "body"),
        (0.03, 0.93, "body"), (0.008, 0.74, "glass"), (0.0, 0.38, "glass"),
    ]  # fmt: skip
    kinds = [kind for *_, kind in half]
    places = [place for place, *_ in half] + [0.0] + [p for p, *_ in half[:0:-1]]
    sides = [side for _, side, _ in half] + [0.0] + [-s for _, s, _ in half[:0:-1]]
    return np.array(places), np.array(sides), kinds + kinds[::-1]


def _dim(color: Color, factor: float) -> Color:
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def _wheels(shape: CarShape, rng: np.random.Generator, detail: int) -> list[Mesh]:
    rim_level = float(rng.choice([0.6, 0.5, 0.25, 0.7]))
    rim = (rim_level, rim_level, rim_level * 1.02)
    spokes = int(rng.choice([5, 6, 7, 10]))
    segments = (8, 12, 18, 30)[detail]
    parts: list[Mesh] = []
    for side in (-1, 1):
        tyre = wheel(shape.wheel, 0.24, rim, side, segments=segments,
                     spokes=spokes if detail >= 2 else 0)  # fmt: skip
        arch = wheel_arch(shape.wheel * 1.17, side, floor=0.18 - shape.wheel, segments=segments)
        for axle in shape.axles:
            x, half = (axle - 0.5) * shape.length, shape.width / 2
            parts.append(tyre.moved(x, side * (half - 0.115), shape.wheel))
            parts.append(arch.moved(x, side * (half + 0.004), shape.wheel + 0.02))
    return parts


def _front_and_rear(
    shape: CarShape, body: BodyGrid, color: Color, rng: np.random.Generator
) -> list[Mesh]:
    """Lamps, grille, plates and bumpers."""
    lamp, red = (0.92, 0.93, 0.9), (0.5, 0.02, 0.03)
    bright = bool(rng.random() < 0.35)
    parts: list[Mesh] = []
    front, rear = shape.length / 2 + 0.004, -shape.length / 2 - 0.004
    wide = shape.width * 0.74
    hood, tail = shape.hood - 0.2, shape.tail - 0.2
    for side in (-1, 1):
        low, high = (0.3, 0.55)
        parts.append(body.decal((0.945, 0.999), (side * low, side * high), lamp, gloss=0.9))
        parts.append(plate(front, side * wide * 0.4, hood, wide * 0.2, 0.13, lamp, 1, gloss=0.9))
        parts.append(body.decal((0.001, 0.04), (side * low, side * 0.6), red, gloss=0.7))
        parts.append(
            plate(rear, side * wide * 0.41, tail, wide * 0.2, 0.16,
                   (0.8, 0.05, 0.05) if bright else red, -1, gloss=0.5)
        )  # fmt: skip
    parts.append(plate(front, 0, hood, wide * 0.55, 0.12, TRIM, 1, gloss=0.4))
    parts.append(plate(front, 0, 0.38, wide * 0.85, 0.14, TRIM, 1, gloss=0.2))
    parts.append(plate(front + 0.005, 0, 0.45, 0.5, 0.11, (0.85, 0.85, 0.85), 1, layer=4))
    parts.append(plate(rear, 0, 0.38, wide * 0.95, 0.16, TRIM, -1, gloss=0.2))
    parts.append(plate(rear - 0.005, 0, tail - 0.02, 0.5, 0.11, (0.85, 0.85, 0.82), -1, layer=4))
    mirror = (shape.cabin[3] - 0.075 - 0.5) * shape.length
    for side in (-1, 1):
        center = (mirror, side * (shape.width / 2 + 0.07), shape.belt + 0.06)
        parts.append(box((0.1, 0.2, 0.13), center, color, gloss=0.4, layer=0))
        parts.append(box((0.1, 0.2, 0.13), center, color, gloss=0.4, layer=4, side=side))
    return parts


def plate(
    x: float, y: float, z: float, width: float, height: float, color: Color, facing: int, *,
    gloss: float = 0.1, layer: int = 3,
) -> Mesh:  # fmt: skip
    """A rectangle across the driving direction, looking forward (`facing` 1) or back (-1)."""
    ys, zs = np.meshgrid(
        [y - width / 2, y, y + width / 2], [z - height / 2, z + height / 2], indexing="ij"
    )
    points = np.stack([np.full_like(ys, x), ys, zs], -1)
    return patch(points, color, np.array([float(facing), 0, 0]), gloss=gloss, layer=layer)


def _flanks(shape: CarShape, body: BodyGrid, color: Color) -> list[Mesh]:
    """Door gaps, handles and sills."""
    gap = _dim(color, 0.35)
    rear_foot, _, _, front_foot = shape.cabin
    middle = rear_foot + (front_foot - rear_foot) * 0.51
    parts: list[Mesh] = []
    for side in (-1, 1):
        parts.append(body.decal((0.27, 0.74), (side * 0.99, side * 0.9), TRIM, lift=0.01))
        for place in (middle, front_foot - 0.035, max(rear_foot + 0.08, 0.3)):
            parts.append(body.decal((place, place + 0.004), (side * 0.9, side * 0.4), gap))
        for place in (middle - 0.05, front_foot - 0.23):
            parts.append(body.decal((place, place + 0.035), (side * 0.53, side * 0.49), gap))
    return parts
