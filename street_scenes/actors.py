"""Things of a COCO class that stand or move on the street."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from street_scenes.cars import build_car
from street_scenes.cycles import (
    BICYCLE_SADDLE_M,
    MOTORCYCLE_SADDLE_M,
    build_bicycle,
    build_motorcycle,
)
from street_scenes.heavy import build_bus, build_truck
from street_scenes.looks import random_look
from street_scenes.mesh import Mesh
from street_scenes.people import build_person
from street_scenes.poses import cycling, motorcycling, standing, walking

ActorKind = Literal[
    "walker", "stander", "cyclist", "motorcyclist", "car", "pickup", "truck", "bus", "bicycle",
    "motorcycle",
]  # fmt: skip
CLASS_OF_KIND: dict[ActorKind, str] = {
    "walker": "person", "stander": "person", "cyclist": "person", "motorcyclist": "person",
    "car": "car", "pickup": "truck", "truck": "truck", "bus": "bus", "bicycle": "bicycle",
    "motorcycle": "motorcycle",
}  # fmt: skip
RIDER_OF_KIND: dict[ActorKind, ActorKind] = {"bicycle": "cyclist", "motorcycle": "motorcyclist"}
HALF_SIZE_M: dict[ActorKind, tuple[float, float]] = {
    "walker": (0.35, 0.3), "stander": (0.25, 0.3), "bicycle": (0.9, 0.3),
    "motorcycle": (1.05, 0.4), "car": (2.4, 1.0), "pickup": (2.75, 1.05), "truck": (4.5, 1.3),
    "bus": (6.1, 1.3), "cyclist": (0.9, 0.3), "motorcyclist": (1.05, 0.4),
}  # fmt: skip
"""Half of the length and half of the width of the largest of each kind, m."""
RIDER_ID_OFFSET = 50_000_000
DETAIL_PX_PER_M = (13.0, 28.0, 75.0)
"""Scales from which on an object is built in detail 1, 2 and 3."""
GAIT_STEPS = 16
CAR_POOL = 200
"""Different cars; building one costs ten times as much as painting it."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One object and where it stands.

    Attributes:
        kind: What is drawn.
        seed: Seed of its shape, colours and clothes.
        x: World, m.
        y: World, m.
        yaw: Heading, rad.
        phase: Phase of the gait or the pedals, rad.
        track_id: Positive and constant while the object is in sight.
        vehicle_id: Track id of the vehicle a rider sits on, else None.
    """

    kind: ActorKind
    seed: int
    x: float
    y: float
    yaw: float
    track_id: int
    phase: float = 0.0
    vehicle_id: int | None = None

    @property
    def class_name(self) -> str:
        """COCO class."""
        return CLASS_OF_KIND[self.kind]

    @property
    def rider(self) -> Actor:
        """The person who rides this bicycle or motorcycle."""
        return replace(
            self,
            kind=RIDER_OF_KIND[self.kind],
            track_id=self.track_id + RIDER_ID_OFFSET,
            vehicle_id=self.track_id,
        )

    def side_of(self, x: float, y: float) -> int:
        """1 or -1 for a world place clearly to the left or right of the actor, else 0."""
        left = np.cos(self.yaw) * (y - self.y) - np.sin(self.yaw) * (x - self.x)
        return int(np.sign(left)) if abs(left) > 0.8 else 0

    def footprint(self) -> NDArray[np.float64]:
        """Corners of the ground it covers, `[4, 2]`, counter-clockwise, world, m."""
        half_x, half_y = HALF_SIZE_M[self.kind]
        corners = np.array([(-half_x, -half_y), (half_x, -half_y), (half_x, half_y),
                            (-half_x, half_y)])  # fmt: skip
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        turned = corners @ np.array([[cosine, sine], [-sine, cosine]])
        return np.asarray(turned + np.array([self.x, self.y]))

    def mesh(self, px_per_m: float) -> Mesh:
        """The actor in world coordinates, in as much detail as shows at a scale."""
        moving = self.kind in _MOVING_PARTS
        # A few poses per cycle let the cache serve most frames of a drive.
        step = round(self.phase / (2 * np.pi) * GAIT_STEPS) % GAIT_STEPS if moving else 0
        detail = sum(px_per_m > limit for limit in DETAIL_PX_PER_M)
        return _mesh(self.kind, self.seed, step, detail).moved(self.x, self.y, yaw=self.yaw)


_MOVING_PARTS = ("walker", "cyclist", "bicycle")


@lru_cache(maxsize=768)
def _mesh(kind: ActorKind, seed: int, step: int, detail: int) -> Mesh:
    if kind == "car":
        return _car(seed % CAR_POOL, detail)
    rng = np.random.default_rng([seed, 31])
    phase = step * 2 * np.pi / GAIT_STEPS
    if kind == "pickup":
        return build_car(rng, kind="pickup", detail=detail)
    if kind == "bus":
        return build_bus(rng, detail=detail)
    if kind == "truck":
        return build_truck(rng, detail=detail)
    if kind == "bicycle":
        return build_bicycle(rng, phase, detail=detail)
    if kind == "motorcycle":
        return build_motorcycle(rng, detail=detail)
    return _person(kind, phase, rng, detail)


@lru_cache(maxsize=2 * CAR_POOL)
def _car(number: int, detail: int) -> Mesh:
    return build_car(np.random.default_rng([number, 32]), detail=detail)


def _person(kind: ActorKind, phase: float, rng: np.random.Generator, detail: int) -> Mesh:
    if kind == "cyclist":
        look = random_look(rng, helmet=bool(rng.random() < 0.6), rider=True)
        seat = BICYCLE_SADDLE_M + 0.05
        return build_person(look, cycling(phase), hip_height=seat, detail=detail).moved(-0.25, 0)
    if kind == "motorcyclist":
        look = random_look(rng, helmet=True, rider=True)
        seat = MOTORCYCLE_SADDLE_M + 0.07
        return build_person(look, motorcycling(), hip_height=seat, detail=detail).moved(-0.2, 0)
    look = random_look(rng)
    pose = standing(rng) if kind == "stander" else walking(phase)
    return build_person(look, pose, detail=detail)
