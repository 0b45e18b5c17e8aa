"""The result type: boxes, areas, selection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from e2ec_core.contours import Contours


def _contours() -> Contours:
    """A 10 x 20 rectangle, a triangle of half the area, and a point."""
    rectangle = [[0, 20], [10, 20], [10, 0], [0, 0]]
    triangle = [[5, 25], [15, 25], [15, 5], [15, 5]]
    return Contours(
        vertices=np.array([rectangle, triangle, [[3, 4]] * 4], np.float32),
        scores=np.array([0.9, 0.5, 0.1], np.float32),
        class_ids=np.array([2, 0, 1]),
        stage="final",
        image_size=(100, 200),
    )


def _empty() -> Contours:
    return Contours(
        vertices=np.zeros((0, 4, 2), np.float32),
        scores=np.zeros(0, np.float32),
        class_ids=np.zeros(0, np.int64),
        stage="coarse",
        image_size=(1, 1),
    )


def test_nothing_has_no_boxes_and_no_areas() -> None:
    assert len(_empty()) == 0
    assert _empty().boxes_xyxy.shape == (0, 4)
    assert _empty().boxes_xyxy.dtype == np.float32
    assert _empty().areas.shape == (0,)


def test_boxes_enclose_the_vertices() -> None:
    expected = [[0, 0, 10, 20], [5, 5, 15, 25], [3, 4, 3, 4]]
    np.testing.assert_array_equal(_contours().boxes_xyxy, expected)


def test_areas_of_known_shapes() -> None:
    assert _contours().areas.tolist() == [200, 100, 0]
    assert _contours().areas.dtype == np.float32


def test_areas_do_not_depend_on_orientation_or_place() -> None:
    contours = _contours()
    turned = Contours(
        vertices=contours.vertices[:, ::-1] + np.float32(4096),
        scores=contours.scores,
        class_ids=contours.class_ids,
        stage="final",
        image_size=(9000, 9000),
    )
    np.testing.assert_allclose(turned.areas, contours.areas, atol=0.01)


@pytest.mark.parametrize(
    "index", [slice(0, 2), np.array([0, 1]), np.array([True, True, False]), [0, 1]]
)
def test_selection_keeps_the_fields_together(index: object) -> None:
    chosen = _contours()[index]
    assert len(chosen) == 2
    assert chosen.scores.tolist() == pytest.approx([0.9, 0.5])
    assert chosen.class_ids.tolist() == [2, 0]
    assert chosen.areas.tolist() == [200, 100]
    assert (chosen.stage, chosen.image_size) == ("final", (100, 200))


def test_selecting_nothing_gives_nothing() -> None:
    assert _contours()[np.zeros(3, bool)].boxes_xyxy.shape == (0, 4)


def test_contours_are_objects_of_their_own_unless_told_otherwise() -> None:
    assert [group.tolist() for group in _contours().by_instance()] == [[0], [1], [2]]
    assert _empty().by_instance() == []


def test_contours_of_one_object_stay_together() -> None:
    grouped = replace(_contours(), instance_ids=np.array([7, 2, 7]))
    assert [group.tolist() for group in grouped.by_instance()] == [[0, 2], [1]]
    assert [group.tolist() for group in grouped[1:].by_instance()] == [[0], [1]]
    assert replace(_empty(), instance_ids=np.zeros(0, np.int64)).by_instance() == []


def test_a_mask_holds_the_pixels_whose_centres_lie_inside() -> None:
    shifted = replace(_contours(), vertices=_contours().vertices + np.float32(0.5))
    masks = shifted.masks()
    assert masks.shape == (3, 100, 200)
    assert masks.dtype == np.bool_
    rows, columns = np.nonzero(masks[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 20, 1, 10)
    assert masks.sum(axis=(1, 2)).tolist() == [200, 100, 0]
    assert _empty().masks().shape == (0, 1, 1)


def test_better_instances_are_in_front_in_the_label_image() -> None:
    contours = replace(_contours(), vertices=_contours().vertices + np.float32(0.5))
    labels = contours.label_image()
    assert (labels.shape, labels.dtype) == ((100, 200), np.uint16)
    rectangle, triangle, _ = contours.masks()
    assert (labels[rectangle] == 1).all()
    assert (labels[triangle & ~rectangle] == 2).all()
    assert not labels[~(triangle | rectangle)].any()
    swapped = contours[[1, 0]].label_image()
    assert (swapped[triangle] == 1).all()
    assert (swapped[rectangle & ~triangle] == 2).all()
    assert not _empty().label_image().any()


def test_contours_of_one_object_have_one_label() -> None:
    triangle = _contours().vertices[1] + np.float32(50.5)
    vertices = np.stack(
        [_contours().vertices[0] + np.float32(0.5), _contours().vertices[0], triangle]
    )
    grouped = replace(_contours(), vertices=vertices, instance_ids=np.array([7, 2, 7]))
    labels, masks = grouped.label_image(), grouped.masks()
    assert (labels[masks[0] | masks[2]] == 1).all()
    assert (labels[masks[1] & ~masks[0]] == 2).all()


def test_contours_that_leave_the_image_are_cut_at_its_edge() -> None:
    small = replace(_contours(), image_size=(10, 8))
    assert small.masks().shape == (3, 10, 8)
    assert small.label_image()[:, :8].all()


def test_labels_name_class_track_and_score() -> None:
    names = ("car", "person", "bus")
    assert _contours().label(0, names) == "bus 0.90"
    tracked = replace(_contours(), track_ids=np.array([7, 12, 3]))
    assert tracked.label(0, names) == "bus #7 0.90"
    assert tracked[1:].label(0, names) == "car #12 0.50"


def test_the_hidden_share_is_what_the_visible_outline_lacks_of_the_whole_one() -> None:
    contours = _contours()
    assert contours.hidden is None
    whole = contours.vertices.copy()
    whole[0] = [[0, 40], [10, 40], [10, 0], [0, 0]]  # twice the rectangle
    whole[1, 0] = [10, 25]  # less than the triangle
    both = replace(contours, amodal_vertices=whole)
    assert both.hidden is not None
    assert both.hidden.tolist() == [0.5, 0, 0]
    assert both[1:].amodal_vertices is not None
    np.testing.assert_array_equal(both[1:].amodal_vertices, whole[1:])
