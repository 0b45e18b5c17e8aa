"""Bad polygons: each has a defined treatment, and is counted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from e2ec_core.data import problems as defects
from e2ec_core.data.outlines import (
    count_crossings,
    decode_run_lengths,
    mask_outlines,
    sound_outlines,
    untangle,
)
from e2ec_core.data.problems import HANDLING, Problems
from e2ec_core.geometry import contour_to_mask, signed_area

SIZE = (60, 80)
SQUARE = [10, 20, 30, 20, 30, 50, 10, 50]
BOW_TIE = [10, 10, 30, 30, 30, 10, 10, 30]
NAN = float("nan")


@pytest.mark.parametrize(
    ("flat", "kind", "left"),
    [
        ([1, 2, 3, 4], defects.FEW_POINTS, 0),
        ([1, 2, 3, 4, 5, 6, 7], defects.FEW_POINTS, 0),
        ([], defects.FEW_POINTS, 0),
        ([5, 5, 9, 9, 5, 5, 9, 9, 9, 9], defects.NO_AREA, 0),
        ([5, 5, 5, 5, 9, 9, 9, 9], defects.FEW_POINTS, 0),
        ([1, 2, NAN, 4, 5, 9], defects.NOT_FINITE, 0),
        ([1, 2, float("inf"), 4, 5, 9], defects.NOT_FINITE, 0),
        ([1, 2, 1e200, 4, 5, 9], defects.TOO_FAR, 0),
        (["a", "b", "c", "d", "e", "f"], defects.NO_NUMBERS, 0),
        ({"x": 1}, defects.NO_NUMBERS, 0),
        ([[1, 2], [3]], defects.NO_NUMBERS, 0),
        ([0, 0, 10, 10, 20, 20], defects.NO_AREA, 0),
        ([100, 10, 120, 10, 120, 30], defects.OUTSIDE, 0),
        ([-30, -30, -10, -30, -10, -10], defects.OUTSIDE, 0),
        # Its box meets the image, it does not.
        ([95, 55, 95, 70, 65, 70], defects.OUTSIDE, 0),
        ([70, 10, 120, 10, 120, 30, 70, 30], defects.LEAVING, 1),
        ([10, 20, 30, 20, 30, 20, 30, 50, 10, 50], defects.REPEATED, 1),
        (BOW_TIE, defects.CROSSING, 2),
    ],
)
def test_each_defect_is_treated_and_counted(flat: object, kind: str, left: int) -> None:
    if kind == defects.CROSSING:
        pytest.importorskip("shapely", reason="shapely is not installed")
    problems = Problems()
    outlines = sound_outlines(flat, SIZE, problems, "annotation 7")
    assert len(outlines) == left
    assert problems[kind] == 1
    assert "annotation 7" in problems.examples[kind]
    assert (HANDLING[kind] == "left out") == (left == 0)
    assert bool(problems.losses) == (left == 0)


@pytest.mark.parametrize("flat", [SQUARE, [*SQUARE, 10, 20], [[10, 20], [30, 20], [30, 50]]])
def test_sound_polygons_keep_their_points_and_may_close_themselves(flat: list[float]) -> None:
    problems = Problems()
    (outline,) = sound_outlines(flat, SIZE, problems, "")
    points = np.reshape(flat, (-1, 2))
    np.testing.assert_array_equal(outline, points[: len(outline)])
    assert len(np.unique(outline, axis=0)) == len(outline)
    assert problems == {}


def test_a_bow_tie_becomes_its_two_triangles() -> None:
    pytest.importorskip("shapely", reason="shapely is not installed")
    left, right = untangle(np.reshape(BOW_TIE, (4, 2)).astype(float))
    assert abs(signed_area(left)) == pytest.approx(100)
    assert abs(signed_area(right)) == pytest.approx(100)


def test_a_pentagram_is_filled_by_the_even_odd_rule_like_cocos_masks() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    angle = np.arange(5) * 4 * np.pi / 5
    star = 50 + 40 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    assert count_crossings(star) == 5
    filled = sum(abs(signed_area(ring)) for ring in untangle(star))
    rle = coco_mask.frPyObjects([star.ravel().tolist()], 100, 100)
    assert filled == pytest.approx(float(coco_mask.area(rle)[0]), rel=0.03)


@pytest.mark.parametrize("count", [3, 17, 700])
def test_convex_and_touching_outlines_do_not_cross(count: int) -> None:
    angle = np.arange(count) * 2 * np.pi / count
    ring = 50 + 30 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert not count_crossings(ring)
    swapped = ring.copy()
    if count > 3:
        swapped[[1, 2]] = ring[[2, 1]]
        assert count_crossings(swapped)
    # Two squares that share a corner touch there, but do not cross.
    eight = np.array([[0, 0], [2, 2], [4, 2], [4, 4], [2, 4], [2, 2], [0, 2.0]])
    assert not count_crossings(eight)


@settings(max_examples=40, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(3, 9), st.just(2)), elements=st.integers(0, 40)))
def test_whatever_comes_out_is_simple_and_has_an_area(points: np.ndarray) -> None:
    pytest.importorskip("shapely")
    for outline in sound_outlines(points.ravel().tolist(), (40, 40), Problems(), ""):
        assert len(outline) >= 3
        assert abs(signed_area(outline)) > 0
        assert not count_crossings(outline)


def test_mask_outlines_give_back_the_mask() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[5:20, 70:80] = 1
    mask[30:60, 0:9] = 1
    mask[3, 4] = 1
    outlines = mask_outlines(mask)
    assert len(outlines) == 3
    drawn = sum(contour_to_mask(outline - 0.5, *SIZE) for outline in outlines)
    np.testing.assert_array_equal(drawn, mask)
    assert mask_outlines(np.zeros(SIZE, np.uint8)) == []


def test_cocos_tools_draw_the_same_mask_from_its_outlines() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(10):
        noise = cv2.GaussianBlur(rng.normal(size=SIZE), (0, 0), 4)
        blobs = cv2.morphologyEx((noise > 0.05).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
        outlines = [o.ravel().tolist() for o in mask_outlines(blobs)]
        drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(outlines, *SIZE)))
        holes = (drawn & ~blobs).sum()
        assert not (blobs & ~drawn).any()
        filled = sum(contour_to_mask(np.reshape(o, (-1, 2)) - 0.5, *SIZE) for o in outlines)
        assert (np.asarray(filled) > 0).sum() - blobs.sum() == holes


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 9))
def test_run_lengths_are_read_as_pycocotools_writes_them(runs: list[int], height: int) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
    width = len(flat) // height
    if not width:
        return
    mask = np.asfortranarray(flat[: width * height].reshape(height, width))
    rle, problems = coco_mask.encode(mask), Problems()
    for counts in (rle["counts"], rle["counts"].decode()):
        found = decode_run_lengths(
            {"size": [height, width], "counts": counts}, (height, width), problems, ""
        )
        np.testing.assert_array_equal(found, mask)
    assert not problems


def test_long_run_lengths_are_read() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((3000, 2000), np.uint8, order="F")
    mask[7:2990, 300:1500] = 1
    mask[::700] = 0
    rle = coco_mask.encode(mask)
    found = decode_run_lengths(rle, (3000, 2000), Problems(), "")
    np.testing.assert_array_equal(found, mask)


def test_run_lengths_that_do_not_fit_are_counted() -> None:
    broken = (
        {"size": [60, 80]},
        {"counts": [4800]},
        {"size": [9, 9], "counts": [81]},
        {"size": [60, 80], "counts": [99999]},
        {"size": [60, 80], "counts": ["a"]},
        {"size": [60, 80], "counts": 3},
        {"size": None, "counts": [4800]},
        {"size": [60, 80], "counts": None},
        {"size": [60, 80], "counts": []},
        {"size": [60, 80], "counts": [-100, 4900]},
        {"size": [60, 80], "counts": [0.5, 4799.5]},
        {"size": [60, 80], "counts": [[1], [2, 3]]},
        {"size": [60, 80], "counts": ""},
        {"size": [60, 80], "counts": "11"},  # ends early
        {"size": [60, 80], "counts": "PPP"},  # breaks off
        {"size": [60, 80], "counts": "\u00e4"},
    )
    problems = Problems()
    for rle in broken:
        assert decode_run_lengths(rle, SIZE, problems, "annotation 1") is None
    assert problems[defects.BAD_MASK] == len(broken)
    sound = decode_run_lengths({"size": [60, 80], "counts": [0, 4800]}, SIZE, problems, "")
    assert sound is not None
    assert sound.all()


def test_problems_keep_the_first_places_and_tell_what_is_done() -> None:
    problems = Problems()
    for number in range(9):
        problems.note(defects.NO_AREA, f"annotation {number}")
    problems.note(defects.EMPTY_IMAGE, "a.png")
    assert problems.examples[defects.NO_AREA] == ["annotation 0", "annotation 1", "annotation 2"]
    assert problems.summary()[0].startswith("9 x polygon of zero area (left out), e.g. annotation")
    assert problems.losses == 9
