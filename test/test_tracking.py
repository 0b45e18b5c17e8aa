"""Track ids: what they follow, what ends them, and that no two objects share one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from e2ec_core.contours import Contours
from e2ec_core.tracking import Tracker

SIZE = (375, 1242)
PERIOD = 0.1  # s
ANGLES = -np.linspace(0, 2 * np.pi, 32, endpoint=False)
OUTLINE = np.stack([np.sin(ANGLES), np.cos(ANGLES)], axis=1)


def image(
    *places: Sequence[float],
    score: float = 0.9,
    classes: Sequence[int] | None = None,
    size: tuple[int, int] = SIZE,
    parts: Sequence[int] | None = None,
) -> Contours:
    """Ellipses at (x, y) of 40 x 80 px, or at (x, y, width, height)."""
    boxes = np.array([(*place, 40, 80)[:4] for place in places], np.float64).reshape(-1, 4)
    vertices = boxes[:, None, :2] + OUTLINE * boxes[:, None, 2:] / 2
    return Contours(
        vertices=vertices.astype(np.float32),
        scores=np.full(len(boxes), score, np.float32),
        class_ids=np.array(classes if classes is not None else [0] * len(boxes), np.int64),
        stage="final",
        image_size=size,
        instance_ids=None if parts is None else np.array(parts),
    )


def ids(tracker: Tracker, contours: Contours, seconds: float) -> list[int]:
    found = tracker.update(contours, seconds).track_ids
    assert found is not None
    return found.tolist()


def steady(tracker: Tracker) -> dict[int, tuple[float, float, float]]:
    """Score, and x and y of the box's centre, of the confirmed tracks."""
    told = tracker.confirmed()
    assert told.track_ids is not None
    low, high = told.boxes_xyxy[:, :2], told.boxes_xyxy[:, 2:]
    rows = np.column_stack([told.scores, (low + high) / 2]).tolist()
    return dict(zip(told.track_ids.tolist(), map(tuple, rows), strict=True))


@pytest.mark.parametrize(("score", "confirmed_at"), [(0.9, 0), (0.5, 0), (0.49, 1)])
def test_an_object_keeps_its_id_and_is_confirmed_by_its_score_or_on_second_sight(
    score: float, confirmed_at: int
) -> None:
    tracker = Tracker()
    for step in range(30):
        # 45 px an image: faster than its own width.
        seen = image((100 + 45 * min(step, 20), 200), score=score)
        assert ids(tracker, seen, step * PERIOD) == [0]
        assert list(steady(tracker)) == [0][: step >= confirmed_at]


def test_an_object_that_was_sure_once_stays_confirmed() -> None:
    tracker = Tracker(confirm_after=5)
    for step, score in enumerate((0.4, 0.6, 0.4)):
        ids(tracker, image((100, 200), score=score), step * PERIOD)
        assert list(steady(tracker)) == [0][: step >= 1]


def test_ids_follow_objects_whatever_their_order() -> None:
    tracker, rng = Tracker(), np.random.default_rng(1)
    places = np.stack([np.linspace(50, 1200, 12), rng.uniform(60, 300, 12)], axis=1)
    speeds = rng.normal(0, 4, (12, 2))
    names: dict[int, int] = {}  # object to id
    for step in range(40):
        order = rng.permutation(12)
        found = ids(tracker, image(*(places + step * speeds)[order]), step * PERIOD)
        for number, track in zip(order.tolist(), found, strict=True):
            assert names.setdefault(number, track) == track
    assert sorted(names.values()) == list(range(12))


@pytest.mark.parametrize("missed", [(), (19, 20, 21), (18, 20, 22)])
def test_ids_stay_with_objects_that_cross(missed: tuple[int, ...]) -> None:
    """Two people walk through each other; in some images the one behind is not found."""
    tracker = Tracker()
    for step in range(40):
        places = [(200 + 10 * step, 200), (600 - 10 * step, 206)]
        found = ids(tracker, image(*places[: 1 if step in missed else 2]), step * PERIOD)
        assert found == [0, 1][: len(found)], step


def test_jitter_misses_and_false_objects_do_not_break_a_track() -> None:
    tracker, rng = Tracker(), np.random.default_rng(3)
    seen: set[int] = set()
    for step in range(200):
        places = []
        if rng.random() > 0.15 or not step:
            x, y = (100 + 5 * step, 200) + rng.uniform(-0.05, 0.05, 2) * (40, 80)
            places.append((x, y, *(1 + rng.uniform(-0.05, 0.05, 2)) * (40, 80)))
        if step % 5 == 0:
            places.append((rng.uniform(0, 1242), 330, 20, 20))
        found = ids(tracker, image(*places), step * PERIOD)
        seen |= set(found[: len(places) - (step % 5 == 0)])
    assert seen == {0}


@pytest.mark.parametrize(("hidden", "same"), [(1, True), (8, True), (11, False)])
def test_a_lost_object_is_found_again_within_the_memory(hidden: int, same: bool) -> None:
    tracker = Tracker(memory=1.0)
    for step in range(10):
        assert ids(tracker, image((100 + 6 * step, 200)), step * PERIOD) == [0]
    for step in range(10, 10 + hidden):
        assert ids(tracker, image(), step * PERIOD) == []
    step = 10 + hidden
    assert ids(tracker, image((100 + 6 * step, 200)), step * PERIOD) == [0 if same else 1]


def test_short_gaps_of_confirmed_tracks_are_bridged_where_the_object_should_be() -> None:
    tracker = Tracker()
    for step in range(10):
        people = [(100 + 6 * step, 200), (900, 150, 20, 50)]
        assert ids(tracker, image(*people, score=0.4), step * PERIOD) == [0, 1]
    for step in (10, 11, 12):
        false = [(400, 300)] if step == 10 else []
        ids(tracker, image((900, 150, 20, 50), *false, score=0.4), step * PERIOD)
        told = steady(tracker)
        assert told[1] == pytest.approx((0.4, 900, 150), abs=0.01)
        if step < 12:
            assert told[0] == pytest.approx((0.0, 100 + 6 * step, 200), abs=1.0)
        assert set(told) == ({0, 1} if step < 12 else {1})
    assert ids(tracker, image((100 + 6 * 13, 200)), 13 * PERIOD) == [0]
    assert tracker.confirmed().instance_ids is not None


@pytest.mark.parametrize(("size", "images"), [((40, 80), 1), ((1, 2), 10)])
def test_gaps_are_not_bridged_where_the_place_is_not_sure(
    size: tuple[float, float], images: int
) -> None:
    """A speed is not known at first sight, and the place of some pixels is not either."""
    tracker = Tracker()
    for step in range(images):
        assert ids(tracker, image((100 + step, 200, *size)), step * PERIOD) == [0]
        assert list(steady(tracker)) == [0]
    ids(tracker, image(), images * PERIOD)
    assert steady(tracker) == {}


def test_a_new_object_is_expected_to_move_like_those_around() -> None:
    """A street passes by 60 px an image; so does a person who comes into sight, 20 px wide."""
    tracker = Tracker()
    for step in range(8):
        x = 60 * step
        street = [(100 + x, 200, 120, 120), (300 + x, 200, 120, 120), (380 + x, 230, 20, 60)]
        found = ids(tracker, image(*street[: 2 if step < 5 else 3]), step * PERIOD)
        assert found == [0, 1, 2][: len(found)], step


def test_an_object_that_leaves_the_image_is_not_told_of_any_longer() -> None:
    tracker = Tracker()
    for step in range(8):
        ids(tracker, image((1100 + 20 * step, 200)), step * PERIOD)  # the edge is at 1241.5
    ids(tracker, image(), 8 * PERIOD)
    assert steady(tracker) == {}


def test_a_bridged_object_of_several_parts_has_them_all() -> None:
    tracker = Tracker()
    for step in range(3):
        seen = image((100, 200, 20, 80), (160, 200, 20, 80), parts=[5, 5])
        ids(tracker, seen, step * PERIOD)
    ids(tracker, image(), 3 * PERIOD)
    told = tracker.confirmed()
    np.testing.assert_allclose(told.boxes_xyxy, seen.boxes_xyxy, atol=0.1)
    assert told.instance_ids is not None
    assert told.instance_ids.tolist() == [0, 0]


def test_there_is_nothing_to_tell_before_the_first_image() -> None:
    with pytest.raises(ValueError, match="call update first"):
        Tracker().confirmed()


@pytest.mark.parametrize("half", [-10.0, 10.0])
def test_an_object_half_hidden_for_some_images_keeps_its_id(half: float) -> None:
    tracker = Tracker()
    for step in range(30):
        visible = (500 + half, 200, 20, 80) if 10 <= step < 15 else (500, 200)
        assert ids(tracker, image(visible), step * PERIOD) == [0]


def test_time_that_goes_back_or_jumps_ends_all_tracks() -> None:
    tracker = Tracker(memory=1.0)
    place = (100, 200)
    for stamp, expected in (
        (50.0, 0),
        (51.0, 0),
        (50.9, 1),  # a bag starts again
        (51.0, 1),
        (52.1, 2),  # longer than the memory
        (53.1, 2),
        (0.0, 3),
    ):
        assert ids(tracker, image(place), stamp) == [expected]


def test_stamps_that_stand_still_count_as_images() -> None:
    tracker = Tracker(memory=0.5)
    assert [ids(tracker, image((100 + 5 * i, 200)), 0.0) for i in range(20)] == [[0]] * 20
    for _ in range(10):  # a second by the usual period
        ids(tracker, image(), 0.0)
    assert ids(tracker, image((200, 200)), 0.0) == [1]


def test_another_size_of_image_ends_all_tracks() -> None:
    tracker = Tracker()
    assert ids(tracker, image((100, 200)), 0.0) == [0]
    assert ids(tracker, image((100, 200), size=(720, 1280)), 0.1) == [1]
    assert ids(tracker, image((100, 200), size=(720, 1280)), 0.2) == [1]


def test_classes_are_kept_apart() -> None:
    tracker = Tracker()
    for step in range(5):
        both = image((100, 200), (104, 200), classes=[0, 3])
        assert ids(tracker, both, step * PERIOD) == [0, 1]
    assert ids(tracker, image((104, 200), (100, 200), classes=[0, 3]), 0.5) == [0, 1]
    assert ids(tracker, image((100, 200), classes=[7]), 0.6) == [2]


def test_shapes_tell_objects_of_one_box_apart() -> None:
    """One on either side of a diagonal, in an order that changes."""
    upper, lower = [[0, 0], [0, 60], [60, 0]], [[60, 60], [60, 0], [0, 60]]
    tracker, rng = Tracker(), np.random.default_rng(2)
    for step in range(20):
        order = rng.permutation(2) if step else np.arange(2)
        moved = np.array([upper, lower], np.float32) + (200 + 5 * step, 100)
        moved += rng.uniform(-2, 2, (2, 1, 2)).astype(np.float32)
        seen = replace(image(*[(0, 0)] * 2), vertices=moved[order])
        assert ids(tracker, seen, step * PERIOD) == order.tolist()


def test_contours_of_one_object_share_its_track() -> None:
    tracker = Tracker()
    for step in range(5):
        x = 100 + 10 * step
        seen = image((x, 200, 20, 80), (400, 200), (x + 60, 200, 20, 80), parts=[4, 9, 4])
        assert ids(tracker, seen, step * PERIOD) == [0, 1, 0]
    assert ids(tracker, image((180, 200, 100, 80), (400, 200)), 0.5) == [0, 1]


def test_no_id_is_used_twice() -> None:
    tracker, rng = Tracker(memory=0.3), np.random.default_rng(0)
    last_seen: dict[int, int] = {}
    stamp = 0.0
    for step in range(300):
        stamp += rng.choice([0.1, 0.1, 0.1, 0.4, -5.0])
        places = rng.uniform(0, 1200, (rng.integers(0, 6), 2))
        found = ids(tracker, image(*places), stamp)
        assert len(set(found)) == len(found)
        for track in found:
            assert step - last_seen.get(track, step) <= 3  # never again after it ended
            last_seen[track] = step
    assert len(last_seen) > 100
    assert sorted(last_seen) == list(range(len(last_seen)))


def test_ids_go_on_after_a_reset() -> None:
    tracker = Tracker()
    assert ids(tracker, image((100, 200), (300, 200)), 0.0) == [0, 1]
    tracker.reset()
    assert ids(tracker, image((100, 200)), 0.1) == [2]


@pytest.mark.parametrize("vertices", [[[5, 5]] * 4, [[0, 0], [9, 0], [9, 0], [0, 0]]])
def test_outlines_without_an_area_are_objects_too(vertices: list[list[int]]) -> None:
    flat = Contours(
        vertices=np.array([vertices], np.float32),
        scores=np.ones(1, np.float32),
        class_ids=np.zeros(1, np.int64),
        stage="final",
        image_size=SIZE,
    )
    tracker = Tracker()
    assert [ids(tracker, flat, step * PERIOD) for step in range(3)] == [[0]] * 3


@pytest.mark.parametrize("wrong", [{"memory": 0.0}, {"memory": np.nan}, {"confirm_after": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Tracker(**wrong)  # type: ignore[arg-type]


def test_fifty_objects_take_less_than_two_milliseconds() -> None:
    tracker, rng = Tracker(), np.random.default_rng(5)
    places = rng.uniform((0, 100), (1242, 300), (50, 2))
    images = [image(*(places + 2 * step), classes=[0, 1] * 25) for step in range(60)]
    spent = []
    for step, contours in enumerate(images):
        started = time.thread_time()
        tracker.update(contours, step * PERIOD)
        spent.append(time.thread_time() - started)
    assert np.median(spent) < 0.002
