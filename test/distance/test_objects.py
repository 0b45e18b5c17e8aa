"""Objects in scenes of which every point is known, seen by a lidar that is made up of rays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from e2ec_core.distance import Location, Samples, locate, main_group, rays_at

SIZE = (200, 300)
P = np.array([[200.0, 0, 150, 0], [0, 200, 100, 0], [0, 0, 1, 0]])
Rectangle = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max, px


def scene(*things: tuple[Rectangle, float], wall: float = 40.0, step: int = 3) -> Samples:
    """One point for every `step` px: upright boards at distances (z, m) before a wall."""
    y, x = np.mgrid[1 : SIZE[0] : step, 1 : SIZE[1] : step].reshape(2, -1)
    z = np.full(x.shape, wall)
    for (left, top, right, bottom), far in things:
        z[(x >= left) & (x <= right) & (y >= top) & (y <= bottom) & (z > far)] = far
    pixels = np.stack([x, y], axis=1).astype(np.float64)
    return Samples(points=rays_at(pixels, P, z), pixels=pixels, rows=np.arange(len(x)))


def outline(rectangle: Rectangle, margin: float = 0.0) -> NDArray[np.float64]:
    """Its corners, counter-clockwise on the screen, moved outwards by some px."""
    left, top, right, bottom = np.add(rectangle, np.array([-1, -1, 1, 1]) * margin)
    return np.array([[left, bottom], [right, bottom], [right, top], [left, top]])


CAR: Rectangle = (100, 80, 180, 140)


def test_a_board_is_where_it_is() -> None:
    samples = scene((CAR, 10.0))
    (found,), labels = locate(samples, [outline(CAR)], SIZE)
    np.testing.assert_allclose(found.position, [-0.5, 0.5, 10], atol=0.1)
    np.testing.assert_allclose(found.spread[2], 0, atol=1e-9)
    assert found.extent[2] == pytest.approx(0, abs=1e-9)
    assert 0.6 * 4 < found.extent[0] < 4  # the outline's rim is left out
    assert found.near == pytest.approx(10, abs=0.1)
    assert found.points == np.count_nonzero(labels == 0) > 100
    assert set(labels.tolist()) == {-1, 0}


def test_an_outline_that_is_too_wide_does_not_pull_it() -> None:
    (found,), _ = locate(scene((CAR, 10.0)), [outline(CAR, margin=12)], SIZE)
    assert found.position[2] == found.high[2] == 10
    assert found.near == pytest.approx(10, abs=0.15)


def test_what_shines_through_windows_does_not_pull_it() -> None:
    samples = scene((CAR, 10.0))
    z = samples.points[:, 2].copy()
    x, y = samples.pixels.T
    window = (x > 110) & (x < 170) & (y > 85) & (y < 112)
    z[window] = np.random.default_rng(5).uniform(15, 40, np.count_nonzero(window))
    points = rays_at(samples.pixels, P, z)
    seen = Samples(points=points, pixels=samples.pixels, rows=samples.rows)
    (found,), labels = locate(seen, [outline(CAR)], SIZE)
    assert found.position[2] == pytest.approx(10)
    assert found.high[2] == pytest.approx(10)
    assert (labels[window] == -1).all()


def test_a_pole_in_front_does_not_pull_it() -> None:
    pole: Rectangle = (130, 0, 142, 200)
    (found,), _ = locate(scene((CAR, 10.0), (pole, 4.0)), [outline(CAR)], SIZE)
    assert found.position[2] == found.low[2] == 10


def test_a_dark_object_that_gives_few_points_is_found_before_what_is_behind() -> None:
    samples = scene((CAR, 10.0), wall=13.0)
    kept = (samples.points[:, 2] > 12) | (np.arange(len(samples)) % 5 == 0)
    seen = Samples(points=samples.points[kept], pixels=samples.pixels[kept], rows=samples.rows)
    upper: Rectangle = (100, 65, 180, 140)  # a sixth of it is wall
    (found,), _ = locate(seen, [outline(upper)], SIZE)
    assert found.position[2] == 10


BEHIND: Rectangle = (60, 70, 140, 150)


@pytest.mark.parametrize("amodal", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_points_of_overlapping_outlines_go_where_their_distance_fits(
    amodal: bool, first: int
) -> None:
    samples = scene((CAR, 10.0), (BEHIND, 16.0))
    order = [outline(CAR), outline(BEHIND)][:: 1 - 2 * first]
    locations, labels = locate(samples, order, SIZE, amodal=amodal)
    assert locations[first].position[2] == locations[first].high[2] == 10
    assert locations[1 - first].position[2] == locations[1 - first].low[2] == 16
    np.testing.assert_array_equal(samples.points[labels == first, 2], 10.0)


def test_a_person_before_a_car_is_told_from_it() -> None:
    person: Rectangle = (130, 85, 150, 135)
    samples = scene((CAR, 10.0), (person, 8.5))
    for amodal in (False, True):
        (car, one), _ = locate(samples, [outline(CAR), outline(person)], SIZE, amodal=amodal)
        assert car.position[2] == car.low[2] == 10
        assert one.position[2] == one.high[2] == 8.5


def test_what_is_hidden_gets_no_points() -> None:
    hidden: Rectangle = (115, 90, 165, 130)  # an amodal outline wholly behind the car
    samples = scene((CAR, 10.0))
    (car, nothing), labels = locate(samples, [outline(CAR), outline(hidden)], SIZE, amodal=True)
    assert car.position[2] == 10
    assert nothing.points == 0
    assert not (labels == 1).any()


def test_two_outlines_of_one_object_do_not_share_points() -> None:
    samples = scene((CAR, 10.0))
    locations, _ = locate(samples, [outline(CAR), outline(CAR, margin=2)], SIZE)
    assert locations[0].position[2] == 10
    assert locations[0].points > 5 * locations[1].points  # its rim


def test_what_shines_into_the_rim_of_a_nearer_object_does_not_pull_it() -> None:
    """Of a dark car behind only the top is seen, by few points; its outline reaches too low."""
    samples = scene((CAR, 10.0), ((110, 50, 170, 140), 30.0))
    kept = (samples.points[:, 2] != 30) | (np.arange(len(samples)) % 6 == 0)
    seen = Samples(points=samples.points[kept], pixels=samples.pixels[kept], rows=samples.rows)
    low: Rectangle = (110, 60, 170, 92)
    (car, behind), _ = locate(seen, [outline(CAR), outline(low)], SIZE)
    assert car.position[2] == car.high[2] == 10
    assert behind.position[2] == behind.low[2] == 30


def unknown(location: Location) -> bool:
    numbers = [location.position, location.low, location.high, location.spread, location.extent]
    return location.points == 0 and bool(np.isnan([*np.concatenate(numbers), location.near]).all())


def test_objects_without_points_are_not_located() -> None:
    samples = scene((CAR, 10.0))
    empty = Samples(points=np.zeros((0, 3)), pixels=np.zeros((0, 2)), rows=np.zeros(0, np.int64))
    tiny, outside = outline((20, 20, 22, 22)), outline((-90, -90, -50, -50))
    line = np.array([[100.0, 100], [160, 100], [160, 100], [100, 100]])
    not_numbers = np.full((4, 2), np.nan)
    for outlines in ([outline(CAR)], [tiny, outside, line, not_numbers]):
        locations, labels = locate(empty, outlines, SIZE)
        assert all(map(unknown, locations))
        assert labels.shape == (0,)
    locations, labels = locate(samples, [tiny, outside, line, not_numbers, outline(CAR)], SIZE)
    assert [unknown(one) for one in locations] == [True] * 4 + [False]
    assert locate(samples, [], SIZE)[0] == []


def test_an_object_of_several_outlines_is_one() -> None:
    pole: Rectangle = (130, 0, 142, 200)
    parts = [outline((100, 80, 129, 140)), outline((143, 80, 180, 140))]
    samples = scene((CAR, 10.0), (pole, 4.0))
    (found,), labels = locate(samples, parts, SIZE, groups=[[0, 1]])
    assert found.position[2] == 10
    assert found.extent[0] > 3
    assert labels.max() == 0


def test_an_outline_beyond_the_image_keeps_what_is_inside() -> None:
    border: Rectangle = (-60, 80, 40, 260)
    (found,), _ = locate(scene((border, 7.0)), [outline(border)], SIZE)
    assert found.position[2] == 7


def test_the_main_group_is_the_nearest_of_the_heavy_ones() -> None:
    distances = np.array([5.0, 10, 10.2, 10.4, 20, 20.3, 20.6, 20.9])
    weights = np.ones(8)
    assert main_group(distances, weights).tolist() == [False] + [True] * 3 + [False] * 4
    weights[4:] = 10
    assert main_group(distances, weights).tolist() == [False] * 4 + [True] * 4
    assert main_group(np.zeros(0), np.zeros(0)).shape == (0,)
