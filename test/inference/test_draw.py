"""Contours drawn over their image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from e2ec_core.colors import class_color
from e2ec_core.contours import Contours
from e2ec_core.inference.draw import dashes, draw_contours

NAMES = ("car", "person", "traffic light")
GREY = np.full((100, 140, 3), 90, np.uint8)


def _square(x: float, y: float, side: float, *, class_id: int = 0, score: float = 0.9) -> Contours:
    corners = [[x, y + side], [x + side, y + side], [x + side, y], [x, y]]
    return Contours(
        vertices=np.array([corners], np.float32),
        scores=np.array([score], np.float32),
        class_ids=np.array([class_id]),
        stage="final",
        image_size=(100, 140),
    )


def _both(a: Contours, b: Contours) -> Contours:
    return replace(
        a,
        vertices=np.concatenate([a.vertices, b.vertices]),
        scores=np.concatenate([a.scores, b.scores]),
        class_ids=np.concatenate([a.class_ids, b.class_ids]),
    )


def test_nothing_draws_nothing() -> None:
    nothing = _square(10, 10, 5)[np.zeros(1, bool)]
    np.testing.assert_array_equal(draw_contours(GREY, nothing, NAMES), GREY)


def test_the_image_itself_is_not_changed() -> None:
    image = GREY.copy()
    drawn = draw_contours(image, _square(30, 30, 40), NAMES)
    assert drawn is not image
    np.testing.assert_array_equal(image, GREY)
    assert (drawn != GREY).any()


@pytest.mark.parametrize("class_id", [0, 1, 2])
def test_pixels_on_the_contour_have_the_colour_of_the_class(class_id: int) -> None:
    contours = _square(30, 30, 40, class_id=class_id)
    drawn = draw_contours(GREY, contours, NAMES, labels=False)
    for x, y in ((30, 50), (70, 50), (50, 70), (50, 30), (30, 70)):
        assert tuple(drawn[y, x]) == class_color(class_id)


def test_the_inside_is_tinted_and_the_outside_is_left() -> None:
    drawn = draw_contours(GREY, _square(30, 30, 40), NAMES, fill=0.5, labels=False)
    expected = (np.array(class_color(0)) + 90) / 2
    np.testing.assert_allclose(drawn[50, 50], expected, atol=1)
    untouched = np.ones((100, 140), bool)
    untouched[27:74, 27:74] = False
    assert (drawn[untouched] == 90).all()
    hollow = draw_contours(GREY, _square(30, 30, 40), NAMES, fill=0.0, labels=False)
    assert tuple(hollow[50, 50]) == (90, 90, 90)


def test_the_surest_instance_lies_on_top() -> None:
    sure, unsure = _square(30, 30, 40, class_id=0), _square(50, 30, 40, class_id=1, score=0.4)
    for contours in (_both(sure, unsure),):
        drawn = draw_contours(GREY, contours, NAMES, fill=1.0, labels=False)
        assert tuple(drawn[50, 60]) == class_color(0)
        assert tuple(drawn[50, 85]) == class_color(1)


def test_labels_are_written_above() -> None:
    contours = _square(40, 50, 40)
    plain = draw_contours(GREY, contours, NAMES, labels=False)
    labelled = draw_contours(GREY, contours, NAMES)
    rows, columns = np.nonzero((plain != labelled).any(axis=2))
    assert len(rows) > 50
    assert rows.max() < 52
    assert 25 < columns.mean() < 95


def test_colours_are_stable_bright_and_differ() -> None:
    colors = [class_color(i) for i in range(20)]
    assert colors == [class_color(i) for i in range(20)]
    assert len(set(colors)) == 20
    assert all(max(color) == 255 for color in colors)
    for i in range(19):
        assert np.abs(np.subtract(colors[i], colors[i + 1])).sum() > 100


@pytest.mark.parametrize(
    "square",
    [(-20, -20, 60), (120, 80, 60), (-500, -500, 100), (-500, -500, 2000), (1e7, 1e7, 50)],
)
@pytest.mark.parametrize("labels", [True, False])
def test_contours_may_leave_the_image(square: tuple[float, float, float], labels: bool) -> None:
    drawn = draw_contours(GREY, _square(*square), NAMES, labels=labels)
    assert drawn.shape == GREY.shape
    assert drawn.dtype == np.uint8


def test_the_part_inside_is_drawn_where_it_is() -> None:
    drawn = draw_contours(GREY, _square(-2000, 40, 2100), NAMES, labels=False, fill=0.0)
    assert tuple(drawn[60, 100]) == class_color(0)
    assert tuple(drawn[40, 30]) == class_color(0)
    assert tuple(drawn[20, 30]) == (90, 90, 90)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_images_smaller_than_a_label_are_drawn_on(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    drawn = draw_contours(image, _square(0, 0, 2, class_id=2), NAMES)
    assert drawn.shape == image.shape


def test_a_view_that_is_read_only_can_be_drawn_on() -> None:
    image = GREY[::-1, :, ::-1]
    image.setflags(write=False)
    drawn = draw_contours(image, _square(30, 30, 40), NAMES)
    assert (drawn != image).any()


def test_dashes_cover_half_of_the_outline_in_pieces_of_their_length() -> None:
    ring = np.array([[0, 0], [0, 30], [40, 30], [40, 0]], np.float32)
    pieces = dashes(ring, 10)
    lengths = [np.hypot(*np.diff(piece, axis=0).T).sum() for piece in pieces]
    assert len(pieces) == 7
    np.testing.assert_allclose(lengths, 10, atol=1e-4)
    np.testing.assert_array_equal(pieces[0], [[0, 0], [0, 10]])


def test_amodal_contours_are_drawn_where_something_is_hidden() -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    square = np.array([[[10, 40], [30, 40], [30, 20], [10, 20]]], np.float32)
    wide = np.array([[[10, 40], [80, 40], [80, 20], [10, 20]]], np.float32)
    contours = Contours(
        vertices=square,
        scores=np.ones(1, np.float32),
        class_ids=np.zeros(1, np.int64),
        stage="final",
        image_size=(60, 90),
    )
    plain = draw_contours(image, contours, ["car"], labels=False)
    same = replace(contours, amodal_vertices=square)
    np.testing.assert_array_equal(draw_contours(image, same, ["car"], labels=False), plain)
    drawn = draw_contours(
        image, replace(contours, amodal_vertices=wide), ["car"], labels=False, line_width=1
    )
    upper = drawn[20, 40:80].any(-1)
    assert 0.3 < upper.mean() < 0.9
    assert not drawn[25:35, 45:75].any()
