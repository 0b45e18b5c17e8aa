"""Bicycles, motorcycles and scooters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from street_scenes.mesh import (
    OPENING_LAYER,
    Color,
    Mesh,
    Points,
    box,
    disc,
    ellipsoid,
    join,
    limbs,
    torus,
)

RUBBER: Color = (0.04, 0.04, 0.045)
METAL: Color = (0.55, 0.56, 0.58)
BLACK: Color = (0.05, 0.05, 0.055)
PAINTS: tuple[Color, ...] = (
    (0.6, 0.08, 0.08), (0.1, 0.25, 0.55), (0.05, 0.05, 0.06), (0.8, 0.8, 0.8),
    (0.12, 0.4, 0.25), (0.85, 0.5, 0.1), (0.3, 0.6, 0.62),
)  # fmt: skip
BICYCLE_SADDLE_M = 0.93
MOTORCYCLE_SADDLE_M = 0.8


def build_bicycle(rng: np.random.Generator, phase: float, *, detail: int = 2) -> Mesh:
    """A bicycle facing x; `phase` turns cranks and spokes, rad."""
    paint = PAINTS[rng.integers(len(PAINTS))]
    basket = rng.random() < 0.3
    front, rear, radius = np.array([0.53, 0, 0.34]), np.array([-0.52, 0, 0.34]), 0.34
    parts = [
        torus(
            hub,
            radius,
            0.024,
            RUBBER,
            segments=(10, 14, 28, 40)[detail],
            sides=(3, 4, 5, 6)[detail],
        )
        for hub in (front, rear)
    ]
    for hub in (front, rear):
        for facing in (-1, 1):
            plane = disc(hub, 0, radius - 0.02, RUBBER, facing=facing, layer=OPENING_LAYER)
            parts.append(replace(plane, sides=np.zeros_like(plane.sides)))
    parts.append(_spokes([front, rear], radius, phase * 1.8, (4, 6, 14, 18)[detail]))
    bottom, seat, head, fork = (
        np.array([-0.08, 0, 0.29]), np.array([-0.21, 0, 0.8]),
        np.array([0.38, 0, 0.86]), np.array([0.41, 0, 0.68]),
    )  # fmt: skip
    pairs = [(bottom, seat), (bottom, fork), (seat, head), (rear, bottom), (rear, seat),
             (fork, front), (head, fork)]  # fmt: skip
    parts.append(_pipes(pairs, 0.019, paint))
    grip = np.array([0.0, 0.27, 0.0])
    bar = head + np.array([0.02, 0, 0.14])
    parts.append(
        _pipes([(seat, seat + np.array([-0.03, 0, 0.1])), (head, bar), (bar - grip, bar + grip)],
               0.015, BLACK)
    )  # fmt: skip
    parts.append(ellipsoid((-0.25, 0, BICYCLE_SADDLE_M - 0.02), (0.14, 0.08, 0.04), BLACK))
    parts.append(_cranks(bottom, phase))
    if basket:
        parts.append(box((0.26, 0.34, 0.22), (0.6, 0, 0.88), (0.3, 0.24, 0.16)))
    return join(parts)


def _pipes(pairs: list[tuple[Points, Points]], radius: float, color: Color) -> Mesh:
    starts, ends = np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])
    radii = np.full((len(pairs), 2), radius)
    return limbs(starts, ends, radii, [color] * len(pairs), sides=5, gloss=0.4)


def _spokes(hubs: list[Points], radius: float, turn: float, count: int) -> Mesh:
    angles = turn + np.arange(count) * (2 * np.pi / count)
    rims = np.stack([np.cos(angles), np.zeros(count), np.sin(angles)], 1) * (radius - 0.03)
    starts = np.concatenate([np.broadcast_to(hub, rims.shape) for hub in hubs])
    ends = np.concatenate([rims + hub for hub in hubs])
    return limbs(
        starts, ends, np.full((len(starts), 2), 0.004), [METAL] * len(starts), sides=3, gloss=0.3
    )


def _cranks(center: Points, phase: float) -> Mesh:
    # The pedals follow the feet of the riding pose, whose left foot is up at phase pi / 2.
    reach = 0.17 * np.array([np.cos(phase), 0, np.sin(phase)])
    wide = np.array([0, 0.09, 0])
    sole = np.array([0.05, 0, 0])
    left, right = center + reach + wide, center - reach - wide
    return _pipes(
        [
            (center + wide, left), (center - wide, right),
            (left - sole, left + sole), (right - sole, right + sole),
        ],
        0.014,
        BLACK,
    )  # fmt: skip


def build_motorcycle(rng: np.random.Generator, *, detail: int = 2) -> Mesh:
    """A motorcycle or a scooter facing x."""
    paint = PAINTS[rng.integers(len(PAINTS))]
    scooter = rng.random() < 0.4
    radius, thick = (0.24, 0.055) if scooter else (0.31, 0.065)
    front, rear = np.array([0.72, 0, radius]), np.array([-0.62, 0, radius])
    parts = [
        torus(hub, radius, thick, RUBBER, segments=(10, 12, 20, 30)[detail], sides=6)
        for hub in (front, rear)
    ]
    for hub in (front, rear):
        for facing in (-1, 1):
            at = hub + np.array([0, 0.03 * facing, 0])
            rim = disc(at, 0, radius - thick, (0.3, 0.3, 0.31), facing=facing, gloss=0.4, layer=1)
            parts.append(rim)
    wheels = join(parts)
    parts = _scooter_body(paint) if scooter else _motorcycle_body(paint, rear)
    grip = np.array([0, 0.33, 0])
    bar = np.array([0.42, 0, 1.02])
    side, back = np.array([0, 0.08, 0]), np.array([0.08, 0, 0])
    parts.append(
        _pipes([(front + side, bar + side * 0.5), (front - side, bar - side * 0.5),
                (bar - grip - back, bar), (bar + grip - back, bar)], 0.024, METAL)
    )  # fmt: skip
    mirrors = [bar + np.array([-0.02, 0.27 * sign, 0.16]) for sign in (-1, 1)]
    parts.append(_pipes([(bar + grip * 0.6, mirrors[1]), (bar - grip * 0.6, mirrors[0])], 0.01,
                        BLACK))  # fmt: skip
    parts += [ellipsoid(m, (0.03, 0.07, 0.05), BLACK, rings=4, sides=6) for m in mirrors]
    parts.append(ellipsoid((0.58, 0, 0.9), (0.1, 0.1, 0.1), (0.9, 0.9, 0.86), gloss=0.9))
    tail = (-0.9, 0, 0.56) if scooter else (-0.94, 0, 0.72)
    parts.append(ellipsoid(tail, (0.06, 0.09, 0.05), (0.6, 0.04, 0.04), gloss=0.5))
    parts.append(box((0.02, 0.2, 0.13), (-0.98, 0, 0.52), (0.8, 0.8, 0.78)))
    return join([wheels, join(parts).on_layer(2)])


def _motorcycle_body(paint: Color, rear: Points) -> list[Mesh]:
    engine, dark = (0.2, 0.2, 0.21), (0.09, 0.09, 0.1)
    frame = [
        (rear + np.array([0, 0.1, 0]), np.array([-0.1, 0.1, 0.36])),
        (rear + np.array([0, -0.1, 0]), np.array([-0.1, -0.1, 0.36])),
        (np.array([-0.1, 0, 0.36]), np.array([0.3, 0, 0.3])),
        (np.array([0.3, 0, 0.3]), np.array([0.48, 0, 0.86])),
        (rear + np.array([0.0, 0.11, 0.05]), np.array([-0.5, 0.1, 0.7])),
        (rear + np.array([0.0, -0.11, 0.05]), np.array([-0.5, -0.1, 0.7])),
    ]
    exhaust = [
        (np.array([0.3, -0.12, 0.34]), np.array([-0.1, -0.16, 0.24])),
        (np.array([-0.1, -0.16, 0.24]), np.array([-0.5, -0.18, 0.3])),
    ]
    silencer = [(np.array([-0.4, -0.19, 0.29]), np.array([-0.85, -0.2, 0.42]))]
    return [
        ellipsoid((0.1, 0, 0.36), (0.26, 0.19, 0.17), engine, gloss=0.3),
        ellipsoid((0.16, 0, 0.55), (0.19, 0.15, 0.17), (0.3, 0.3, 0.31), gloss=0.3),
        ellipsoid((-0.16, 0, 0.55), (0.26, 0.13, 0.2), dark),
        ellipsoid((0.2, 0, 0.83), (0.31, 0.17, 0.16), paint, rings=9, gloss=0.6),
        ellipsoid((-0.3, 0, 0.77), (0.36, 0.15, 0.08), BLACK),
        ellipsoid((-0.66, 0, 0.78), (0.32, 0.12, 0.1), paint, gloss=0.6),
        ellipsoid((-0.72, 0, 0.64), (0.2, 0.09, 0.1), dark),
        ellipsoid((0.74, 0, 0.6), (0.27, 0.08, 0.06), paint, gloss=0.6),
        ellipsoid((0.5, 0, 0.86), (0.2, 0.17, 0.17), paint, rings=8, gloss=0.6),
        ellipsoid((0.3, 0, 0.6), (0.22, 0.2, 0.22), paint, rings=8, gloss=0.6),
        _pipes(exhaust, 0.03, METAL),
        _pipes(silencer, 0.055, METAL),
        _pipes(frame, 0.035, BLACK),
    ]


def _scooter_body(paint: Color) -> list[Mesh]:
    return [
        ellipsoid((-0.45, 0, 0.5), (0.5, 0.2, 0.24), paint, rings=8, gloss=0.6),
        ellipsoid((-0.36, 0, 0.76), (0.4, 0.16, 0.08), BLACK),
        box((0.5, 0.3, 0.08), (0.15, 0, 0.28), (0.15, 0.15, 0.16)),
        ellipsoid((0.48, 0, 0.6), (0.11, 0.23, 0.36), paint, rings=9, gloss=0.6),
        ellipsoid((0.5, 0, 0.98), (0.13, 0.14, 0.1), paint, gloss=0.6),
        ellipsoid((-0.15, 0, 0.52), (0.16, 0.17, 0.2), paint, gloss=0.6),
        ellipsoid((0.72, 0, 0.44), (0.24, 0.09, 0.1), paint, gloss=0.6),
    ]
