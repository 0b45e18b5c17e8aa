"""Single random scenes for training: more crowded and more varied than a drive."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from street_scenes.actors import HALF_SIZE_M, RIDER_OF_KIND, Actor, ActorKind
from street_scenes.camera import Camera
from street_scenes.light import random_light
from street_scenes.render import render
from street_scenes.scene import SyntheticScene, check_size
from street_scenes.street import Street, random_street
from street_scenes.traffic import street_actors

STRAYS: dict[ActorKind, float] = {
    "walker": 0.34, "stander": 0.16, "car": 0.22, "bicycle": 0.08, "motorcycle": 0.07,
    "truck": 0.05, "bus": 0.04, "pickup": 0.04,
}  # fmt: skip

STRAY_ID = 1


def make_scene(seed: int, width: int = 640, height: int = 384) -> SyntheticScene:
    """Render the random scene of a seed.

    Besides ordinary traffic it holds strays: people and vehicles close to the camera, in any
    direction, partly behind each other, so that every shape is seen from all sides and under
    occlusion.

    Args:
        seed: Any non-negative integer; the same seed gives the same pixels.
        width: Image width, px.
        height: Image height, px.

    Raises:
        ValueError: If a value is out of range.
    """
    check_size(seed, width, height)
    rng = np.random.default_rng([seed, 61])
    street = random_street(seed)
    along, seconds = float(rng.uniform(0, 500)), float(rng.uniform(0, 60))
    camera = _random_camera(rng, street, along, width, height)
    actors = list(street_actors(street, along, seconds, float(rng.uniform(5, 11))))
    clear = [
        actor for actor in actors if _distance(actor, camera) > 2.0 + HALF_SIZE_M[actor.kind][0]
    ]
    strays = list(_strays(rng, camera, clear))
    return render(camera, random_light(rng), street, clear + strays, seed=seed)


def _random_camera(
    rng: np.random.Generator, street: Street, along: float, width: int, height: int
) -> Camera:
    across = float(rng.uniform(-street.facade + 2, street.facade - 2))
    if rng.random() < 0.6:
        across = street.lane_center(0)
    x, y = street.place(along, across)
    return Camera(
        width=width,
        height=height,
        focal_px=width * float(rng.uniform(0.6, 1.3)),
        position=(x, y, float(rng.uniform(1.1, 2.6))),
        yaw=street.heading(along) + float(rng.normal(0, 0.25)),
        pitch=float(rng.uniform(0.0, 0.1)),
        horizon=float(rng.uniform(0.42, 0.52)),
    )


def _distance(actor: Actor, camera: Camera) -> float:
    return math.hypot(actor.x - camera.position[0], actor.y - camera.position[1])


def _strays(rng: np.random.Generator, camera: Camera, others: list[Actor]) -> Iterator[Actor]:
    """Objects at random places in sight that do not run into each other."""
    taken = [actor for actor in others if actor.vehicle_id is None]
    for number in range(int(rng.integers(3, 14))):
        kind = list(STRAYS)[rng.choice(len(STRAYS), p=list(STRAYS.values()))]
        near = 2.0 + 1.3 * HALF_SIZE_M[kind][0]
        depth = near + float(rng.exponential(7.0))
        sideways = float(rng.uniform(-0.5, 0.5)) * camera.width / camera.focal_px * depth
        forward, left = np.cos(camera.yaw), np.sin(camera.yaw)
        actor = Actor(
            kind=kind,
            seed=int(rng.integers(1 << 30)),
            x=camera.position[0] + depth * forward - sideways * left,
            y=camera.position[1] + depth * left + sideways * forward,
            yaw=float(rng.uniform(0, 2 * np.pi)),
            track_id=STRAY_ID + number,
            phase=float(rng.uniform(0, 2 * np.pi)),
        )
        if all(_gap(actor, other) > 0 for other in taken):
            taken.append(actor)
            yield actor
            if actor.kind in RIDER_OF_KIND and rng.random() < 0.7:
                yield actor.rider


def _gap(first: Actor, second: Actor) -> float:
    """Distance of two actors, m, negative when they may touch."""
    ends = math.hypot(*HALF_SIZE_M[first.kind]) + math.hypot(*HALF_SIZE_M[second.kind])
    return math.hypot(first.x - second.x, first.y - second.y) - ends
