"""Who hides whom: the order of painting, and what it does to the masks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from street_scenes import Camera, SyntheticInstance
from street_scenes.actors import Actor
from street_scenes.light import random_light
from street_scenes.order import paint_order
from street_scenes.render import render
from street_scenes.street import random_street

ALL = np.ones((2, 2), np.bool_)


def _box(x: float, y: float, half_x: float, half_y: float) -> NDArray[np.float64]:
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float64)
    return np.array([x, y]) + signs * [half_x, half_y]


def test_farther_thing_is_painted_first() -> None:
    boxes = np.stack([_box(5, 0, 1, 1), _box(12, 0, 1, 1)])
    assert paint_order(boxes, (0.0, 0.0), ALL) == [1, 0]


def test_person_behind_a_bus_is_painted_first_though_nearer_than_its_middle() -> None:
    eye, bus, person = (2.0, -4.0), _box(12, 0, 6, 1.3), _box(7, 2, 0.3, 0.3)
    assert np.hypot(7 - 2, 2 + 4) < np.hypot(12 - 2, 0 + 4)
    assert paint_order(np.stack([bus, person]), eye, ALL) == [1, 0]
    assert paint_order(np.stack([person, bus]), eye, ALL) == [0, 1]


def test_every_thing_is_painted_once_even_when_footprints_overlap() -> None:
    rng = np.random.default_rng(0)
    boxes = np.stack([_box(*rng.uniform(-3, 3, 2), 2, 2) for _ in range(9)])
    order = paint_order(boxes, (-20.0, 0.0), np.ones((9, 9), np.bool_))
    assert sorted(order) == list(range(9))


def test_nothing_to_paint() -> None:
    assert paint_order(np.zeros((0, 4, 2)), (0.0, 0.0), np.zeros((0, 0), np.bool_)) == []


def _view(*actors: Actor) -> dict[int, SyntheticInstance]:
    street = random_street(1)
    camera = Camera(width=320, height=224, focal_px=280, position=(0.0, 0.0, 1.6))
    light = random_light(np.random.default_rng(0))
    scene = render(camera, light, street, actors, seed=1)
    return {instance.track_id: instance for instance in scene.instances}


CAR = Actor(kind="car", seed=4, x=11.0, y=0.0, yaw=0.0, track_id=1)
PERSON = Actor(kind="walker", seed=2, x=7.0, y=0.3, yaw=1.5, track_id=2)


def test_person_before_a_car_hides_part_of_it() -> None:
    both = _view(CAR, PERSON)
    assert both[2].occlusion == 0
    assert 0.05 < both[1].occlusion < 0.5
    shared = both[1].full_mask(224, 320) & both[2].full_mask(224, 320)
    assert not shared.any()


def test_whole_outline_does_not_depend_on_what_hides_it() -> None:
    alone, both = _view(CAR), _view(CAR, PERSON)
    assert alone[1].occlusion == 0
    assert np.array_equal(alone[1].amodal, both[1].amodal)


def test_object_wholly_hidden_is_not_reported() -> None:
    child = Actor(kind="stander", seed=2, x=30.0, y=0.0, yaw=0.0, track_id=3)
    lorry = Actor(kind="bus", seed=1, x=12.0, y=0.0, yaw=0.0, track_id=4)
    assert set(_view(child, lorry)) == {4}


@pytest.mark.parametrize("kind", ["bicycle", "motorcycle"])
def test_rider_sits_on_the_vehicle(kind: str) -> None:
    vehicle = Actor(kind=kind, seed=3, x=6.0, y=0.0, yaw=1.3, track_id=5)  # type: ignore[arg-type]
    seen = _view(vehicle, vehicle.rider)
    rider = next(i for i in seen.values() if i.vehicle_id == 5)
    assert rider.class_name == "person"
    assert rider.occlusion == 0
    low, high = rider.amodal[:, 1].max(), seen[5].amodal[:, 1].max()
    assert low < high, "the feet must hang above the ground"
