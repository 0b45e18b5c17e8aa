"""Poses of people: walking, standing, riding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Angles of a figure in rad; 0 hangs down, positive swings forward. Left, then right.

    Attributes:
        hips: Thighs.
        knees: Bend of the knees, positive backwards.
        shoulders: Upper arms.
        elbows: Bend of the elbows, positive forwards.
        lean: Trunk, positive forward.
        spread: Arms away from the trunk.
        straddle: Distance by which a rider's knees and feet stand out, m.
    """

    hips: tuple[float, float]
    knees: tuple[float, float]
    shoulders: tuple[float, float]
    elbows: tuple[float, float]
    lean: float = 0.03
    spread: float = 0.12
    straddle: float = 0.0


def walking(phase: float, *, stride: float = 0.5) -> Pose:
    """A walking pose; one gait cycle per `2 pi` of `phase`, `stride` in rad."""
    swing = float(np.sin(phase))
    bend = [0.1 + 0.75 * max(0.0, float(np.cos(phase + shift))) ** 2 for shift in (0, np.pi)]
    return Pose(
        hips=(stride * swing, -stride * swing),
        knees=(bend[0] * stride * 1.6, bend[1] * stride * 1.6),
        shoulders=(-0.8 * stride * swing, 0.8 * stride * swing),
        elbows=(0.35, 0.35),
    )


def standing(rng: np.random.Generator) -> Pose:
    """A person at rest: arms down, on the hips, holding a phone, or waving."""
    phone, hip = rng.random() < 0.3, rng.random() < 0.2
    arm = 0.6 if phone else float(rng.uniform(-0.1, 0.15))
    return Pose(
        hips=(float(rng.uniform(-0.06, 0.12)), float(rng.uniform(-0.12, 0.06))),
        knees=(0.05, 0.05),
        shoulders=(arm, -0.3 if hip else float(rng.uniform(-0.1, 0.2))),
        elbows=(1.7 if phone else 0.15, 1.4 if hip else 0.15),
        spread=0.45 if hip else 0.1,
    )


def cycling(phase: float) -> Pose:
    """A person on a bicycle: seated, hands on the bar, legs on the pedals."""
    stroke = 0.42 * float(np.sin(phase))
    return Pose(
        hips=(0.95 + stroke, 0.95 - stroke),
        knees=(1.15 + stroke * 1.3, 1.15 - stroke * 1.3),
        shoulders=(0.95, 0.95),
        elbows=(0.15, 0.15),
        lean=0.38,
        spread=0.1,
        straddle=0.04,
    )


def motorcycling() -> Pose:
    """A person on a motorcycle or scooter."""
    return Pose(
        hips=(1.2, 1.2),
        knees=(1.35, 1.35),
        shoulders=(0.85, 0.85),
        elbows=(0.3, 0.3),
        lean=0.25,
        spread=0.2,
        straddle=0.13,
    )
