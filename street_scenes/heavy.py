"""Buses and lorries."""

from __future__ import annotations

import numpy as np

from street_scenes.cars import GLASS, TRIM, plate
from street_scenes.mesh import Color, Mesh, box, join, loft, patch
from street_scenes.wheels import wheel, wheel_arch

LIVERIES: tuple[Color, ...] = (
    (0.75, 0.08, 0.08), (0.85, 0.85, 0.83), (0.1, 0.3, 0.6), (0.9, 0.68, 0.1), (0.15, 0.42, 0.28),
    (0.35, 0.55, 0.7),
)  # fmt: skip
LAMP: Color = (0.93, 0.93, 0.88)
RED: Color = (0.65, 0.03, 0.03)


def shell(
    rear: float, front: float, width: float, floor: float, roof: float, color: Color, *,
    rounding: float = 0.12, gloss: float = 0.4, step: float = 1.2,
) -> Mesh:  # fmt: skip
    """A box with rounded edges from x = `rear` to `front`, m."""
    half, high = width / 2, roof - floor
    inset = rounding * 0.3
    right = [(-half, 0), (-half, 0.4 * high), (-half, high - rounding),
             (-half + inset, high - inset), (-half + rounding, high)]  # fmt: skip
    ring = np.array([*right, (0, high + 0.02), *[(-y, z) for y, z in right[::-1]]])
    count = max(int((front - rear) / step), 1) + 1
    edge = np.array([rounding * 0.35])
    stations = np.concatenate(
        [[rear], np.linspace(rear + edge[0], front - edge[0], count), [front]]
    )
    shrink = np.ones(len(stations))
    shrink[[0, -1]] = 1 - rounding * 0.35
    y = ring[:, 0] * shrink[:, None]
    z = floor + high / 2 + (ring[:, 1] - high / 2) * shrink[:, None]
    x = np.broadcast_to(stations[:, None], y.shape)
    return loft(np.stack([x, y, z], -1), color, gloss=gloss, layer=1)


def side_panel(
    side: int, half: float, x: tuple[float, float], z: tuple[float, float], color: Color, *,
    gloss: float = 0.1, layer: int = 3,
) -> Mesh:  # fmt: skip
    """A rectangle on the left (`side` 1) or right (-1) flank of a box of half width `half`."""
    count = max(int(abs(x[1] - x[0])), 1) + 1
    xs, zs = np.meshgrid(np.linspace(*x, count), z, indexing="ij")
    points = np.stack([xs, np.full_like(xs, side * (half + 0.006)), zs], -1)
    outward = np.array([0.0, side, 0.0])
    return patch(points, color, outward, gloss=gloss, layer=layer, side=side)


def build_bus(rng: np.random.Generator, *, detail: int = 2) -> Mesh:
    """A city bus facing x."""
    length, width, roof = float(rng.uniform(9.5, 12.2)), 2.5, float(rng.uniform(2.95, 3.2))
    paint = LIVERIES[rng.integers(len(LIVERIES))]
    accent = LIVERIES[rng.integers(len(LIVERIES))]
    rear, front, half = -length / 2, length / 2, width / 2
    parts = [shell(rear, front, width, 0.32, roof, paint)]
    for side in (-1, 1):
        parts.append(side_panel(side, half, (rear + 0.3, front - 0.2), (0.45, 0.75), accent))
        parts += _bus_windows(side, half, rear, front, roof)
    glass_low, glass_high = 1.05, roof - 0.45
    middle, high = (glass_low + glass_high) / 2, glass_high - glass_low
    sign = (0.95, 0.62, 0.1)
    parts += [
        plate(front + 0.01, 0, middle, 2.25, high, GLASS, 1, gloss=1.0),
        plate(front + 0.01, 0, roof - 0.26, 1.9, 0.26, (0.03, 0.03, 0.03), 1),
        plate(front + 0.015, 0, roof - 0.26, 1.1, 0.13, sign, 1, layer=4),
        plate(front + 0.01, 0, 0.42, 2.3, 0.18, TRIM, 1),
        plate(front + 0.015, 0, 0.5, 0.5, 0.12, (0.85, 0.85, 0.83), 1, layer=4),
        plate(rear - 0.01, 0, middle + 0.2, 2.0, high * 0.65, GLASS, -1, gloss=1.0),
        plate(rear - 0.01, 0, 0.85, 1.7, 0.5, TRIM, -1),
        plate(rear - 0.01, 0, 0.42, 2.3, 0.16, TRIM, -1),
        plate(rear - 0.015, 0, 0.52, 0.5, 0.12, (0.85, 0.85, 0.83), -1, layer=4),
    ]
    for side in (-1, 1):
        parts.append(plate(front + 0.012, side * 0.9, 0.72, 0.36, 0.2, LAMP, 1, gloss=0.8))
        parts.append(plate(rear - 0.012, side * 1.06, 1.0, 0.2, 0.55, RED, -1, gloss=0.5))
        parts.append(box((0.12, 0.22, 0.4), (front + 0.12, side * (half + 0.12), 2.1), TRIM))
    return join(
        parts + _axles([rear + length * 0.27, front - length * 0.22], half, 0.48, 0.32, detail)
    )


def _bus_windows(side: int, half: float, rear: float, front: float, roof: float) -> list[Mesh]:
    """Side windows; doors on the right, where the kerb is."""
    low, high = 1.15, roof - 0.42
    span = (rear + 0.4, front - 0.35)
    parts = [side_panel(side, half, span, (low, high), GLASS, gloss=1.0)]
    for x in np.arange(span[0] + 1.35, span[1] - 0.6, 1.4):
        parts.append(side_panel(side, half + 0.004, (x, x + 0.09), (low, high), TRIM, layer=4))
    if side < 0:
        for x in (front - 1.45, (rear + front) / 2 - 0.2):
            door = (x, x + 1.15)
            parts.append(side_panel(side, half + 0.005, door, (0.4, high), TRIM, layer=4))
            for leaf in (0.06, 0.62):
                pane = (x + leaf, x + leaf + 0.47)
                parts.append(
                    side_panel(side, half + 0.01, pane, (0.5, high - 0.08), GLASS, gloss=1.0,
                               layer=5)
                )  # fmt: skip
    return parts


def _axles(
    places: list[float], half: float, radius: float, floor: float, detail: int
) -> list[Mesh]:
    segments = (8, 12, 18, 30)[detail]
    parts: list[Mesh] = []
    for side in (-1, 1):
        tyre = wheel(radius, 0.3, (0.5, 0.5, 0.52), side, spokes=0, first_layer=6,
                     segments=segments)  # fmt: skip
        arch = wheel_arch(radius * 1.15, side, floor=floor - radius, segments=segments, layer=5)
        for x in places:
            parts.append(tyre.moved(x, side * (half - 0.14), radius))
            parts.append(arch.moved(x, side * (half + 0.008), radius))
    return parts


def build_truck(rng: np.random.Generator, *, detail: int = 2) -> Mesh:
    """A lorry with a box, a tarpaulin or an open bed, facing x."""
    length = float(rng.uniform(6.0, 9.0))
    cab, width = float(rng.uniform(1.9, 2.3)), float(rng.uniform(2.2, 2.5))
    roof = float(rng.uniform(2.5, 2.9))
    paint = LIVERIES[rng.integers(len(LIVERIES))]
    load: Color = (0.86, 0.86, 0.85) if rng.random() < 0.6 else LIVERIES[rng.integers(6)]
    top = float(rng.uniform(3.0, 3.6)) if rng.random() < 0.8 else 1.5
    rear, front = -length / 2, length / 2
    half = width / 2
    bed = front - cab - 0.15
    parts = [
        shell(rear, bed, width, 0.95, top, load, rounding=0.04, gloss=0.15, step=0.8),
        shell(bed + 0.15, front, width * 0.97, 0.5, roof, paint, rounding=0.16, step=0.6),
        box((length - 0.5, width * 0.5, 0.35), (0, 0, 0.75), TRIM),
    ]
    parts += _truck_cab(front, cab, width * 0.97, roof, paint)
    parts += _truck_rear(rear, bed, half, top, rng)
    axles = [rear + length * 0.22, front - 0.95]
    if length > 7.6:
        axles.append(rear + length * 0.22 + 1.15)
    return join(parts + _axles(axles, half, 0.47, 0.6, detail))


def _truck_cab(front: float, cab: float, width: float, roof: float, paint: Color) -> list[Mesh]:
    half = width / 2
    low, high = roof - 1.15, roof - 0.3
    parts = [
        plate(front + 0.01, 0, (low + high) / 2, width * 0.9, high - low, GLASS, 1, gloss=1.0),
        plate(front + 0.01, 0, low - 0.3, width * 0.6, 0.3, TRIM, 1),
        plate(front + 0.012, 0, 0.62, width * 0.96, 0.26, TRIM, 1),
        plate(front + 0.016, 0, 0.62, 0.5, 0.12, (0.85, 0.85, 0.83), 1, layer=4),
    ]
    for side in (-1, 1):
        window = (front - cab * 0.62, front - 0.2)
        parts.append(side_panel(side, half, window, (low + 0.05, high), GLASS, gloss=1.0))
        gap = (front - cab * 0.66, front - cab * 0.66 + 0.03)
        dark = (paint[0] * 0.4, paint[1] * 0.4, paint[2] * 0.4)
        parts.append(side_panel(side, half, gap, (0.7, high), dark))
        parts.append(plate(front + 0.014, side * width * 0.4, 0.88, 0.3, 0.2, LAMP, 1, gloss=0.8))
        parts.append(box((0.1, 0.2, 0.42), (front + 0.02, side * (half + 0.16), low + 0.5), TRIM))
    return parts


def _truck_rear(
    rear: float, bed: float, half: float, top: float, rng: np.random.Generator
) -> list[Mesh]:
    stripe = LIVERIES[rng.integers(len(LIVERIES))]
    bar = (0.3, 0.3, 0.31)
    parts = [
        plate(rear - 0.008, 0, (top + 1.05) / 2, 0.04, top - 1.1, bar, -1),
        plate(rear - 0.02, 0, 0.8, half * 1.9, 0.2, TRIM, -1),
        plate(rear - 0.03, 0, 0.8, 0.5, 0.12, (0.85, 0.85, 0.82), -1, layer=4),
    ]
    for side in (-1, 1):
        parts.append(plate(rear - 0.03, side * half * 0.78, 0.82, 0.34, 0.13, RED, -1, layer=4))
        if top > 2:
            middle = (top + 0.95) / 2
            parts.append(
                side_panel(
                    side, half, (rear + 0.4, bed - 0.4), (middle - 0.3, middle + 0.3), stripe
                )
            )
    return parts
